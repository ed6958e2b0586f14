"""Cross-encoders: the scores are sentence-transformers' own, what is too long is cut as told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import CrossEncoder

from cluster.errors import ConfigurationError
from deployments.hosted import together
from deployments.reranking import Reranker
from deployments.scoring import Over
from rag.cut import Cuts
from rag.rerank import CrossEncoderModel
from tests.rag.tiny import CONTEXT, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PAIRS = [("what flies", "a bird"), ("what flies", "a stone"), ("bird bird", "x" * 10), ("a", "b")]


class Bare(Reranker):
    """One that Serve neither starts nor ends."""

    def __init__(self, model: CrossEncoderModel) -> None:
        self._model = model

    def __del__(self) -> None: ...

    async def _batch(self, members: list[Any]) -> Any:
        return (await together(self._model.score, [members]))[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("reranker"), ["relevant"])


@pytest.fixture(scope="module")
def model(folder: Path) -> CrossEncoderModel:
    return CrossEncoderModel(str(folder), device="cpu")


def test_the_scores_are_those_of_sentence_transformers(
    model: CrossEncoderModel, folder: Path
) -> None:
    theirs = CrossEncoder(str(folder), device="cpu").predict(PAIRS).tolist()
    assert model.score(PAIRS) == pytest.approx(theirs, abs=1e-5)
    assert len(set(theirs)) == len(PAIRS)
    raw = CrossEncoderModel(str(folder), activation="none", device="cpu").score(PAIRS)
    assert max(map(abs, raw)) > 1


def test_pairs_are_counted_with_the_marks_between_them(model: CrossEncoderModel) -> None:
    # [CLS] b i r... `bird` is one token, letters are one each.
    assert model.count([("bird", "bird a"), ("ab", "bird")]) == [6, 6]
    assert model.context_length == CONTEXT


def test_what_is_cut_fits_and_is_a_beginning(model: CrossEncoderModel) -> None:
    long, short = "bird " * 50, "bird a"
    for query, document in ((long, short), (short, long), (long, long)):
        ((first, second),) = model.cut([(query, document)], Cuts(whole=CONTEXT))
        assert model.count([(first, second)])[0] == CONTEXT
        assert query.startswith(first)
        assert document.startswith(second)
    assert model.cut([(long, short)], Cuts(whole=CONTEXT))[0][1] == short
    assert model.cut([(long, long)], Cuts(query=2, document=3)) == [("bird bird", "bird bird bird")]
    assert model.cut([(short, short)], Cuts(whole=CONTEXT)) == [(short, short)]


async def test_the_deployment_answers_requests_together(model: CrossEncoderModel) -> None:
    reranker = Bare(model)
    one, other, long = await asyncio.gather(
        reranker.score(["what flies"], ["a bird", "a stone"], Cuts()),
        reranker.score(["bird bird", "a"], ["x" * 10, "b"], Cuts()),
        reranker.score(["a"], ["b", "bird " * 50], Cuts()),
    )
    assert [*one.scores, *other.scores] == pytest.approx(model.score(PAIRS), abs=1e-5)
    assert one.tokens + other.tokens == sum(model.count(PAIRS))
    assert (long.scores, long.over) == ([], Over("pair", 1, 54))
    cut = await reranker.score(["a"], ["b", "bird " * 50], Cuts(whole=CONTEXT))
    assert len(cut.scores) == 2
    assert cut.tokens == 5 + CONTEXT


def test_a_model_with_several_scores_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="it gives 3 scores"):
        CrossEncoderModel(str(make(tmp_path, ["a", "b", "c"])), device="cpu")


def test_pickles_are_not_read(tmp_path: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        CrossEncoderModel(str(tmp_path), device="cpu")
