"""The deployment of one sequence classification model, whose labels are categories of texts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from ray import serve
from ray.serve import Application

from cluster.catalog.base_models import ModelKind
from cluster.errors import ConfigurationError
from deployments.hosted import Hosted, HostedArgs, application, together
from deployments.platform import open_platform
from deployments.source import resolve

if TYPE_CHECKING:
    from rag.classify import Scores

DEPLOYMENT = "SequenceClassifier"
MAX_TOKENS = 300_000
"""Of all texts of one request."""

Threshold = Annotated[float, Field(ge=0, le=1)]


class Category(NamedTuple):
    """A label that callers are told of. From `threshold` on a text is flagged for it."""

    label: int
    name: str
    threshold: float


class Classified(NamedTuple):
    """What a classifier says of texts; `scores` is empty where they are too many tokens."""

    categories: list[Category]
    scores: list[list[float]]
    """Of each text and category, between 0 and 1."""
    tokens: int


class SequenceClassifierArgs(HostedArgs):
    """One classifier in `serve_config.yaml`."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    multi_label: bool | None = None
    """Whether a text may have several labels (each score by itself) or has one of them (scores
    that sum to 1); None is what the model's configuration says."""
    categories: dict[str, str] | None = None
    """The labels that are categories, and what answers call these; None is all labels, by their
    own names. A label that means that all is well is left out."""
    threshold: Threshold = 0.5
    """The score from which on a text is flagged."""
    thresholds: dict[str, Threshold] = {}
    """The same for single categories, by their names in answers."""

    def categories_of(self, labels: Sequence[str], *, multi_label: bool) -> list[Category]:
        """Raises ConfigurationError for names that there are not."""
        names: Mapping[str, str] = self.categories or {label: label for label in labels}
        if self.categories is None and not multi_label:
            raise ConfigurationError(
                f"{self.name!r} gives a text one of the labels {list(labels)}: categories must say "
                "which of them are to be flagged, and leave out what means that all is well."
            )
        for label in names:
            if label not in labels:
                raise ConfigurationError(
                    f"categories has {label!r}; {self.name!r} has the labels {list(labels)}."
                )
        for name in self.thresholds:
            if name not in names.values():
                raise ConfigurationError(
                    f"thresholds has {name!r}; the categories are {sorted(names.values())}."
                )
        return [
            Category(index, names[label], self.thresholds.get(names[label], self.threshold))
            for index, label in enumerate(labels)
            if label in names
        ]


class SequenceClassifier(Hosted):
    async def __init__(self, args: SequenceClassifierArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        from rag.classify import ClassificationModel

        platform = await open_platform()
        source = resolve(args.source)
        self._model = await asyncio.to_thread(
            ClassificationModel, source, dtype=args.dtype, multi_label=args.multi_label
        )
        self._categories = args.categories_of(
            self._model.labels, multi_label=self._model.multi_label
        )
        self._batch.set_max_batch_size(args.max_batch)
        self._batch.set_batch_wait_timeout_s(args.batch_wait)
        await self._appear(
            platform, args, ModelKind.CLASSIFIER, source, context_length=self._model.context_length
        )

    @serve.batch
    async def _batch(self, requests: list[list[str]]) -> list[Scores]:
        return await together(self._model.classify, requests)

    async def classify(self, texts: list[str]) -> Classified:
        """What is longer than the context is read in parts, and has the highest scores of them."""
        tokens = sum(await asyncio.to_thread(self._model.count, texts))
        if tokens > MAX_TOKENS:
            return Classified(self._categories, [], tokens)
        scores = [
            [float(row[category.label]) for category in self._categories]
            for row in await self._batch(texts)
        ]
        return Classified(self._categories, scores, tokens)


def app(given: dict[str, Any]) -> Application:
    """The Serve application of one classifier."""
    return application(SequenceClassifier, DEPLOYMENT, SequenceClassifierArgs.read(given))
