"""Texts into vectors with a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer

from rag.cut import cut

Vectors = npt.NDArray[np.float32]
Text = str | list[int]
"""A text, or its tokens as the model numbers them."""


class EmbeddingModel:
    """A loaded model. Threads may share it: they take turns, and counting never waits for a batch.

    Both change the settings of a tokenizer while they use it, so each has one of its own.
    """

    def __init__(self, source: str, *, device: str | None = None) -> None:
        # bfloat16 doubles the speed on a CPU with AVX-512 and keeps a cosine of 0.9999 to float32.
        self._model = SentenceTransformer(
            source,
            device=device,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.bfloat16, "use_safetensors": True},
        ).eval()
        self._embedding = Lock()
        self._counter = deepcopy(self._model.tokenizer)
        self._counting = Lock()
        probe = self._counter("a", return_special_tokens_mask=True)
        ids, marks = probe["input_ids"], probe["special_tokens_mask"]
        self._before = ids[: marks.index(0)]
        self._after = ids[len(ids) - marks[::-1].index(0) :]

    @property
    def dimensions(self) -> int:
        size = self._model.get_embedding_dimension()
        assert size is not None, "every sentence-transformers model has a size"
        return int(size)

    @property
    def context_length(self) -> int:
        """Tokens of a text that count; later ones are cut off by the model."""
        return int(self._model.max_seq_length or 512)

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows: numbers from 0 up to, not including, this."""
        known = len(self._counter)
        # Some tokenizers have had tokens added for which there are no weights.
        embeddings = self._model[0].auto_model.get_input_embeddings()
        return min(known, int(embeddings.num_embeddings))

    @property
    def marks(self) -> int:
        """Tokens that the model itself puts around a text."""
        return len(self._before) + len(self._after)

    def cut(self, text: str, most: int) -> str:
        """The beginning of `text` that is at most `most` tokens, marks not counted."""
        with self._counting:
            return cut(text, most, self._counter)

    def count(self, texts: Sequence[Text]) -> list[int]:
        """Tokens of each text, with the model's own marks, uncut."""
        counts = [len(self._marked(text)) if isinstance(text, list) else 0 for text in texts]
        plain = [index for index, text in enumerate(texts) if isinstance(text, str)]
        if plain:
            with self._counting:
                encoded = self._counter([texts[i] for i in plain], truncation=False, verbose=False)
            for index, ids in zip(plain, encoded["input_ids"], strict=True):
                counts[index] = len(ids)
        return counts

    def embed(self, texts: Sequence[Text], *, batch: int = 64) -> Vectors:
        """Vectors of shape (texts, dimensions), each of length 1, in the order of `texts`.

        Given as tokens, a text must fit into the context and be of the vocabulary.
        """
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        plain = {index: text for index, text in enumerate(texts) if isinstance(text, str)}
        coded = {index: text for index, text in enumerate(texts) if isinstance(text, list)}
        with self._embedding:
            if plain:
                vectors[list(plain)] = self._model.encode(
                    list(plain.values()),
                    batch_size=batch,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            order = sorted(coded, key=lambda index: len(coded[index]))
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                vectors[rows] = self._embed_tokens([self._marked(coded[row]) for row in rows])
        # What was normalised in bfloat16 is up to 0.3 % off.
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _embed_tokens(self, tokens: list[list[int]]) -> Vectors:
        padded = self._model.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        with torch.inference_mode():
            features = self._model(dict(padded.to(self._model.device)))
            vectors: Vectors = features["sentence_embedding"].float().cpu().numpy()
        return vectors

    def _marked(self, tokens: list[int]) -> list[int]:
        """`tokens` with the marks that begin and end a text, unless they have them."""
        before, after = len(self._before), len(self._after)
        if before and tokens[:before] == self._before:
            tokens = tokens[before:]
        if after and tokens[-after:] == self._after:
            tokens = tokens[:-after]
        return [*self._before, *tokens, *self._after]
