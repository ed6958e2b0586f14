"""`/v1/rerank`, in the shape of Jina's, Cohere's and vLLM's: documents by how well they answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from cluster.identifiers import new_id
from deployments.router.asked.pairs import PairsRequest
from deployments.router.asked.texts import read
from deployments.scoring import Scored

Text = str | dict[str, str]


def _text(value: object) -> str:
    if isinstance(value, dict) and value.keys() == {"text"}:
        value = value["text"]
    if isinstance(value, str):
        return value
    raise ValueError('it must be a string or {"text": a string}')


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError('it must be a list of strings or of {"text": a string}')
    found = []
    for index, member in enumerate(value):
        try:
            found.append(_text(member))
        except ValueError as error:
            raise ValueError(f"its member {index}: {error}") from None
    return found


class RerankRequest(PairsRequest):
    """A query, and documents as strings or as objects with a `text`."""

    query: Annotated[str, PlainValidator(_text, json_schema_input_type=Text)]
    documents: Annotated[list[str], PlainValidator(_texts, json_schema_input_type=list[Text])]
    top_n: int | None = Field(None, ge=0)
    """How many of the best are wanted; 0 is all."""
    return_documents: bool = True

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        return [self.query], self.documents

    @property
    def fields(self) -> tuple[str, ...]:
        return "query", "documents"

    def render(self, scored: Scored, name: str) -> dict[str, Any]:
        ranked = sorted(enumerate(scored.scores), key=lambda of: of[1], reverse=True)
        results: list[dict[str, Any]] = [
            {"index": index, "relevance_score": score}
            for index, score in ranked[: self.top_n or None]
        ]
        if self.return_documents:
            for result in results:
                result["document"] = {"text": self.documents[result["index"]]}
        return {
            "id": new_id("rerank-"),
            "model": name,
            "usage": {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens},
            "results": results,
        }


def parse(body: dict[str, Any]) -> RerankRequest:
    """Raises InvalidRequest naming the field."""
    request = read(RerankRequest, body)
    request.check()
    return request
