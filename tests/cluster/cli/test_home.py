"""Homes as people write them, and those that cannot be one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli import up
from cluster.embedded.ports import listen
from cluster.embedded.record import Part, ProductRecord, ProductState, home_lock
from cluster.settings import settings

from .conftest import Endpoint, Run


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("LORIKEET_URL", "LORIKEET_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LORIKEET_HOME", "")  # to be restored, whatever a command sets
    yield
    settings.cache_clear()


def test_a_home_without_a_product_is_told(run: Run, tmp_path: Path) -> None:
    found = run("models", "list", "--home", str(tmp_path / "h"))
    assert found.code == 1
    assert "start it with `lorikeet up`" in found.err
    assert not (tmp_path / "h").exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("written", "meant"), [("~/h", "user/h"), ("h", "here/h"), ("", "user/.lorikeet")]
)
def test_the_variable_is_a_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("LORIKEET_HOME", written)
    found = run("status", "--json").json()
    assert found["home"] == str(tmp_path / meant)
    assert found["key_file"] == str(tmp_path / meant / "admin.key")


@pytest.mark.parametrize(
    "command", [["up"], ["up", "-d"], ["down"], ["status"], ["models", "list"]]
)
def test_a_file_is_no_home(run: Run, tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    found = run(*command, "--home", str(file))
    assert (found.code, found.out) == (1, "")
    assert found.err == f"lorikeet: {file} cannot be the home: it is not a folder.\n"


def test_the_home_of_nobody(run: Run) -> None:
    found = run("status", "--home", "~no-such-user/h")
    assert found.code == 1
    assert found.err.startswith("lorikeet: ~no-such-user/h cannot be the home")


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_port_in_use_is_told_before_anything_starts(
    run: Run, tmp_path: Path, detach: list[str]
) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        found = run("up", *detach, "--home", str(tmp_path), "--port", str(port))
    assert (found.code, found.out) == (1, "")
    assert found.err == (
        f"lorikeet: Port {port} on 127.0.0.1 is in use; choose another with --port.\n"
    )


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_home_in_use_is_told(run: Run, tmp_path: Path, detach: list[str]) -> None:
    with home_lock(tmp_path):
        found = run("up", *detach, "--home", str(tmp_path))
    assert found.err == f"lorikeet: Lorikeet already runs on {tmp_path}.\n"


def test_a_configuration_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "none", tmp_path / "binary"):
        found = run("up", "--home", str(tmp_path / "h"), "--config", str(path))
        assert found.code == 1
        assert found.err.startswith("lorikeet: ")


SERVED = {
    "router": {
        "status": "RUNNING",
        "deployments": {"Router": {"replicas": [{"pid": 4712}, {"pid": 4713}, {"pid": None}]}},
    }
}
"""What Ray's own API says."""


@pytest.fixture
def running(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose product is the endpoint."""
    for variable in ("LORIKEET_URL", "LORIKEET_API_KEY"):
        monkeypatch.delenv(variable)
    with home_lock(tmp_path):
        parts = [Part(part="ray", started=1, seconds=2)]
        (tmp_path / "ray.token").write_text("secret")
        ProductRecord(
            pid=1,
            instance="x",
            url=endpoint.url,
            parts=parts,
            dashboard=endpoint.url,
            ray_token_file=str(tmp_path / "ray.token"),
        ).save(tmp_path)
        endpoint.answers["GET /api/serve/applications/"] = (200, {"applications": SERVED})
        yield tmp_path


def test_the_homes_key_goes_to_its_product(endpoint: Endpoint, run: Run, running: Path) -> None:
    (running / "admin.key").write_text("sk-admin\n")
    endpoint.answers["GET /v1/models"] = (401, {"error": {"message": "Wrong key."}})
    found = run("models", "list", "--home", str(running))
    assert found.err == f"lorikeet: Wrong key. (The key comes from {running / 'admin.key'}.)\n"
    assert endpoint.asked[0].headers["Authorization"] == "Bearer sk-admin"


def test_a_key_file_that_holds_no_key(endpoint: Endpoint, run: Run, running: Path) -> None:
    (running / "admin.key").write_bytes(b"\xff\x00\n-----")
    found = run("models", "list", "--home", str(running))
    assert found.err == f"lorikeet: The key from {running / 'admin.key'} is not an API key.\n"
    assert endpoint.asked == []


def test_up_tells_where_it_is(
    endpoint: Endpoint, run: Run, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_start_detached", lambda *_: None)  # it runs already
    (running / "admin.key").write_text("sk-admin\n")
    endpoint.answers["GET /status"] = (200, {"ready": True})
    told = run("up", "--detach", "--home", str(running)).out
    for word in (f"{endpoint.url}/v1", "sk-admin", f"$(cat {running}/admin.key)", "lorikeet down"):
        assert word in told
    (running / "admin.key").unlink()
    told = run("up", "--detach", "--home", str(running)).out
    assert "Bearer $LORIKEET_API_KEY" in told
    assert "admin.key" not in told
    (running / "admin.key").write_text("sk-admin\n")
    found = run("up", "--detach", "--json", "--home", str(running))
    assert (found.json()["url"], found.json()["ready"]) == (endpoint.url, True)
    assert "sk-admin" not in found.out


def test_status_of_an_endpoint_that_refuses(endpoint: Endpoint, run: Run, running: Path) -> None:
    endpoint.answers["GET /status"] = (503, {"error": {"message": "Starting."}})
    found = run("status", "--json", "--home", str(running)).json()
    assert (found["url"], found["ready"], found["error"]) == (endpoint.url, False, "Starting.")
    assert "Starting." in run("status", "--home", str(running)).out


def test_status_shows_the_parts(endpoint: Endpoint, run: Run, running: Path) -> None:
    endpoint.answers["GET /status"] = (
        200,
        {
            "ready": True,
            "applications": [
                {
                    "name": "router",
                    "status": "RUNNING",
                    "deployments": [{"name": "Router", "status": "HEALTHY"}],
                }
            ],
            "replicas": [
                {"model": "budgie", "replica": "r1", "pid": 4711, "node": "n" * 40, "adapters": []}
            ],
            "adapters": [{"name": "ft:b:bird:1", "state": "failed", "error": "Too [big]."}],
        },
    )
    found = run("status", "--home", str(running))
    assert found.code == 0
    for word in (f"{endpoint.url}  ready", "Router HEALTHY", "4711", "ft:b:bird:1", "Too [big]."):
        assert word in found.out
    assert "4712, 4713" in found.out
    (router,) = run("status", "--json", "--home", str(running)).json()["applications"]
    assert router["deployments"][0]["pids"] == [4712, 4713]


def test_status_of_a_replica_that_is_gone(endpoint: Endpoint, run: Run, running: Path) -> None:
    record = ProductRecord.load(running)
    assert record is not None
    record.state = ProductState.READY
    record.save(running)
    endpoint.answers["GET /status"] = (200, {"ready": False})
    assert f"{endpoint.url}  not ready\n" in run("status", "--home", str(running)).out


def test_status_without_rays_api_says_so(endpoint: Endpoint, run: Run, running: Path) -> None:
    endpoint.answers["GET /status"] = (200, {"ready": True, "applications": []})
    endpoint.answers["GET /api/serve/applications/"] = (500, {})
    found = run("status", "--home", str(running))
    assert (found.code, "not known" in found.err) == (0, True)
