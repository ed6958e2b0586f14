"""What the Ray head is told, without starting one."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.embedded import haproxy
from cluster.embedded.haproxy import haproxy_environment
from cluster.embedded.haproxy_errors import MAX_HEADERS
from cluster.embedded.instance import MARKER
from cluster.embedded.ports import PortBlock, port_block
from cluster.embedded.ray_head import RayHead, tail
from cluster.settings import Settings


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[PortBlock]:
    with port_block(tmp_path, besides=8000) as block:
        yield block


@pytest.fixture
def head(tmp_path: Path, ports: PortBlock) -> Iterator[RayHead]:
    settings = Settings(home=tmp_path / "home")
    head = RayHead(settings, ports, "some-instance", tmp_path)
    yield head
    subprocess.run(["rm", "-rf", str(settings.short_folder)], check=True)


def test_it_belongs_to_no_other_cluster(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    head.folder.parent.mkdir(mode=0o700)
    environment = head.environment()
    assert "RAY_ADDRESS" not in environment
    assert environment[MARKER] == "some-instance"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(head.token_file)


def test_haproxys_sockets_fit(head: RayHead) -> None:
    head.folder.parent.mkdir(mode=0o700)
    environment = head.environment()
    node = "f" * 56
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(environment[name])
        # HAProxy binds a temporary name first.
        assert len(f"{path.parent}/{node}/{path.name}.4194304.tmp") <= 107


def test_vllms_sockets_fit(head: RayHead) -> None:
    head.folder.parent.mkdir(mode=0o700)
    assert len(f"{head.environment()['VLLM_RPC_BASE_PATH']}/{uuid.uuid4()}") <= 107


def test_the_sockets_of_the_last_start_are_removed(
    head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayHead, "_command", lambda self: ["/bin/true"])
    home = head.folder.parent
    (home / "v").mkdir(mode=0o700, parents=True)
    (home / "h" / "node").mkdir(parents=True)
    left = [home / "v" / "rpc", home / "h" / "node" / "a", home / "llm-0123.sock"]
    kept = home / "redis.sock"
    for path in (*left, kept):
        path.touch()
    head.log.parent.mkdir(parents=True)
    head.start()
    head.stop()
    assert [path for path in (*left, kept) if path.exists()] == [kept]
    assert (home / "v").is_dir()


def test_haproxy_ends_no_stream_that_a_router_still_answers(
    tmp_path: Path, ports: PortBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.router.app import RouterArgs

    monkeypatch.setattr(haproxy, "haproxy_binary", lambda: "/bin/true")
    environment = haproxy_environment(tmp_path / "h", ports)
    assert float(environment["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= RouterArgs().drain


def test_haproxy_listens_on_loopback_only(
    tmp_path: Path, ports: PortBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "haproxy_binary", lambda: "/bin/true")
    environment = haproxy_environment(tmp_path / "h", ports)
    stats, metrics = ports["haproxy_stats"], ports["haproxy_metrics"]
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"frontend prometheus\n    bind :{metrics}\nfrontend http_frontend\n    bind *:8000\n"
        f"listen stats\n  bind *:{stats}\n"
    )
    subprocess.run(
        [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config)], check=True
    )
    assert config.read_text() == (
        f"frontend prometheus\n    bind 127.0.0.1:{metrics}\nfrontend http_frontend\n"
        "http-request set-header x-request-disconnect-disabled ?1\n"
        f"http-request return status 431 errorfile {tmp_path}/h/431.http"
        f" if {{ req.hdrs,length gt {MAX_HEADERS} }}\n    bind *:8000\n"
        f"listen stats\n  bind 127.0.0.1:{stats}\n"
    )


def test_serves_template_is_as_the_wrapper_expects() -> None:
    """The wrapper changes lines of Ray's own template: a new Ray may word them otherwise."""
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    assert "\n    bind :{{ config.metrics_port }}\n" in HAPROXY_CONFIG_TEMPLATE
    assert "\n  bind *:{{ config.stats_port }}\n" in HAPROXY_CONFIG_TEMPLATE
    assert "\nfrontend http_frontend\n" in HAPROXY_CONFIG_TEMPLATE
    assert "\ndefaults\n" in HAPROXY_CONFIG_TEMPLATE
    assert HAPROXY_CONFIG_TEMPLATE.count("\n    errorfile ") == 3
    assert "\nbackend default_backend\n    http-request return status 404 " in (
        HAPROXY_CONFIG_TEMPLATE
    )
    assert parse_disconnect_disabled_header({b"x-request-disconnect-disabled": b"?1"})


def test_old_sessions_are_forgotten(head: RayHead) -> None:
    for name in ("session_1", "session_2", "session_3"):
        (head.folder / name).mkdir(parents=True)
    head._forget_old_sessions()
    assert sorted(p.name for p in head.folder.iterdir()) == ["session_2", "session_3"]


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert tail(log) == f"{log}:"
    log.write_text("\n".join(map(str, range(100))))
    assert tail(log, 2) == f"{log}:\n98\n99"
