"""An endpoint with canned answers, and the command run against it in this process."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cluster.cli import app as lorikeet


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Broken(str):
    """An answer whose end never comes: the connection is closed before it."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Endpoint:
    """`answers["GET /v1/models"] = (200, {...})`; a list is given out one by one, the last stays.

    A text is sent as an event stream.
    """

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found or (404, {"error": {"message": f"No {asked.path} here.", "code": "not_found"}})


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            status, content = endpoint.answer(asked)
            text = isinstance(content, str)
            sent = content.encode() if text else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if text else "application/json")
            self.send_header("content-length", str(len(sent) + isinstance(content, Broken)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815 - the server looks for these names

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("LORIKEET_URL", endpoint.url)
    monkeypatch.setenv("LORIKEET_API_KEY", "sk-test")
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, stdin: str | None = None) -> Outcome:
        monkeypatch.setattr("sys.argv", ["lorikeet", *words])
        monkeypatch.setattr("sys.stdin", Terminal() if stdin is None else io.StringIO(stdin))
        capsys.readouterr()
        try:
            lorikeet.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run
