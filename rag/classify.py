"""Texts into the scores of a sequence classification model's labels."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.errors import ConfigurationError
from rag.context import context_length

Scores = npt.NDArray[np.float32]


class ClassificationModel:
    """A loaded model. Threads may share it: they take turns, and counting never waits for a batch.

    Both change the settings of a tokenizer while they use it, so each has one of its own.
    """

    def __init__(
        self,
        source: str,
        *,
        dtype: str = "float32",
        multi_label: bool | None = None,
        device: str | None = None,
    ) -> None:
        """`multi_label`: a text may have several of the labels; None is what the model says.

        Raises ConfigurationError for a model that is no classifier.
        """
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = AutoModelForSequenceClassification.from_pretrained(
            source, trust_remote_code=False, use_safetensors=True, dtype=getattr(torch, dtype)
        )
        self._model.to(self._device).eval()
        config = self._model.config
        if config.problem_type == "regression":
            raise ConfigurationError(f"source={source!r} is a regression, not a classifier.")
        self.labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
        if multi_label is None:
            multi_label = (
                config.num_labels == 1 or config.problem_type == "multi_label_classification"
            )
        self.multi_label = multi_label
        """Each label is decided by itself; else they are alternatives, whose scores sum to 1."""
        self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        self.context_length = context_length(self._model, self._tokenizer)
        self._classifying = Lock()
        self._counter = deepcopy(self._tokenizer)
        self._counting = Lock()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with the model's own marks, uncut."""
        with self._counting:
            encoded = self._counter(list(texts), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def classify(self, texts: Sequence[str], *, batch: int = 32) -> Scores:
        """Scores between 0 and 1 of shape (texts, labels).

        What is longer than the context is read in windows that overlap by an eighth; each label
        has its highest score of them.
        """
        highest = np.zeros((len(texts), len(self.labels)), np.float32)
        with self._classifying:
            encoded = self._tokenizer(
                list(texts),
                truncation=True,
                max_length=self.context_length,
                stride=self.context_length // 8,
                return_overflowing_tokens=True,
            )
            of_text = encoded.pop("overflow_to_sample_mapping")
            windows = [
                dict(zip(encoded, values, strict=True))
                for values in zip(*encoded.values(), strict=True)
            ]
            # Windows of one length side by side need no padding.
            order = sorted(range(len(windows)), key=lambda row: len(windows[row]["input_ids"]))
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                scores = self._scores([windows[row] for row in rows])
                for row, score in zip(rows, scores, strict=True):
                    text = of_text[row]
                    highest[text] = np.maximum(highest[text], score)
        return highest

    def _scores(self, windows: list[dict[str, list[int]]]) -> Scores:
        padded = self._tokenizer.pad(windows, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**padded).logits.float()
            scores = logits.sigmoid() if self.multi_label else logits.softmax(dim=-1)
            taken: Scores = scores.cpu().numpy()
        return taken
