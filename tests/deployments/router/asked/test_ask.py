"""How a model is asked through a Serve handle, and what that costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from ray import serve
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import RayServeException

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.replicas import Replica
from cluster.catalog.route import Plan, Route
from cluster.errors import ContextTooLong, Internal, InvalidRequest, Unavailable
from deployments.embedding import Embedded
from deployments.router.answer import ConnectionLost
from deployments.router.asked.ask import Call, ParseQuestion, ask_deployment
from deployments.router.asked.embed import parse
from deployments.router.dialects.openai.errors import headers
from deployments.router.exchange import Exchange
from deployments.router.steps.name import Name
from deployments.scoring import Scored
from deployments.sequence_classifier import Category, Classified
from tests.deployments.router.caller import Caller
from tests.deployments.router.conftest import Rig

MINI = BaseModel("mini", ModelKind.EMBEDDING, "app", "mini", 8, hidden_size=2)
QUESTION = parse({"model": "mini", "input": "a"})
CALL = Call("Embedder", "embed", (["a"],))


def mini(count: int = 1) -> Caller:
    return Caller(MINI, Embedded([b"\0" * 8], [count], 10))


@pytest.mark.parametrize("error", [Unavailable("full"), RuntimeError("broken")])
async def test_what_fails_costs_nothing(error: Exception) -> None:
    caller = mini()
    caller.error = error
    with pytest.raises(type(error)):
        await caller.post(QUESTION)
    assert caller.exchange.usage.prompt == 0


async def test_a_model_behind_answers_where_the_first_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = Caller(MINI, Embedded([b"\0" * 8], [1], 10), replace(MINI, name="b", application="b"))
    caller.error = Unavailable("full")
    answer = await caller.post(QUESTION)
    assert (caller.applications, answer["model"]) == (["app", "b"], "b")
    assert caller.exchange.route is not None
    assert (caller.exchange.route.name, caller.exchange.usage.prompt) == ("b", 1)
    caller.error = InvalidRequest("wrong")
    with pytest.raises(InvalidRequest):
        await caller.post(QUESTION)
    assert caller.applications[2:] == ["app"]
    caller.error, caller.patience, asked = None, 0.01, caller.ask

    async def slow(application: str, call: Call) -> Any:
        if application == "app":
            await asyncio.Event().wait()
        return await asked(application, call)

    monkeypatch.setattr(caller, "ask", slow)
    assert (await caller.post(QUESTION))["model"] == "b"


async def test_where_a_replica_is_lost_another_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = mini()
    caller.replicas, plain, lost = 5, caller.ask, 2

    async def ask(application: str, call: Call) -> Any:
        nonlocal lost
        caller.error, lost = ConnectionLost() if lost else None, lost - 1
        return await plain(application, call)

    monkeypatch.setattr(caller, "ask", ask)
    await caller.post(QUESTION)
    assert (len(caller.calls), caller.exchange.usage.prompt) == (3, 1)


@pytest.mark.parametrize(("replicas", "asked"), [(0, 1), (1, 1), (2, 2), (9, 3)])
async def test_not_all_replicas_are_asked_nor_one_twice(replicas: int, asked: int) -> None:
    behind = replace(MINI, name="b", application="b")
    caller = Caller(MINI, Embedded([b"\0" * 8], [1], 10), behind)
    caller.error, caller.replicas = ConnectionLost(), replicas
    assert (await caller.post(QUESTION))["model"] == "b"
    assert caller.applications == ["app"] * asked + ["b"]
    with pytest.raises(Unavailable, match=f"'mini' failed {asked} times"):
        alone = Caller(MINI)
        alone.error, alone.replicas = ConnectionLost(), replicas
        await alone.post(QUESTION)
    assert alone.exchange.usage.prompt == 0


async def test_what_is_refused_costs_nothing() -> None:
    caller = mini(9)
    with pytest.raises(ContextTooLong):
        await caller.post(QUESTION)
    assert caller.exchange.usage.prompt == 0
    assert caller.exchange.first_token_at is None


async def test_a_caller_who_leaves_is_charged_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = mini()
    asked = asyncio.Event()

    async def ask(application: str, call: Call) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(caller, "ask", ask)
    request = asyncio.create_task(caller.post(QUESTION))
    await asked.wait()
    request.cancel()
    await asyncio.wait({request})
    assert caller.exchange.usage.prompt == caller.exchange.reserve == 30


async def test_without_a_replica_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = mini()

    async def nobody(model: str) -> None:
        raise Unavailable(f"No replica of {model!r} is ready.")

    monkeypatch.setattr(caller, "present", nobody)
    with pytest.raises(Unavailable):
        await caller.post(QUESTION)
    assert (caller.calls, caller.exchange.usage.prompt) == ([], 0)


async def test_an_application_that_is_gone_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: Any) -> Any:
        raise KeyError("Deployment(name='Embedder', app='mini') does not exist.")

    monkeypatch.setattr(serve, "get_deployment_handle", gone)
    with pytest.raises(Unavailable) as refused:
        await ask_deployment("mini", CALL)
    assert headers(refused.value) == {"retry-after": "5"}


@pytest.mark.parametrize("cause", [RuntimeError("broken"), ActorDiedError()])
async def test_what_a_method_raises_is_logged_and_no_fault_of_the_callers(
    handle: Handle, caplog: pytest.LogCaptureFixture, cause: Exception
) -> None:
    handle.error = RayTaskError("embed", "its traceback", cause).as_instanceof_cause()
    with pytest.raises(Internal, match="failed to answer"):
        await ask_deployment("mini", CALL)
    assert "its traceback" in caplog.text


async def test_a_replica_that_died_is_a_connection_that_is_lost(handle: Handle) -> None:
    handle.error = ActorDiedError()
    with pytest.raises(ConnectionLost):
        await ask_deployment("mini", CALL)


async def test_a_question_is_read_with_its_model_and_its_price() -> None:
    exchange = Exchange("/v1/embeddings", {"headers": []}, None, None)  # type: ignore[arg-type]
    exchange.body = b'{"model": "mini", "input": [[1, 2], [3]], "user": "ann"}'
    await Name()(exchange)
    exchange.plan = Plan((Route("mini", MINI, "mini"),))
    await ParseQuestion(parse)(exchange)
    assert (exchange.model, exchange.user, exchange.reserve) == ("mini", "ann", 3)
    assert exchange.question is not None


class Handle:
    """Serve's handle of a deployment, with one answer for each of its methods."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.calls: list[Call] = []
        self.error: Exception | None = None

    def of(self, deployment: str, application: str) -> Any:
        parent = self

        class Method:
            def __init__(self, name: str) -> None:
                self.name = name

            async def remote(self, *arguments: Any) -> Any:
                parent.calls.append(Call(deployment, self.name, arguments))
                if parent.error is not None:
                    raise parent.error
                return parent.told[self.name]

        class Named:
            def __getattr__(self, name: str) -> Method:
                return Method(name)

        return Named()


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    categories = [Category(1, "violence", 0.5)]
    made = Handle(
        {
            "score": Scored([0.25, 0.75], 21),
            "classify": Classified(categories, [[0.875]], 5),
            "embed": Embedded([b"\0" * 8], [4], 10),
        }
    )
    monkeypatch.setattr(serve, "get_deployment_handle", made.of)
    return made


