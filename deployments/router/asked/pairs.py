"""Queries and documents, which an embedder or a reranker scores."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cluster.catalog.base_models import ModelKind
from cluster.catalog.route import Route
from cluster.errors import ContextTooLong, InvalidRequest
from deployments import embedding, reranking
from deployments.router.asked.ask import Answered, Call
from deployments.router.asked.texts import about, check_many
from deployments.router.exchange import Beside
from deployments.scoring import MAX_TOKENS, Scored
from rag.cut import Cuts

MAX_DOCUMENTS = 1000
"""As many as Cohere takes in one request."""
MAX_CHARACTERS = 2_000_000
"""A query counts once for each document that it is read with."""
MARKS = b"\n" * 4
"""As many tokens as stand around a query and a document that are read together."""
WHOLE = -1
"""vLLM's value for the whole context."""


class PairsRequest(BaseModel):
    """What the bodies of `/v1/score` and `/v1/rerank` have in common."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    max_tokens_per_query: int | None = Field(None, ge=0)
    max_tokens_per_doc: int | None = Field(None, ge=0)
    """Longer texts are cut; 0 leaves them whole."""
    truncate_prompt_tokens: int | None = Field(None, ge=WHOLE)
    """Tokens to which all that the model reads at once is cut; -1 is its whole context."""
    user: str | None = None

    @field_validator("truncate_prompt_tokens")
    @classmethod
    def _something_is_left(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("it must be -1 or at least 1")
        return value

    @property
    @abstractmethod
    def sides(self) -> tuple[list[str], list[str]]:
        """The queries, one for all documents or one for each, and the documents."""

    @property
    @abstractmethod
    def fields(self) -> tuple[str, ...]:
        """What the caller calls the two."""

    @abstractmethod
    def render(self, scored: Scored, name: str) -> dict[str, Any]:
        """The answer of the model called `name`."""

    def estimate(self, route: Route) -> int:
        queries, documents = self.sides
        return self._times(route) * sum(map(about, queries)) + sum(map(about, documents))

    def beside(self, route: Route) -> Beside:
        return Beside("".join(self.sides[0]).encode() + MARKS, self._times(route) - 1)

    def _times(self, route: Route) -> int:
        """How often each query is read: by a reranker anew with each document."""
        queries, documents = self.sides
        return len(documents) // len(queries) if route.kind is ModelKind.RERANKER else 1

    def check(self) -> None:
        """Raises InvalidRequest naming the field."""
        first, second = self.fields
        queries, documents = self.sides
        check_many(queries, first, MAX_DOCUMENTS)
        check_many(documents, second, MAX_DOCUMENTS)
        if len(queries) not in (1, len(documents)):
            raise InvalidRequest(
                f"{first} has {len(queries)} texts and {second} has {len(documents)}; it must have "
                "one for all or as many.",
                param=first,
            )
        times = len(documents) // len(queries)
        if times * sum(map(len, queries)) + sum(map(len, documents)) > MAX_CHARACTERS:
            raise InvalidRequest(
                f"{second} has more than {MAX_CHARACTERS} characters in all, {first} counted with "
                "each.",
                param=second,
            )

    def call(self, route: Route) -> Call:
        reads_pairs = route.kind is ModelKind.RERANKER
        deployment = reranking.DEPLOYMENT if reads_pairs else embedding.DEPLOYMENT
        whole = self.truncate_prompt_tokens
        cuts = Cuts(
            self.max_tokens_per_query or None,
            self.max_tokens_per_doc or None,
            route.base.context_length if whole == WHOLE else whole,
        )
        return Call(deployment, "score", (*self.sides, cuts))

    def answer(self, told: Scored, route: Route) -> Answered:
        first, second = self.fields
        if told.over is not None:
            part, at, tokens = told.over
            of_query = f"{first}[{at}]" if len(self.sides[0]) > 1 else first
            what = {
                "query": f"{of_query} has",
                "document": f"{second}[{at}] has",
                "pair": f"{second}[{at}] and {of_query} together have",
            }[part]
            raise ContextTooLong(
                f"{what} {tokens} tokens; {route.name!r} takes up to {route.base.context_length}. "
                "truncate_prompt_tokens=-1 cuts what is longer.",
                param=first if part == "query" else second,
            )
        if told.tokens > MAX_TOKENS:
            raise InvalidRequest(
                f"{second} has {told.tokens} tokens in all, {first} counted with each that it is "
                f"read with; at most {MAX_TOKENS} are taken.",
                param=second,
            )
        return Answered(told.tokens, self.render(told, route.name))
