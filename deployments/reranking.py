"""The deployment of one reranker: a cross-encoder, which reads a query and a document together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

from ray import serve
from ray.serve import Application

from cluster.catalog.base_models import ModelKind
from deployments.hosted import Hosted, HostedArgs, application, together
from deployments.platform import open_platform
from deployments.scoring import MAX_TOKENS, Over, Scored
from deployments.source import resolve
from rag.cut import Cuts

if TYPE_CHECKING:
    from rag.rerank import Pair

DEPLOYMENT = "Reranker"


class RerankerArgs(HostedArgs):
    """One cross-encoder in `serve_config.yaml`."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    activation: Literal["sigmoid", "none"] | None = None
    """What scores go through: `sigmoid` puts them between 0 and 1; None is the model's own."""


class Reranker(Hosted):
    async def __init__(self, args: RerankerArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        from rag.rerank import CrossEncoderModel

        platform = await open_platform()
        source = resolve(args.source)
        self._model = await asyncio.to_thread(
            CrossEncoderModel, source, dtype=args.dtype, activation=args.activation
        )
        self._batch.set_max_batch_size(args.max_batch)
        self._batch.set_batch_wait_timeout_s(args.batch_wait)
        await self._appear(
            platform, args, ModelKind.RERANKER, source, context_length=self._model.context_length
        )

    @serve.batch
    async def _batch(self, requests: list[list[Pair]]) -> list[Sequence[float]]:
        return await together(self._model.score, requests)

    async def score(self, queries: list[str], documents: list[str], cuts: Cuts) -> Scored:
        """How well each document answers its query; one query is that of all."""
        pairs = list(zip(cycle(queries) if len(queries) == 1 else queries, documents, strict=False))
        if cuts:
            pairs = await asyncio.to_thread(self._model.cut, pairs, cuts)
        tokens = await asyncio.to_thread(self._model.count, pairs)
        for index, count in enumerate(tokens):
            if count > self._model.context_length:
                return Scored([], sum(tokens), Over("pair", index, count))
        if sum(tokens) > MAX_TOKENS:
            return Scored([], sum(tokens))
        return Scored(list(await self._batch(pairs)), sum(tokens))


def app(given: dict[str, Any]) -> Application:
    """The Serve application of one reranker."""
    return application(Reranker, DEPLOYMENT, RerankerArgs.read(given))
