"""Pairs of a query and a document into scores, with a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from threading import Lock
from typing import Any, Literal

import torch
from sentence_transformers import CrossEncoder

from cluster.errors import ConfigurationError
from rag.context import context_length
from rag.cut import Cuts, cut

Pair = tuple[str, str]
Activation = Literal["sigmoid", "none"]
ACTIVATIONS = {"sigmoid": torch.nn.Sigmoid, "none": torch.nn.Identity}


class _Cutter:
    """Cuts texts, and remembers what it did with each."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._cut = lru_cache(64)(self._to)
        self._length = lru_cache(64)(self._count)

    def _to(self, text: str, most: int) -> str:
        return cut(text, most, self._tokenizer)

    def _count(self, text: str) -> int:
        encoded = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        return len(encoded["input_ids"])

    def pair(self, query: str, document: str, cuts: Cuts, marks: int) -> Pair:
        if cuts.query is not None:
            query = self._cut(query, cuts.query)
        if cuts.document is not None:
            document = self._cut(document, cuts.document)
        if cuts.whole is None:
            return query, document
        room = max(0, cuts.whole - marks)
        of_query, of_document = self._length(query), self._length(document)
        if of_query + of_document <= room:
            return query, document
        of_query = min(of_query, max(room - of_document, room // 2))
        return self._cut(query, of_query), self._cut(document, room - of_query)


class CrossEncoderModel:
    """A loaded model. Threads may share it: they take turns, and counting never waits for a batch.

    Both change the settings of a tokenizer while they use it, so each has one of its own.
    """

    def __init__(
        self,
        source: str,
        *,
        dtype: str = "float32",
        activation: Activation | None = None,
        device: str | None = None,
    ) -> None:
        """`activation` is what the scores go through; None is what the model itself says.

        Raises ConfigurationError for a model that does not give one score to a pair.
        """
        self._model = CrossEncoder(
            source,
            device=device,
            trust_remote_code=False,
            model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
            activation_fn=None if activation is None else ACTIVATIONS[activation](),
        ).eval()
        network = self._model.model
        if len(self._model) != 1 or self._model.num_labels != 1 or network is None:
            raise ConfigurationError(
                f"source={source!r}: it gives {self._model.num_labels} scores to a pair by "
                f"{len(self._model)} modules; a reranker is one sequence classification model "
                "with one score."
            )
        self.context_length = context_length(network, self._model.tokenizer)
        """Tokens of a query and a document together, the model's own marks among them."""
        self._model.max_seq_length = self.context_length
        self._scoring = Lock()
        self._counter = deepcopy(self._model.tokenizer)
        self._counting = Lock()
        self._marks = int(self._counter.num_special_tokens_to_add(pair=True))

    def cut(self, pairs: Sequence[Pair], cuts: Cuts) -> list[Pair]:
        """The pairs within `cuts`. Of what is too long as a whole the longer part is cut first."""
        with self._counting:
            # A query usually comes with every document.
            cutter = _Cutter(self._counter)
            return [cutter.pair(query, document, cuts, self._marks) for query, document in pairs]

    def count(self, pairs: Sequence[Pair]) -> list[int]:
        """Tokens of each pair, with the model's own marks, uncut."""
        if not pairs:
            return []
        queries, documents = zip(*pairs, strict=True)
        with self._counting:
            encoded = self._counter(list(queries), list(documents), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def score(self, pairs: Sequence[Pair], *, batch: int = 32) -> list[float]:
        """How well each document answers its query, in the order of `pairs`."""
        with self._scoring:
            scores = self._model.predict(
                list(pairs), batch_size=batch, convert_to_numpy=True, show_progress_bar=False
            )
        return [float(score) for score in scores]
