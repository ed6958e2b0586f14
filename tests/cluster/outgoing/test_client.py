"""Requests to addresses that tenants set, on real sockets: where they go, and what bounds them."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.outgoing import client
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.backend import AddressRefused, GuardedBackend
from cluster.outgoing.client import BodyTooLarge, Outgoing
from tests.deployments.router.provider import FakeProvider, Reply, document

HOST = "provider.test"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a key and a certificate for HOST, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "provider.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class Names:
    """A name service whose answers change, as an attacker's does."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "",
             (each, port))
            for each in found
        ]  # fmt: skip


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[FakeProvider] = []

    async def begin(answering: Any, tls: ssl.SSLContext | None = None) -> FakeProvider:
        provider = FakeProvider(answering, tls)
        await provider.start()
        running.append(provider)
        return provider

    yield begin
    for provider in running:
        await provider.stop()


async def get(outgoing: Outgoing, url: str, most: int = 1000, silence: float = 5.0) -> Any:
    try:
        return await outgoing.fetch("GET", url, [], silence=silence, most=most)
    finally:
        await outgoing.close()


class Recorder(httpcore.AsyncNetworkBackend):
    """Where a connection would go."""

    def __init__(self) -> None:
        self.went: list[str] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> Any:
        self.went.append(host)
        raise httpcore.ConnectError("far away")


async def test_a_connection_goes_to_the_address_that_was_judged(names: Names) -> None:
    """Whoever resolved the name again would be led to this machine."""
    names.answers = [["93.184.216.34"], ["127.0.0.1"]]
    inner = Recorder()
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(Allowance(), inner).connect_tcp(HOST, 443)
    assert (inner.went, names.asked) == (["93.184.216.34"], [HOST])


async def test_each_connection_is_judged_anew(names: Names) -> None:
    names.answers = [["93.184.216.34"], ["127.0.0.1"]]
    inner = Recorder()
    backend = GuardedBackend(Allowance(), inner)
    with pytest.raises(httpcore.ConnectError):
        await backend.connect_tcp(HOST, 443)
    with pytest.raises(AddressRefused):
        await backend.connect_tcp(HOST, 443)
    assert inner.went == ["93.184.216.34"]


async def test_of_several_addresses_only_the_public_ones_are_tried(names: Names) -> None:
    names.answers = [["10.0.0.1", "1.1.1.1", "::ffff:127.0.0.1", "2606:4700::1111", "fe80::1%eth0"]]
    inner = Recorder()
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(Allowance(), inner).connect_tcp(HOST, 443, timeout=5)
    assert inner.went == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_reaches_this_machine(start: Start, host: str) -> None:
    provider = await start(lambda asked: document({}))
    with pytest.raises((AddressRefused, httpcore.ConnectError)):
        await get(Outgoing(Allowance()), f"http://{host}:{provider.port}/")
    assert provider.connections == 0


async def test_other_schemes_and_sockets_are_no_way_out() -> None:
    for url in ("ws://1.1.1.1/", "ftp://1.1.1.1/"):
        with pytest.raises(AddressRefused):
            await get(Outgoing(Allowance()), url)
    with pytest.raises(AddressRefused):
        await GuardedBackend(Allowance(), Recorder()).connect_unix_socket("/tmp/x")


async def test_a_redirect_is_not_followed(start: Start) -> None:
    inner = await start(lambda asked: document({}))
    outer = await start(lambda asked: Reply(status=302, headers={"location": inner.url}))
    reply = await get(Outgoing(Allowance([f"127.0.0.1:{outer.port}"])), outer.url)
    assert (reply.status, inner.connections) == (302, 0)


async def test_certificates_are_checked_for_the_name(
    start: Start, names: Names, certificate: Path
) -> None:
    names.answers = [["127.0.0.1"]]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    provider = await start(lambda asked: document({"host": asked.headers["host"]}), server)
    allowance = Allowance(["127.0.0.1"])
    trust = ssl.create_default_context(cafile=certificate)
    reply = await get(Outgoing(allowance, trust), f"https://{HOST}:{provider.port}/")
    assert json.loads(reply.body) == {"host": f"{HOST}:{provider.port}"}
    for authority, host in ((None, HOST), (trust, "other.test")):
        outgoing = Outgoing(allowance, authority)
        with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(outgoing, f"https://{host}:{provider.port}/")
    assert len(provider.asked) == 1


async def test_answers_are_bounded(start: Start) -> None:
    replies = {
        "/body": Reply(b"a" * 2000),
        "/endless": Reply(pieces=(b"a" * 500,) * 10),
        "/headers": Reply(headers={"x-long": "a" * 200_000}),
        "/silent": Reply(b"a", stall_after=0),
    }
    provider = await start(lambda asked: replies[asked.path])
    failures = {
        "/body": BodyTooLarge,
        "/endless": BodyTooLarge,
        "/headers": httpcore.RemoteProtocolError,
        "/silent": httpcore.ReadTimeout,
    }
    for path, failure in failures.items():
        with pytest.raises(failure):
            await get(Outgoing(Allowance(["127.0.0.1"])), provider.url + path, silence=0.1)
    reply = await get(Outgoing(Allowance(["127.0.0.1"])), provider.url + "/body", most=2000)
    assert reply.body == b"a" * 2000


async def test_a_name_service_that_is_silent_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    monkeypatch.setattr(client, "CONNECT", 0.02)
    try:
        with pytest.raises(httpcore.ConnectTimeout):
            await get(Outgoing(Allowance()), f"http://{HOST}/")
    finally:
        over.set()


async def test_a_connection_that_the_other_side_closed_is_not_used(start: Start) -> None:
    provider = await start(lambda asked: document({}, headers={"connection": "close"}))
    outgoing = Outgoing(Allowance(["127.0.0.1"]))
    for _ in range(2):
        reply = await outgoing.fetch("GET", provider.url, [], silence=5, most=10)
        assert reply.status == 200
    await outgoing.close()
    assert provider.connections == 2


async def test_a_connection_is_tried_once_more_before_anything_was_sent(names: Names) -> None:
    names.answers = [["127.0.0.1"]]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(httpcore.ConnectError):
        await get(Outgoing(Allowance(["127.0.0.0/8"])), f"http://{HOST}:{port}/")
    assert names.asked == [HOST, HOST]