async def host(rig: Rig, kind: ModelKind, name: str, *aliases: str) -> None:
    from cluster.catalog.base_models import BaseModels

    model = BaseModel(name, kind, name, name, 512, aliases, hidden_size=2)
    await BaseModels(rig.platform.database).register(model)
    await rig.catalog.refresh()
    replica = Replica(name, f"replica-{name}", "here", 1, "a", "")
    await rig.directory.announce(replica, changed=True)
    await rig.read_directory()


PAIR = {"query": "what flies", "documents": ["a stone", "a bird"]}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize("kind", [ModelKind.RERANKER, ModelKind.EMBEDDING])
async def test_documents_are_ranked_and_accounted(
    rig: Rig, handle: Handle, path: str, kind: ModelKind
) -> None:
    await host(rig, kind, "ranker")
    answered = await rig.post({"model": "ranker", **PAIR}, path)
    assert answered.status == 200, answered.body
    assert [one["index"] for one in answered.json["results"]] == [1, 0]
    (call,) = handle.calls
    assert call.deployment == {"reranker": "Reranker", "embedding": "Embedder"}[kind.value]
    (event,) = rig.meter.events
    assert (event.endpoint, event.model, event.prompt_tokens) == (path, "ranker", 21)
    assert (event.completion_tokens, event.status) == (0, 200)
    assert event.ttft_ms is not None


