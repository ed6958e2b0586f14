"""What the engine does without any weights: its arguments, and its death."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.multimodal.media.connector import MediaConnector
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from cluster.catalog.replicas import Replica
from cluster.errors import ConfigurationError
from deployments.engine import Engine, _arguments, _dead
from deployments.llm import engine_options
from deployments.router.engines.socket_transport import SocketTransport

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Client:
    """As much of vLLM's client as an idle engine shows."""

    errored = False
    is_running = True
    dead_error = EngineDeadError()
    output_processor = SimpleNamespace(get_num_unfinished_requests=lambda: 0)

    async def check_health(self) -> None:
        if self.errored:
            raise self.dead_error

    def shutdown(self) -> None:
        pass


async def test_a_dead_engine_has_no_load_and_no_health() -> None:
    client = Client()
    engine = Engine(client, FastAPI(), SimpleNamespace(waiting=0), Path())  # type: ignore[arg-type]
    assert engine.load_now == (0, 0)
    await engine.check()
    client.errored = True
    with pytest.raises(EngineDeadError):
        engine.load_now  # noqa: B018 - a property
    with pytest.raises(EngineDeadError):
        await engine.check()


async def test_a_dead_engine_is_a_503_in_openais_shape(tmp_path: Path) -> None:
    client, app = Client(), FastAPI()
    init_exception_handler(app)
    app.add_exception_handler(EngineDeadError, _dead)
    app.state.args = SimpleNamespace(log_error_stack=False)
    app.state.engine_client = client

    @app.get("/{error}")
    async def fail(error: str) -> Any:
        raise client.dead_error if error == "dead" else EngineGenerateError("once")

    engine = Engine(client, app, SimpleNamespace(waiting=0), Path())  # type: ignore[arg-type]
    path = tmp_path / "private" / "engine.sock"
    await engine.listen(path, None, "token", engine.app)
    transport = httpx.AsyncHTTPTransport(uds=str(path), retries=20)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        once = await http.get("/once")
        client.errored, client.is_running = True, False
        dead = await http.get("/dead")
    await engine.stop()
    assert (once.status_code, once.json()["error"]["code"]) == (500, 500)
    assert dead.status_code == 503
    assert dead.json()["error"]["message"].startswith("EngineCore encountered an issue")


async def test_its_port_answers_routers_only(tmp_path: Path) -> None:
    """The socket is for those who may enter its folder, the port for those with the token."""
    app = FastAPI()
    app.state.args = SimpleNamespace()

    @app.post("/v1/chat/completions")
    async def answer() -> str:
        return "tokens"

    engine = Engine(Client(), app, SimpleNamespace(waiting=0), Path())  # type: ignore[arg-type]
    path = tmp_path / "private" / "engine.sock"
    remote = await engine.listen(path, "127.0.0.1", "s3cret", engine.app)
    assert remote is not None
    async with asyncio.timeout(10):
        while not all(server.started for server, _ in engine._servers):
            await asyncio.sleep(0.01)
    replica = Replica("budgie", "r1", "there", 1, "a", str(path), remote)
    found = {}
    for node, token in (("there", ""), ("other", ""), ("other", "wrong"), ("other", "s3cret")):
        router = SocketTransport(node)
        header = f"x-lorikeet-token: {token}\r\n".encode()
        got = await router.post(replica, "/v1/chat/completions", header, b"{}")
        first = await got.read()
        found[node, token] = got.status, first + await got.read_all()
        got.close()
        router.forget(replica)
    await engine.stop()
    assert found == {
        ("there", ""): (200, b'"tokens"'),
        ("other", ""): (403, b""),
        ("other", "wrong"): (403, b""),
        ("other", "s3cret"): (200, b'"tokens"'),
    }
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("given", [{}, {"allowed_media_domains": []}])
@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://example.com/", "file:///etc"])
def test_no_url_of_a_caller_is_opened(given: dict[str, Any], url: str) -> None:
    arguments = _arguments("budgie", "/weights", engine_options(given))
    media = MediaConnector(
        allowed_local_media_path=arguments.allowed_local_media_path,
        allowed_media_domains=arguments.allowed_media_domains,
        connection=None,  # type: ignore[arg-type]  # nothing is to be fetched
    )
    with pytest.raises((ValueError, RuntimeError), match=r"allowed domains|local files"):
        media.load_from_url(url, SimpleNamespace())  # type: ignore[arg-type]


def test_the_configuration_may_allow_domains() -> None:
    arguments = _arguments("b", "/w", engine_options({"allowed_media_domains": ["example.com"]}))
    assert arguments.allowed_media_domains == ["example.com"]
    assert arguments.trust_remote_code is False


@pytest.mark.parametrize(
    ("given", "backend"),
    [
        ({}, "xgrammar"),
        ({"structured_outputs_config": {"backend": "auto"}}, "xgrammar"),
        ({"structured_outputs_config": {"disable_any_whitespace": True}}, "xgrammar"),
        ({"structured_outputs_config": {"backend": "guidance"}}, "guidance"),
    ],
)
def test_no_request_chooses_what_binds_the_answers_of_all(
    given: dict[str, Any], backend: str
) -> None:
    arguments = _arguments("budgie", "/weights", engine_options(given))
    assert arguments.structured_outputs_config.backend == backend


@pytest.mark.parametrize("wrong", [{"backend": "mine"}, {"backnd": "xgrammar"}])
def test_a_wrong_option_of_structured_outputs_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"engine\.structured_outputs_config="):
        _arguments("budgie", "/weights", {"structured_outputs_config": wrong})
