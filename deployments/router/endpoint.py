"""The inference endpoints: what answers each, and which field holds its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.catalog.base_models import ModelKind
from deployments.router.asked.embed import EmbeddingRequest
from deployments.router.asked.moderate import ModerationRequest
from deployments.router.asked.rerank import RerankRequest
from deployments.router.asked.score import ScoreRequest
from deployments.router.dialects.anthropic.instruct import instruct_messages
from deployments.router.dialects.anthropic.wire import ANTHROPIC
from deployments.router.dialects.dialect import Dialect
from deployments.router.dialects.openai.instruct import instruct_chat, instruct_response
from deployments.router.dialects.openai.responses_wire import OPENAI_RESPONSES
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
    instruct: Callable[[dict[str, Any], str], None] | None = None
    """Puts a system prompt into the body; None where it has no place for one."""
    also: ModelKind | None = None
    """Another kind of models that answer it."""
    fields: frozenset[str] | None = None
    """Those of the body, where no engine has to tell them."""
    lengths: tuple[str, ...] = ()
    """The fields that bound an answer's length, the most widely known first."""

    def takes(self, kind: ModelKind) -> bool:
        return kind is self.kind or kind is self.also


RERANK = Endpoint(
    ModelKind.RERANKER,
    OPENAI,
    "documents",
    also=ModelKind.EMBEDDING,
    fields=frozenset(RerankRequest.model_fields),
)
SCORE = Endpoint(
    ModelKind.RERANKER,
    OPENAI,
    "text_1",
    also=ModelKind.EMBEDDING,
    fields=frozenset(ScoreRequest.model_fields),
)


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(
        ModelKind.LLM,
        OPENAI,
        "messages",
        generates=True,
        instruct=instruct_chat,
        lengths=("max_tokens", "max_completion_tokens"),
    ),
    "/v1/completions": Endpoint(
        ModelKind.LLM, OPENAI, "prompt", generates=True, lengths=("max_tokens",)
    ),
    "/v1/responses": Endpoint(
        ModelKind.LLM,
        OPENAI_RESPONSES,
        "input",
        generates=True,
        instruct=instruct_response,
        lengths=("max_output_tokens",),
    ),
    "/v1/embeddings": Endpoint(
        ModelKind.EMBEDDING, OPENAI, "input", fields=frozenset(EmbeddingRequest.model_fields)
    ),
    "/v1/rerank": RERANK,
    "/v2/rerank": RERANK,
    "/rerank": RERANK,
    "/v1/score": SCORE,
    "/score": SCORE,
    "/v1/moderations": Endpoint(
        ModelKind.CLASSIFIER, OPENAI, "input", fields=frozenset(ModerationRequest.model_fields)
    ),
    "/tokenize": Endpoint(ModelKind.LLM, OPENAI, "prompt", instruct=instruct_chat),
    "/detokenize": Endpoint(ModelKind.LLM, OPENAI, "tokens"),
    "/v1/messages": Endpoint(
        ModelKind.LLM,
        ANTHROPIC,
        "messages",
        generates=True,
        instruct=instruct_messages,
        lengths=("max_tokens",),
    ),
    "/v1/messages/count_tokens": Endpoint(
        ModelKind.LLM, ANTHROPIC, "messages", instruct=instruct_messages
    ),
}
