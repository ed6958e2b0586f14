"""Serve's answers, as the start reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.embedded.serve_api import ServeApi
from cluster.errors import ConfigurationError, Unavailable


def api(tmp_path: Path, status: int, content: Any) -> ServeApi:
    (tmp_path / "token").write_text("secret\n")
    serve = ServeApi("http://ray", tmp_path / "token")

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret"
        if isinstance(content, Exception):
            raise content
        return httpx.Response(status, **content)

    serve._http._transport = httpx.MockTransport(answer)
    return serve


def test_a_failure_is_told_by_its_last_exception(tmp_path: Path) -> None:
    message = "RayTaskError(x): \x1b[36mray::build\x1b[39m\n  File\nValueError: no such model\n"
    found = {"status": "DEPLOY_FAILED", "message": message}
    serve = api(tmp_path, 200, {"json": {"applications": {"a": found}}})
    application = serve.applications()[0]
    assert application.has_failed
    assert application.cause == "ValueError: no such model"
    assert "\x1b" not in application.message


def test_a_deployments_words_are_its_applications(tmp_path: Path) -> None:
    found = {
        "status": "DEPLOYING",
        "message": "",
        "deployments": {"D": {"message": "waiting for a CPU"}},
    }
    application = api(tmp_path, 200, {"json": {"applications": {"a": found}}}).applications()[0]
    assert not application.is_running
    assert application.cause == "waiting for a CPU"


def test_nothing_deployed_is_no_application(tmp_path: Path) -> None:
    assert api(tmp_path, 200, {"json": {}}).applications() == []


def test_a_refused_configuration_says_why(tmp_path: Path) -> None:
    serve = api(tmp_path, 400, {"text": "applications.0.name: missing"})
    with pytest.raises(ConfigurationError, match=r"applications\.0\.name: missing"):
        serve.deploy({}, 1)


@pytest.mark.parametrize("content", [httpx.ConnectError("refused"), {"text": "boom"}])
def test_a_serve_that_is_away_is_unavailable(tmp_path: Path, content: Any) -> None:
    serve = api(tmp_path, 500, content)
    for call in (serve.applications, lambda: serve.deploy({}, 1)):
        with pytest.raises(Unavailable, match=r"refused|boom"):
            call()


def test_a_replica_that_is_just_coming_has_no_process(tmp_path: Path) -> None:
    found = {"status": "DEPLOYING", "deployments": {"D": {"replicas": [{"pid": 7}, {}]}}}
    serve = api(tmp_path, 200, {"json": {"applications": {"a": found}}})
    assert serve.processes() == {("a", "D"): [7]}
