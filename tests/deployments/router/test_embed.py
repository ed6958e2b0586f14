"""What `/v1/embeddings` takes, refuses and asks the embedder for."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from ray import serve

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.route import Route
from cluster.errors import ContextTooLong, InvalidRequest, Unavailable
from deployments.embedding import Embedded
from deployments.router.dialects.openai.errors import headers
from deployments.router.embed import (
    MAX_INPUTS,
    MAX_TOKENS,
    Embed,
    ParseEmbedding,
    Text,
    ask_embedder,
    parse,
)
from deployments.router.exchange import Exchange
from deployments.router.name import Name

MINI = BaseModel("mini", ModelKind.EMBEDDING, "app", "mini", 8, hidden_size=2)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
    ],
)
def test_texts_come_as_strings_or_as_tokens(given: Any, texts: list[Text]) -> None:
    assert parse({"model": "mini", "input": given}).texts == texts


@pytest.mark.parametrize(
    "given",
    [5, None, {}, [None], ["a", 5], [5, "a"], [True], [-1], [5.0], [[5], "a"], [[["a"]]], [[5], 6]],
)
def test_the_parameter_of_a_wrong_input_is_input(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="must be a string, a list of strings") as refused:
        parse({"model": "mini", "input": given})
    assert refused.value.param == "input"
    assert "more" not in refused.value.message


@pytest.mark.parametrize(
    "given", ["", [], [""], [[]], [[5], []], ["a"] * (MAX_INPUTS + 1), [5] * (MAX_TOKENS + 1)]
)
def test_too_little_and_too_much_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse({"model": "mini", "input": given})
    assert refused.value.param == "input"


class Caller:
    """An exchange whose answer is kept, and an embedder that knows ten tokens."""

    def __init__(self) -> None:
        self.asked: list[list[Text]] = []
        self.sent: list[Any] = []
        self.exchange: Exchange
        self.error: Exception | None = None

    async def ask(self, application: str, texts: list[Text]) -> Embedded:
        self.asked.append(texts)
        if self.error is not None:
            raise self.error
        vector = np.array([1, 0], "<f4").tobytes()
        return Embedded([vector] * len(texts), [len(text) for text in texts], 10)

    async def present(self, model: str) -> None:
        assert model == "mini"

    async def post(self, given: Any) -> Exchange:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            self.sent.append(message)

        exchange = self.exchange = Exchange("/v1/embeddings", {"headers": []}, receive, send)
        exchange.reserve = 30
        exchange.embedding = parse({"model": "mini", "input": given})
        exchange.route = Route("mini", MINI, "mini")
        try:
            await Embed(self.ask, self.present)(exchange)
        finally:
            for give_back in exchange.cleanup:
                give_back()
        return exchange


async def test_tokens_reach_the_embedder_and_are_counted() -> None:
    caller = Caller()
    exchange = await caller.post([[1, 2, 3], [9]])
    assert caller.asked == [[[1, 2, 3], [9]]]
    assert exchange.usage.prompt == 4
    assert caller.sent[0]["status"] == 200


async def test_tokens_of_another_model_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"input\[1\] has the token 10; 'mini' has 0 to 9"):
        await Caller().post([[1], [2, 10]])
    with pytest.raises(ContextTooLong):
        await Caller().post([[1] * 9])


@pytest.mark.parametrize("error", [Unavailable("full"), RuntimeError("broken")])
async def test_what_fails_costs_nothing(error: Exception) -> None:
    caller = Caller()
    caller.error = error
    with pytest.raises(type(error)):
        await caller.post("a")
    assert caller.exchange.usage.prompt == 0
    caller.error = None
    with pytest.raises(ContextTooLong):
        await caller.post([[1] * 9])
    assert caller.exchange.usage.prompt == 0


async def test_a_caller_who_leaves_is_charged_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller()
    asked = asyncio.Event()

    async def ask(application: str, texts: list[Text]) -> Embedded:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("it is cancelled")

    monkeypatch.setattr(caller, "ask", ask)
    request = asyncio.create_task(caller.post("a"))
    await asked.wait()
    request.cancel()
    await asyncio.wait({request})
    assert caller.exchange.usage.prompt == caller.exchange.reserve == 30


async def test_without_a_replica_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller()

    async def nobody(model: str) -> None:
        raise Unavailable(f"No replica of {model!r} is ready.")

    monkeypatch.setattr(caller, "present", nobody)
    with pytest.raises(Unavailable):
        await caller.post("a")
    assert (caller.asked, caller.exchange.usage.prompt) == ([], 0)


async def test_an_application_that_is_gone_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: Any) -> Any:
        raise KeyError("Deployment(name='Embedder', app='mini') does not exist.")

    monkeypatch.setattr(serve, "get_deployment_handle", gone)
    with pytest.raises(Unavailable) as refused:
        await ask_embedder("mini", ["a"])
    assert headers(refused.value) == {"retry-after": "5"}


async def test_tokens_are_reserved_as_such() -> None:
    exchange = Exchange("/v1/embeddings", {"headers": []}, None, None)  # type: ignore[arg-type]
    exchange.body = b'{"model": "mini", "input": [[1, 2], [3]]}'
    await Name()(exchange)
    await ParseEmbedding()(exchange)
    assert exchange.reserve == 3
    # What was checked here is what Embed asks for: it does not check a second time.
    assert exchange.embedding is not None
    assert exchange.embedding.texts == [[1, 2], [3]]
