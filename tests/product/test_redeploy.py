"""A new configuration under load: nobody notices, and every request is accounted once."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from cluster.embedded.serve_api import ServeApi
from cluster.embedded.serve_config import at_address, default_config, read_config
from tests.product.product import Product, wait_for

STREAMS, PLAIN = 6, 3
TOKENS = 32
PACE = 0.2
"""Seconds between the requests of one caller: two cores serve, load and start the successors."""
IDLE = (2.0, 5.0, 11.0)
"""Of callers who come seldom: their connection lies idle while its other end is replaced."""


class Load:
    """Callers who ask one question after the other. Each answer must be whole."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._stop = False
        self.user = uuid.uuid4().hex
        self.sent = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        callers = [self._caller(index < STREAMS, PACE) for index in range(STREAMS + PLAIN)]
        seldom = [self._caller(index == 0, pause) for index, pause in enumerate(IDLE)]
        await asyncio.gather(*callers, *seldom)

    def stop(self) -> None:
        self._stop = True

    async def _caller(self, stream: bool, pause: float) -> None:
        """Each has a connection of their own."""
        client = self._product.aopenai(max_retries=0, timeout=120)
        for turn in itertools.count():
            if self._stop:
                return
            self.sent += 1
            asked: dict[str, Any] = {
                "model": "budgie",
                "messages": [{"role": "user", "content": f"Count from {turn} to {turn + 9}."}],
                "max_tokens": TOKENS,
                "user": self.user,
                "extra_body": {"ignore_eos": True},
            }
            try:
                await (self._streamed(client, asked) if stream else self._whole(client, asked))
            except (openai.APIError, AssertionError) as error:
                self.failures.append(f"{time.strftime('%X')} {pause:g}: {error!r}")
            await asyncio.sleep(pause)

    async def _streamed(self, client: openai.AsyncOpenAI, asked: dict[str, Any]) -> None:
        stream = await client.chat.completions.create(**asked, stream=True)
        reasons = [c.choices[0].finish_reason async for c in stream if c.choices]
        assert reasons[-1:] == ["length"], reasons

    async def _whole(self, client: openai.AsyncOpenAI, asked: dict[str, Any]) -> None:
        answer = await client.chat.completions.create(**asked)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == TOKENS


def under_load(product: Product, change: Callable[[], None]) -> Load:
    """What `change` does, while callers ask."""

    async def both() -> Load:
        load = Load(product)
        asking = asyncio.create_task(load.run())
        try:
            await asyncio.sleep(3)
            await asyncio.to_thread(change)
            await asyncio.sleep(3)
        finally:
            load.stop()
            await asking
        return load

    return asyncio.run(both())


def accounted(product: Product, load: Load) -> Counter[tuple[int, int]]:
    """The usage rows of a load, by status and tokens."""
    query = (
        "SELECT status, completion_tokens, count(*), count(DISTINCT request_id)"
        " FROM usage_events WHERE end_user = ? GROUP BY 1, 2"
    )
    with sqlite3.connect(f"file:{product.home}/lorikeet.db?mode=ro", uri=True) as database:
        rows = database.execute(query, (load.user,)).fetchall()
    assert all(count == distinct for _, _, count, distinct in rows)
    return Counter({(status, tokens): count for status, tokens, count, _ in rows})


class Serve:
    """The product's Serve, to which a changed configuration is deployed."""

    def __init__(self, product: Product) -> None:
        record = json.loads((product.home / "run" / "product.json").read_text())
        self._api = ServeApi(record["dashboard"], Path(record["ray_token_file"]))
        self._config = at_address(read_config(default_config()), None, product.port)

    def redeploy(self, application: str, **args: Any) -> None:
        """Deploy it with changed arguments; returns once only the successor is there."""
        (changed,) = [a for a in self._config["applications"] if a["name"] == application]
        changed["args"] = {**changed["args"], **args}
        before = self._pids(application)
        assert before
        self._api.deploy(self._config, 60)

        def replaced() -> bool:
            now = self._pids(application)
            found = [one for one in self._api.applications() if one.name == application]
            assert not found[0].has_failed, found[0].message
            return found[0].is_running and bool(now) and not now & before

        wait_for(replaced, f"the successor of {application}", 300)

    def _pids(self, application: str) -> set[int]:
        found = self._api.processes()
        return {pid for (name, _), pids in found.items() if name == application for pid in pids}


@pytest.fixture(scope="module")
def serve(product: Product) -> Serve:
    return Serve(product)


@pytest.mark.parametrize(
    ("application", "change"), [("router", {"max_ongoing": 4999}), ("budgie", {"max_queue": 60})]
)
def test_a_redeployment_fails_no_request(
    product: Product, serve: Serve, application: str, change: dict[str, Any]
) -> None:
    load = under_load(product, lambda: serve.redeploy(application, **change))
    assert load.failures == []
    assert load.sent > 5 * (STREAMS + PLAIN), "there was a load"
    wait_for(lambda: accounted(product, load).total() >= load.sent, "the usage rows", 30)
    assert accounted(product, load) == {(200, TOKENS): load.sent}
