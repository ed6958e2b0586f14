"""`/v1/moderations`, OpenAI's endpoint: which texts are to be flagged, and for what."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator

from cluster.catalog.base_models import ModelKind
from cluster.catalog.catalog import Catalog
from cluster.catalog.route import Route
from cluster.errors import InvalidRequest, NotFound
from cluster.identifiers import new_id
from deployments.router.asked.ask import Answered, Call
from deployments.router.asked.texts import (
    about,
    all_of,
    check_long,
    check_many,
    read,
)
from deployments.router.dialects.openai.document import kind, model
from deployments.router.exchange import NOTHING, Beside
from deployments.sequence_classifier import DEPLOYMENT, MAX_TOKENS, Category, Classified

MAX_INPUTS = 1000
MAX_CHARACTERS = 1_000_000

OPENAIS = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/instructions", "self-harm/intent", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
"""The categories that OpenAI's clients have as attributes: an answer names all of them."""
OPENAIS_MODELS = frozenset(
    {
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
    }
)

Input = str | list[str] | list[dict[str, Any]]


def _input(value: object) -> object:
    if isinstance(value, str) or all_of(value, str) or all_of(value, dict):
        return value
    raise ValueError(
        'it must be a string, a list of strings or a list of {"type": "text", "text": a string}'
    )


class ModerationRequest(BaseModel):
    """OpenAI's body of `/v1/moderations`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Annotated[Input, PlainValidator(_input, json_schema_input_type=Input)]
    model: str | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        """Of objects all together are one: OpenAI's parts of one message."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], dict):
            return ["\n".join(_part(index, part) for index, part in enumerate(self.input))]
        return [text for text in self.input if isinstance(text, str)]

    def estimate(self, route: Route) -> int:
        return sum(map(about, self.texts))

    def beside(self, route: Route) -> Beside:
        return NOTHING

    def call(self, route: Route) -> Call:
        return Call(DEPLOYMENT, "classify", (self.texts,))

    def answer(self, told: Classified, route: Route) -> Answered:
        if told.tokens > MAX_TOKENS:
            raise InvalidRequest(
                f"input has {told.tokens} tokens in all; at most {MAX_TOKENS} are taken.",
                param="input",
            )
        answer = {
            "id": new_id("modr-"),
            "model": route.name,
            "results": [_result(told.categories, scores) for scores in told.scores],
        }
        return Answered(told.tokens, answer)


def _part(index: int, part: object) -> str:
    given = part.get("type") if isinstance(part, dict) else None
    if given == "image_url":
        raise InvalidRequest(
            f"input[{index}] is an image; moderation models here read texts only.", param="input"
        )
    if given != "text":
        raise InvalidRequest(
            f'input[{index}].type is {kind(given)}; it must be "text".', param="input"
        )
    assert isinstance(part, dict), "it has a type"
    text = part.get("text")
    if not isinstance(text, str) or part.keys() != {"type", "text"}:
        raise InvalidRequest(
            f'input[{index}] must be {{"type": "text", "text": a string}}.', param="input"
        )
    return text


def _result(categories: list[Category], scores: list[float]) -> dict[str, Any]:
    """What OpenAI's clients look for and the model does not know is not flagged, with a score of 0
    and no type of input that it was applied to."""
    flags = dict.fromkeys(OPENAIS, False)
    levels = dict.fromkeys(OPENAIS, 0.0)
    types: dict[str, list[str]] = {name: [] for name in OPENAIS}
    for category, score in zip(categories, scores, strict=True):
        # Several labels may be one category.
        name = category.name
        flags[name] = flags.get(name, False) or score >= category.threshold
        levels[name] = max(levels.get(name, 0.0), score)
        types[name] = ["text"]
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": levels,
        "category_applied_input_types": types,
    }


class ModerationModel:
    """Which model a body means, where it may leave that to the configuration."""

    def __init__(self, catalog: Catalog, default: str | None) -> None:
        self._catalog = catalog
        self._default = default

    def __call__(self, body: dict[str, Any]) -> str:
        """Raises NotFound where no model is named and none is configured."""
        known = [base.name for base in self._catalog.bases() if base.kind is ModelKind.CLASSIFIER]
        if body.get("model") is not None:
            name = model(body)
            if known or name not in OPENAIS_MODELS:
                return name
        if self._default is not None:
            return self._default
        if len(known) == 1:
            return known[0]
        why = (
            "No moderation model is deployed: add an application of "
            "deployments.sequence_classifier:app to the Serve configuration."
            if not known
            else f"The request names no model, LORIKEET_MODERATION_MODEL is not set, and "
            f"{len(known)} models can answer: {', '.join(sorted(known))}."
        )
        raise NotFound(why, param="model", code="model_not_found")


def parse(body: dict[str, Any]) -> ModerationRequest:
    """Raises InvalidRequest naming the field."""
    request = read(ModerationRequest, body)
    texts = request.texts
    check_many(texts, "input", MAX_INPUTS)
    check_long(sum(map(len, texts)), "input", MAX_CHARACTERS)
    return request
