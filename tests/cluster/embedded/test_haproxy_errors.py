"""What a caller gets of HAProxy itself, where no router is there to answer."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.embedded.haproxy import haproxy_environment
from cluster.embedded.haproxy_errors import ANSWERS, write_errors
from cluster.embedded.ports import port_block

CONFIG = """
global
    tune.bufsize {size}
defaults
    mode http
    timeout connect 1s
    timeout client 300ms
    timeout http-request 300ms
    timeout server 300ms
    errorfile 503 /dev/null
frontend http_frontend
    bind {front}
    http-request wait-for-body time 100ms if {{ path /wait }}
    acl is_router path_beg /v1
    acl is_silent path_beg /silent
    use_backend router if is_router
    use_backend silent if is_silent
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend router
    server gone {gone}
backend silent
    server silent {silent}
"""
LONG = (
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: "
    + b"a" * 100_000
    + b"\r\n\r\n"
)


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real HAProxy, started by our wrapper as Serve starts it."""
    folder = tmp_path_factory.mktemp("h")
    silent = socket.create_server(("127.0.0.1", 0))  # whose backlog takes what nobody reads
    with port_block(folder, besides=8000) as ports:
        environment = haproxy_environment(folder / "p", ports)
        config = folder / "c"
        config.write_text(
            CONFIG.format(
                size=environment["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"],
                front=folder / "front",
                gone=folder / "nobody",
                silent=f"127.0.0.1:{silent.getsockname()[1]}",
            )
        )
        process = subprocess.Popen(
            [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config)]
        )
        end = time.monotonic() + 10
        while not (folder / "front").exists():
            assert process.poll() is None, "HAProxy takes what the wrapper made"
            assert time.monotonic() < end
            time.sleep(0.01)
        yield folder / "front"
        process.kill()
        process.wait()
        silent.close()


def ask(front: Path, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(front))
        with contextlib.suppress(BrokenPipeError):  # it has answered before it read all
            connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize(
    ("sent", "status", "code", "retry"),
    [
        pytest.param(LONG, 431, "request_too_large", None, id="a long header"),
        pytest.param(
            b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf",
            408,
            "request_timeout",
            None,
            id="half a request",
        ),
        pytest.param(get(b"/v1/models"), 503, "service_unavailable", "2", id="no replica"),
        pytest.param(get(b"/elsewhere"), 503, "service_unavailable", "2", id="no application"),
        pytest.param(get(b"/silent"), 504, "timeout", None, id="a silent replica"),
    ],
)
def test_its_errors_have_the_apis_shape(
    front: Path, sent: bytes, status: int, code: str, retry: str | None
) -> None:
    found, headers, body = ask(front, sent)
    error = json.loads(body)["error"]
    assert (found, error["code"], headers.get("retry-after")) == (status, code, retry)
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    assert error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_router_that_dies_in_the_middle_is_a_503(tmp_path: Path) -> None:
    answer = write_errors(tmp_path)[502].read_bytes()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer


def test_every_answer_fits_where_haproxy_keeps_it(tmp_path: Path) -> None:
    assert all(path.stat().st_size < 1024 for path in write_errors(tmp_path).values())
    assert set(ANSWERS) >= {400, 408, 500, 502, 503, 504}
