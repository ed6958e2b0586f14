"""What `/v1/score` and `/v1/rerank` take, refuse and answer."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.route import Route
from cluster.errors import ContextTooLong, InvalidRequest
from deployments.router.asked import rerank, score
from deployments.router.asked.pairs import MAX_CHARACTERS, MAX_DOCUMENTS
from deployments.scoring import MAX_TOKENS, Over, Scored
from rag.cut import Cuts
from tests.deployments.router.caller import Caller

RANKER = BaseModel("ranker", ModelKind.RERANKER, "app", "ranker", 512)
EMBEDDER = BaseModel("mini", ModelKind.EMBEDDING, "app", "mini", 256, hidden_size=2)


def scored(**body: Any) -> score.ScoreRequest:
    return score.parse({"model": "ranker", **body})


def ranked(**body: Any) -> rerank.RerankRequest:
    given = {"model": "ranker", "query": "what flies", "documents": ["a stone", "a bird", "a pen"]}
    return rerank.parse({**given, **body})


@pytest.mark.parametrize("names", score.NAMES)
@pytest.mark.parametrize(
    ("first", "second", "sides"),
    [
        ("a", "b", (["a"], ["b"])),
        ("a", ["b", "c"], (["a"], ["b", "c"])),
        (["a", "b"], ["c", "d"], (["a", "b"], ["c", "d"])),
    ],
)
def test_both_sides_go_by_all_their_names(
    names: tuple[str, str], first: Any, second: Any, sides: Any
) -> None:
    request = scored(**dict(zip(names, (first, second), strict=True)))
    assert request.sides == sides
    assert request.fields == names


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({}, None, "give one pair of text_1 and text_2"),
        ({"text_1": "a", "items": "b"}, None, "give one pair"),
        ({"text_1": "a", "text_2": "b", "data_1": "c"}, None, "give one pair"),
        ({"text_1": 5, "text_2": "b"}, "text_1", "a string or a list of strings"),
        ({"text_1": ["a", 5], "text_2": "b"}, "text_1", "a list of strings"),
        ({"text_1": ["a", "b"], "text_2": "c"}, "text_1", "one for all or as many"),
        ({"text_1": ["a", "b"], "text_2": ["c"] * 3}, "text_1", "one for all or as many"),
        ({"text_1": "a", "text_2": ["b", ""]}, "text_2", r"text_2\[1\] is empty"),
        ({"text_1": "a", "text_2": []}, "text_2", "0 texts"),
        ({"text_1": "a", "text_2": ["b"] * (MAX_DOCUMENTS + 1)}, "text_2", "1001 texts"),
        ({"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 0},
         "truncate_prompt_tokens", "-1 or at least 1"),
        ({"text_1": "a", "text_2": "b", "top_n": 1}, "top_n", "Unrecognized"),
    ],
)  # fmt: skip
def test_wrong_sides_are_refused(body: dict[str, Any], param: str | None, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        scored(**body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"query": ["a"]}, "query", "must be a string"),
        ({"query": ""}, "query", "query is empty"),
        ({"documents": "a"}, "documents", "must be a list"),
        ({"documents": ["a", {"title": "b"}]}, "documents", "member 1"),
        ({"documents": ["a", {"text": 5}]}, "documents", "member 1"),
        ({"documents": []}, "documents", "1 to 1000"),
        ({"top_n": -1}, "top_n", "greater than or equal to 0"),
        ({"max_tokens_per_doc": -1}, "max_tokens_per_doc", "greater than or equal to 0"),
        ({"rank_fields": ["a"]}, "rank_fields", "Unrecognized"),
        ({"query": "x" * 2001, "documents": ["a"] * 1000}, "documents", str(MAX_CHARACTERS)),
    ],
)
def test_wrong_documents_are_refused(body: dict[str, Any], param: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        ranked(**body)
    assert refused.value.param == param


async def test_a_score_is_vllms_answer() -> None:
    caller = Caller(RANKER, Scored([0.5, 0.25], 12))
    answer = await caller.post(scored(text_1="a", text_2=["b", "c"]))
    assert answer["id"].startswith("score-")
    assert (answer["object"], answer["model"], answer["usage"]["total_tokens"]) == (
        "list",
        "ranker",
        12,
    )
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": 0.5},
        {"index": 1, "object": "score", "score": 0.25},
    ]
    assert caller.exchange.usage.prompt == 12


def test_the_answers_have_vllms_fields() -> None:
    told = Scored([0.5, 0.25, 0.75], 12)
    answer = scored(text_1="a", text_2=["b", "c", "d"]).render(told, "ranker")
    assert set(answer) == {"id", "object", "created", "model", "data", "usage"}
    answer = ranked().render(told, "ranker")
    assert set(answer) == {"id", "model", "usage", "results"}


async def test_the_best_documents_come_first() -> None:
    told = Scored([0.1, 0.9, 0.5], 20)
    answer = await Caller(RANKER, told).post(ranked(documents=["a stone", {"text": "a bird"}, "c"]))
    assert answer["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "a bird"}},
        {"index": 2, "relevance_score": 0.5, "document": {"text": "c"}},
        {"index": 0, "relevance_score": 0.1, "document": {"text": "a stone"}},
    ]
    assert answer["usage"] == {"prompt_tokens": 20, "total_tokens": 20}
    few = await Caller(RANKER, told).post(ranked(top_n=1, return_documents=False))
    assert few["results"] == [{"index": 1, "relevance_score": 0.9}]
    for every in (0, None, 99):
        assert len((await Caller(RANKER, told).post(ranked(top_n=every)))["results"]) == 3


@pytest.mark.parametrize(
    ("model", "deployment", "given", "cuts"),
    [
        (RANKER, "Reranker", {}, Cuts()),
        (EMBEDDER, "Embedder", {"max_tokens_per_doc": 0}, Cuts()),
        (RANKER, "Reranker", {"truncate_prompt_tokens": -1}, Cuts(whole=512)),
        (EMBEDDER, "Embedder", {"truncate_prompt_tokens": 9}, Cuts(whole=9)),
        (RANKER, "Reranker", {"max_tokens_per_query": 3, "max_tokens_per_doc": 4}, Cuts(3, 4)),
    ],
)
async def test_the_model_is_asked_by_its_kind(
    model: BaseModel, deployment: str, given: dict[str, Any], cuts: Cuts
) -> None:
    caller = Caller(model, Scored([0.1, 0.9, 0.5], 20))
    await caller.post(ranked(**given))
    (call,) = caller.calls
    assert (call.deployment, call.method) == (deployment, "score")
    assert call.arguments == (["what flies"], ["a stone", "a bird", "a pen"], cuts)


@pytest.mark.parametrize(
    ("over", "param", "told"),
    [
        (Over("query", 0, 900), "query", "query has 900 tokens; 'ranker' takes up to 512"),
        (Over("document", 2, 900), "documents", r"documents\[2\] has 900"),
        (Over("pair", 1, 900), "documents", r"documents\[1\] and query together have 900"),
    ],
)
async def test_what_is_too_long_is_named(over: Over, param: str, told: str) -> None:
    caller = Caller(RANKER, Scored([], 950, over))
    with pytest.raises(ContextTooLong, match=told) as refused:
        await caller.post(ranked())
    assert refused.value.param == param
    assert caller.exchange.usage.prompt == 0


async def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"at most {MAX_TOKENS}"):
        await Caller(RANKER, Scored([], MAX_TOKENS + 1)).post(ranked())


def test_a_reranker_is_paid_for_the_query_with_each_document() -> None:
    reranker, embedder = Route("ranker", RANKER, "ranker"), Route("mini", EMBEDDER, "mini")
    one = ranked(query="x" * 30, documents=["y" * 30] * 2)
    assert (one.estimate(reranker), one.estimate(embedder)) == (40, 30)
    many = scored(text_1=["x" * 30] * 2, text_2=["y" * 30] * 2)
    assert many.estimate(reranker) == many.estimate(embedder) == 40
    assert ranked(query="x", documents=["y"] * 5).estimate(reranker) == 10
