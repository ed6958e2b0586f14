"""The inference endpoints: what answers each, and which field holds its input."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.catalog.base_models import ModelKind


@dataclass(frozen=True, slots=True)
class Endpoint:
    kind: ModelKind
    """Of the models that answer it."""
    input: str
    """The field of the body that errors about the length of the input name."""
    generates: bool = False
    """Whether an engine makes tokens for it."""


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(ModelKind.LLM, "messages", generates=True),
    "/v1/completions": Endpoint(ModelKind.LLM, "prompt", generates=True),
    "/v1/embeddings": Endpoint(ModelKind.EMBEDDING, "input"),
    "/tokenize": Endpoint(ModelKind.LLM, "prompt"),
    "/detokenize": Endpoint(ModelKind.LLM, "tokens"),
}
