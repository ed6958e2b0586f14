"""The deployment of one embedding model."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from pydantic import Field
from ray import serve
from ray.serve import Application

from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.replicas import Replica
from deployments.heartbeat import Heartbeat
from deployments.platform import open_platform
from deployments.scale import Scale, Strict
from deployments.source import resolve

if TYPE_CHECKING:
    from rag.embed import Text

DEPLOYMENT = "Embedder"


class Embedded(NamedTuple):
    """What an embedder answers; `vectors` is empty where a text could not be taken."""

    vectors: list[bytes]
    """Little-endian float32, in the order of the texts."""
    tokens: list[int]
    """Of each text, with the model's own marks."""
    vocabulary: int
    """Tokens that the model knows, numbered from 0."""


class EmbedderArgs(Strict):
    """One embedding model in `serve_config.yaml`."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    """A folder, a hub's name, or `package:NAME/FOLDER`."""
    aliases: tuple[str, ...] = ()
    max_batch: int = Field(32, ge=1)
    """Requests that are embedded together."""
    batch_wait: float = Field(0.005, ge=0)
    """Seconds that the first request of a batch waits for others."""
    scale: Scale = Scale()


class Embedder:
    async def __init__(self, args: EmbedderArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        from rag.embed import EmbeddingModel

        platform = await open_platform()
        source = resolve(args.source)
        self._model = await asyncio.to_thread(EmbeddingModel, source)
        self._batch.set_max_batch_size(args.max_batch)
        self._batch.set_batch_wait_timeout_s(args.batch_wait)
        context, runtime = serve.get_replica_context(), ray.get_runtime_context()
        await BaseModels(platform.database).register(
            BaseModel(
                name=args.name,
                kind=ModelKind.EMBEDDING,
                application=context.app_name,
                source=source,
                context_length=self._model.context_length,
                aliases=args.aliases,
                hidden_size=self._model.dimensions,
                vocabulary=self._model.vocabulary,
            )
        )
        replica = Replica(
            model=args.name,
            id=context.replica_id.unique_id,
            node=runtime.get_node_id(),
            pid=os.getpid(),
            actor_id=runtime.get_actor_id() or "",
            address="",
        )
        self._heartbeat = Heartbeat(platform.directory, lambda: replica)
        self._heartbeat.start()
        await announce(platform.redis)

    @serve.batch
    async def _batch(self, requests: list[list[Text]]) -> list[list[bytes]]:
        texts = [text for request in requests for text in request]
        embedded = await asyncio.to_thread(self._model.embed, texts)
        answers, start = [], 0
        for request in requests:
            rows = slice(start, start + len(request))
            answers.append([vector.tobytes() for vector in embedded[rows]])
            start += len(request)
        return answers

    async def embed(self, texts: list[Text]) -> Embedded:
        """The vectors of `texts`, each a string or tokens.

        Nothing is embedded where a text is longer than the context or has tokens that are not in
        the vocabulary.
        """
        tokens = await asyncio.to_thread(self._model.count, texts)
        vocabulary = self._model.vocabulary
        unknown = any(max(text) >= vocabulary for text in texts if isinstance(text, list))
        if unknown or max(tokens) > self._model.context_length:
            return Embedded([], tokens, vocabulary)
        return Embedded(await self._batch(texts), tokens, vocabulary)

    async def check_health(self) -> None:
        self._heartbeat.check()

    async def __del__(self) -> None:
        heartbeat = getattr(self, "_heartbeat", None)
        if heartbeat is not None:
            await heartbeat.stop()


def app(given: dict[str, Any]) -> Application:
    """The Serve application of one embedding model."""
    args = EmbedderArgs.read(given)
    return serve.deployment(
        Embedder,
        name=DEPLOYMENT,
        max_ongoing_requests=256,
        max_queued_requests=1024,
        health_check_period_s=5,
        **args.scale.options(),
    ).bind(args)
