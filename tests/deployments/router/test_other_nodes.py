"""A router and a replica on different nodes: over TCP, and only with the product's token."""

from __future__ import annotations

from cluster.settings import Settings
from tests.deployments.router.conftest import Rig
from tests.deployments.router.test_pipeline import CHAT


def token(settings: Settings) -> bytes:
    return settings.token().encode()


async def test_a_replica_of_another_node_is_asked_over_tcp_with_the_token(rig: Rig) -> None:
    engine = await rig.add_engine(node="elsewhere", token=token(rig.settings))
    engine.path.unlink()  # what is a path there is nothing here
    for stream in (False, True):
        assert (await rig.post({**CHAT, "stream": stream})).status == 200
    assert engine.headers[0][b"x-lorikeet-token"] == token(rig.settings)
    assert list(rig.transport._upstreams._idle) == [engine.remote]
    assert engine.connections == 1


async def test_one_of_this_node_is_asked_on_its_socket_though_it_has_a_port(rig: Rig) -> None:
    engine = await rig.add_engine(token=token(rig.settings))
    assert (await rig.post(CHAT)).status == 200
    assert list(rig.transport._upstreams._idle) == [str(engine.path)]


async def test_a_router_with_another_token_is_refused(rig: Rig) -> None:
    engine = await rig.add_engine(node="elsewhere", token=b"another-clusters")
    answered = await rig.post(CHAT)
    assert (answered.status, answered.json["error"]["code"]) == (502, "upstream_error")
    assert "403" in answered.json["error"]["message"]
    assert len(engine.requests) == 1
    (event,) = rig.meter.events
    assert (event.status, event.prompt_tokens) == (502, 0)


async def test_a_replica_that_listens_on_no_network_is_not_for_other_nodes(rig: Rig) -> None:
    engine = await rig.add_engine(node="elsewhere")
    answered = await rig.post(CHAT)
    assert answered.status == 503
    assert int(answered.headers["retry-after"]) >= 1
    assert engine.requests == []
