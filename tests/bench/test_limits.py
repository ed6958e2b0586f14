"""The benchmark does not take a Lorikeet for limited that is not."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.chat import Endpoint
from bench.systems import limits
from cluster.tenancy.principal import LARGEST, Limits


@dataclass
class Product:
    """What `switch_on` needs of one. `heard_after` answers its router knows of the limits."""

    stored: dict[str, Any] = field(default_factory=lambda: {"requests_per_minute": None})
    heard_after: int = 1
    keeps: bool = True
    answers: int = 0

    def respond(self, method: str, path: str, sent: Any) -> tuple[dict[str, Any], dict[str, str]]:
        if path == "/v1/chat/completions":
            self.answers += 1
            counted = {f"x-ratelimit-limit-{name}": "100000000" for name in ("requests", "tokens")}
            return {}, counted if self.answers > self.heard_after else {}
        assert path == "/v1/organization/limits"
        if method == "POST" and self.keeps:
            self.stored = sent
        return self.stored, {}


@pytest.fixture
def product() -> Product:
    return Product()


@pytest.fixture
def endpoint(product: Product) -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            assert self.headers["Authorization"] == "Bearer secret"
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            found, headers = product.respond(self.command, self.path, json.loads(sent or "null"))
            content = json.dumps(found).encode()
            self.send_response(200)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = respond  # noqa: N815 - the server looks for these names

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Endpoint("127.0.0.1", server.server_port, "budgie", "secret")
    server.shutdown()
    thread.join()
    server.server_close()


def test_limits_are_on_once_an_answer_is_counted(product: Product, endpoint: Endpoint) -> None:
    limits.switch_on(endpoint)
    assert product.stored == limits.HIGH
    assert product.answers == 2


def test_limits_that_are_not_kept_end_the_run(product: Product, endpoint: Endpoint) -> None:
    product.keeps = False
    with pytest.raises(RuntimeError, match="not those that were set"):
        limits.switch_on(endpoint)


def test_answers_that_are_not_counted_end_the_run(
    product: Product, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEARD_S", 0.2)
    product.heard_after = 1000
    with pytest.raises(RuntimeError, match="not counted"):
        limits.switch_on(endpoint)


def test_they_are_the_products_own() -> None:
    assert list(limits.HIGH) == [one.name for one in fields(Limits)]
    assert set(limits.HIGH.values()) == {LARGEST}
