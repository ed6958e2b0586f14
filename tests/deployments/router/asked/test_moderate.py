"""What `/v1/moderations` takes, refuses and answers."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import ModerationCreateResponse

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.route import Route
from cluster.errors import ConfigurationError, InvalidRequest
from deployments.router.asked.moderate import MAX_INPUTS, OPENAIS, parse
from deployments.sequence_classifier import (
    MAX_TOKENS,
    Category,
    Classified,
    SequenceClassifierArgs,
)
from tests.deployments.router.caller import Caller

GUARD = BaseModel("guard", ModelKind.CLASSIFIER, "app", "guard", 512)
CATEGORIES = [Category(1, "violence", 0.5), Category(2, "spam", 0.75), Category(3, "spam", 0.75)]


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ["a\nb"]),
    ],
)
def test_parts_are_one_text_and_strings_are_many(given: Any, texts: list[str]) -> None:
    assert parse({"input": given}).texts == texts


def test_each_text_is_reserved_for() -> None:
    assert parse({"input": ["hi"] * 20}).estimate(Route("guard", GUARD, "guard")) == 20


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, "must be a string, a list of strings"),
        (["a", {"type": "text", "text": "b"}], "must be a string, a list of strings"),
        ("", "input is empty"),
        (["a", ""], r"input\[1\] is empty"),
        ([], "0 texts"),
        (["a"] * (MAX_INPUTS + 1), "1 to 1000"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], r"input\[0\] is an image"),
        ([{"type": "audio"}], "a string \"audio\"; it must be \"text\""),
        ([{"type": "text"}], r"input\[0\] must be"),
        ([{"type": "text", "text": "a", "more": 1}], r"input\[0\] must be"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(given: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        parse({"input": given})
    assert refused.value.param == "input"


async def test_the_answer_is_openais() -> None:
    caller = Caller(GUARD, Classified(CATEGORIES, [[0.5, 0.25, 0.5], [0.0, 0.125, 0.875]], 9))
    answer = await caller.post(parse({"input": ["a", "b"]}))
    assert caller.calls[0].arguments == (["a", "b"],)
    assert caller.exchange.usage.prompt == 9
    assert answer["id"].startswith("modr-")
    first, second = answer["results"]
    assert first["flagged"] is second["flagged"] is True
    assert {name for name, flag in first["categories"].items() if flag} == {"violence"}
    assert {name for name, flag in second["categories"].items() if flag} == {"spam"}
    assert first["category_scores"]["spam"] == 0.5
    assert set(first["categories"]) == set(first["category_scores"]) == {*OPENAIS, "spam"}
    applied = first["category_applied_input_types"]
    assert {name for name, types in applied.items() if types} == {"violence", "spam"}
    # Strictly, as the client itself does not check.
    parsed = ModerationCreateResponse.model_validate(answer)
    assert parsed.results[0].categories.violence is True
    assert parsed.results[0].categories.self_harm_intent is False
    assert parsed.results[0].category_scores.violence == 0.5


async def test_nothing_is_flagged_below_the_threshold() -> None:
    caller = Caller(GUARD, Classified(CATEGORIES, [[0.49, 0.7, 0.7]], 3))
    (result,) = (await caller.post(parse({"input": "a"})))["results"]
    assert result["flagged"] is False
    assert not any(result["categories"].values())


async def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"at most {MAX_TOKENS}"):
        await Caller(GUARD, Classified(CATEGORIES, [], MAX_TOKENS + 1)).post(parse({"input": "a"}))


def configured(**more: Any) -> SequenceClassifierArgs:
    return SequenceClassifierArgs.read({"name": "guard", "source": "guard", **more})


LABELS = ["ok", "rude", "violent"]


def test_labels_are_categories_as_configured() -> None:
    args = configured(
        categories={"violent": "violence", "rude": "harassment"},
        threshold=0.4,
        thresholds={"violence": 0.9},
    )
    assert args.categories_of(LABELS, multi_label=False) == [
        Category(1, "harassment", 0.4),
        Category(2, "violence", 0.9),
    ]
    assert configured().categories_of(LABELS[1:], multi_label=True) == [
        Category(0, "rude", 0.5),
        Category(1, "violent", 0.5),
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "leave out what means that all is well"),
        ({"categories": {"hate": "hate"}}, "categories has 'hate'; 'guard' has the labels"),
        ({"categories": {"rude": "hate"}, "thresholds": {"rude": 0.1}}, "thresholds has 'rude'"),
    ],
)
def test_labels_that_there_are_not_are_configured_wrongly(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        configured(**given).categories_of(LABELS, multi_label=False)


def test_a_threshold_is_a_score() -> None:
    with pytest.raises(ConfigurationError, match=r"args\.threshold=2"):
        configured(threshold=2)