async def test_scores_keep_their_order(rig: Rig, handle: Handle) -> None:
    await host(rig, ModelKind.RERANKER, "ranker")
    body = {"model": "ranker", "text_1": "what flies", "text_2": ["a stone", "a bird"]}
    for path in ("/v1/score", "/score"):
        answered = await rig.post(body, path)
        assert [one["score"] for one in answered.json["data"]] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/v1/rerank", ModelKind.LLM, PAIR),
        ("/v1/score", ModelKind.CLASSIFIER, {"text_1": "a", "text_2": "b"}),
        ("/v1/moderations", ModelKind.EMBEDDING, {"input": "a"}),
        ("/v1/embeddings", ModelKind.RERANKER, {"input": "a"}),
        ("/v1/chat/completions", ModelKind.RERANKER, {"messages": [{}]}),
    ],
)
async def test_a_model_of_another_kind_is_refused(
    rig: Rig, handle: Handle, path: str, kind: ModelKind, body: dict[str, Any]
) -> None:
    await host(rig, kind, "other")
    answered = await rig.post({"model": "other", **body}, path)
    error = answered.json["error"]
    assert (answered.status, error["code"], error["param"]) == (
        400,
        "unsupported_endpoint",
        "model",
    )
    assert kind.value in error["message"]
    assert handle.calls == []


async def test_the_model_of_moderations_need_not_be_named(rig: Rig, handle: Handle) -> None:
    for body in ({"input": "a"}, {"input": "a", "model": "omni-moderation-latest"}):
        missing = await rig.post(body, "/v1/moderations")
        error = missing.json["error"]
        assert (missing.status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert "deployments.sequence_classifier:app" in error["message"]
    await host(rig, ModelKind.CLASSIFIER, "guard", "omni-moderation-latest")
    for body in ({"input": "a"}, {"input": "a", "model": "omni-moderation-latest"}):
        answered = await rig.post(body, "/v1/moderations")
        assert answered.json["model"] == "guard"
        assert answered.json["results"][0]["flagged"] is True
    # A name that no deployment has is not answered by another.
    unknown = await rig.post({"input": "a", "model": "text-moderation-latest"}, "/v1/moderations")
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
    await host(rig, ModelKind.CLASSIFIER, "other")
    many = await rig.post({"input": "a"}, "/v1/moderations")
    assert many.status == 404
    assert "guard, other" in many.json["error"]["message"]
    events = rig.meter.events
    assert [event.prompt_tokens for event in events] == [0, 0, 5, 5, 0, 0]


async def test_a_deployment_that_is_full_or_not_ready_is_a_503(rig: Rig, handle: Handle) -> None:
    await host(rig, ModelKind.RERANKER, "ranker")
    handle.error = RayServeException("unavailable")
    answered = await rig.post({"model": "ranker", **PAIR}, "/v1/rerank")
    assert answered.status == 503
    assert answered.headers["retry-after"] == "5"
    assert rig.meter.events[0].prompt_tokens == 0
