"""The inference endpoints: what answers each, and which field holds its input."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.catalog.base_models import ModelKind
from deployments.router.dialects.anthropic.wire import ANTHROPIC
from deployments.router.dialects.dialect import Dialect
from deployments.router.dialects.openai.wire import OPENAI


@dataclass(frozen=True, slots=True)
class Endpoint:
    kind: ModelKind
    """Of the models that answer it."""
    dialect: Dialect
    input: str
    """The field of the body that errors about the length of the input name."""
    generates: bool = False
    """Whether an engine makes tokens for it."""


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(ModelKind.LLM, OPENAI, "messages", generates=True),
    "/v1/completions": Endpoint(ModelKind.LLM, OPENAI, "prompt", generates=True),
    "/v1/embeddings": Endpoint(ModelKind.EMBEDDING, OPENAI, "input"),
    "/tokenize": Endpoint(ModelKind.LLM, OPENAI, "prompt"),
    "/detokenize": Endpoint(ModelKind.LLM, OPENAI, "tokens"),
    "/v1/messages": Endpoint(ModelKind.LLM, ANTHROPIC, "messages", generates=True),
    "/v1/messages/count_tokens": Endpoint(ModelKind.LLM, ANTHROPIC, "messages"),
}
