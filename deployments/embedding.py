"""The deployment of one embedding model."""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from pydantic import PositiveInt, model_validator
from ray import serve
from ray.serve import Application

from cluster.catalog.base_models import ModelKind
from cluster.errors import ConfigurationError
from deployments.hosted import Hosted, HostedArgs, application, together
from deployments.platform import open_platform
from deployments.scoring import MAX_TOKENS, Over, Scored
from deployments.source import resolve
from rag.cut import Cuts, least

if TYPE_CHECKING:
    from rag.embed import Text, Vectors

DEPLOYMENT = "Embedder"


class Embedded(NamedTuple):
    """What an embedder answers; `vectors` is empty where a text could not be taken."""

    vectors: list[bytes]
    """Little-endian float32, in the order of the texts."""
    tokens: list[int]
    """Of each text, with the model's own marks."""
    vocabulary: int
    """Tokens that the model knows, numbered from 0."""


class EmbedderArgs(HostedArgs):
    """One embedding model in `serve_config.yaml`."""

    dimensions: tuple[PositiveInt, ...] = ()
    """Sizes to which callers may have vectors shortened: of a model that was trained for it
    (Matryoshka), those that its card names."""
    min_dimensions: PositiveInt | None = None
    """The same where any size from this one on will do."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.dimensions and self.min_dimensions is not None:
            raise ValueError("give either dimensions or min_dimensions")
        return self

    def check_size(self, size: int) -> None:
        """Raises ConfigurationError where the model's vectors are not longer than that."""
        for given in (*self.dimensions, self.min_dimensions or 1):
            if given > size:
                raise ConfigurationError(
                    f"{self.name!r} can't be shortened to {given} dimensions: it has {size}."
                )


class Embedder(Hosted):
    async def __init__(self, args: EmbedderArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        from rag.embed import EmbeddingModel

        platform = await open_platform()
        source = resolve(args.source)
        self._model = await asyncio.to_thread(EmbeddingModel, source)
        args.check_size(self._model.dimensions)
        self._batch.set_max_batch_size(args.max_batch)
        self._batch.set_batch_wait_timeout_s(args.batch_wait)
        await self._appear(
            platform,
            args,
            ModelKind.EMBEDDING,
            source,
            context_length=self._model.context_length,
            hidden_size=self._model.dimensions,
            vocabulary=self._model.vocabulary,
            dimensions=args.dimensions,
            min_dimensions=args.min_dimensions or 0,
        )

    @serve.batch
    async def _batch(self, requests: list[list[Text]]) -> list[Vectors]:
        return await together(self._model.embed, requests)

    async def embed(self, texts: list[Text], dimensions: int | None = None) -> Embedded:
        """The vectors of `texts`, each a string or tokens, of length 1.

        Nothing is embedded where a text is longer than the context or has tokens that are not in
        the vocabulary.
        """
        tokens = await asyncio.to_thread(self._model.count, texts)
        vocabulary = self._model.vocabulary
        unknown = any(max(text) >= vocabulary for text in texts if isinstance(text, list))
        if unknown or max(tokens) > self._model.context_length:
            return Embedded([], tokens, vocabulary)
        vectors = shortened(np.asarray(await self._batch(texts)), dimensions)
        return Embedded([vector.tobytes() for vector in vectors], tokens, vocabulary)

    async def score(self, queries: list[str], documents: list[str], cuts: Cuts) -> Scored:
        """The cosine of each document's vector and its query's; one query is that of all."""
        queries, documents = await asyncio.to_thread(self._cut, queries, documents, cuts)
        texts = [*queries, *documents]
        tokens = await asyncio.to_thread(self._model.count, texts)
        for index, count in enumerate(tokens):
            if count > self._model.context_length:
                first = index < len(queries)
                part = (
                    Over("query", index, count)
                    if first
                    else Over("document", index - len(queries), count)
                )
                return Scored([], sum(tokens), part)
        if sum(tokens) > MAX_TOKENS:
            return Scored([], sum(tokens))
        vectors = np.asarray(await self._batch(texts))
        cosines = (vectors[: len(queries)] * vectors[len(queries) :]).sum(axis=1)
        return Scored([float(cosine) for cosine in cosines], sum(tokens))

    def _cut(
        self, queries: list[str], documents: list[str], cuts: Cuts
    ) -> tuple[list[str], list[str]]:
        cut = self._model.cut
        room = None if cuts.whole is None else cuts.whole - self._model.marks
        of_query, of_document = least(cuts.query, room), least(cuts.document, room)
        if of_query is not None:
            queries = [*map(cut, queries, repeat(of_query))]
        if of_document is not None:
            documents = [*map(cut, documents, repeat(of_document))]
        return queries, documents


def shortened(vectors: Vectors, size: int | None) -> Vectors:
    """The first `size` dimensions of each, of length 1 again."""
    if size is None or size == vectors.shape[1]:
        return vectors
    short = vectors[:, :size]
    # A vector may be 0 in all of them.
    lengths = np.maximum(np.linalg.norm(short, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    unit: Vectors = short / lengths
    return unit


def app(given: dict[str, Any]) -> Application:
    """The Serve application of one embedding model."""
    return application(Embedder, DEPLOYMENT, EmbedderArgs.read(given))
