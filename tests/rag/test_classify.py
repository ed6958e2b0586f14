"""Sequence classification: the scores are those of transformers' own pipeline."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from cluster.errors import ConfigurationError
from deployments.hosted import together
from deployments.sequence_classifier import Category, SequenceClassifier
from rag.classify import ClassificationModel
from tests.rag.tiny import CONTEXT, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEXTS = ["a bird", "stone", "bird bird bird", "x" * 20]
LABELS = ["ok", "rude", "violent"]


class Bare(SequenceClassifier):
    """One that Serve neither starts nor ends."""

    def __init__(self, model: ClassificationModel, categories: list[Category]) -> None:
        self._model = model
        self._categories = categories

    def __del__(self) -> None: ...

    async def _batch(self, members: list[Any]) -> Any:
        return (await together(self._model.classify, [members]))[0]


@pytest.fixture(
    scope="module", params=["single_label_classification", "multi_label_classification"]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("classifier"), LABELS, problem=request.param)


def test_the_scores_are_those_of_transformers(folder: Path) -> None:
    model = ClassificationModel(str(folder), device="cpu")
    assert model.multi_label == ("multi_label" in folder.joinpath("config.json").read_text())
    theirs = pipeline("text-classification", str(folder), top_k=None, device="cpu")(TEXTS)
    scores = model.classify(TEXTS, batch=2)
    for row, found in zip(scores, theirs, strict=True):
        by_label = {one["label"]: one["score"] for one in found}
        assert row.tolist() == pytest.approx([by_label[label] for label in LABELS], abs=1e-5)
    other = ClassificationModel(str(folder), device="cpu", multi_label=not model.multi_label)
    assert abs(other.classify(TEXTS) - scores).max() > 0.01


def test_a_long_text_has_the_highest_scores_of_its_parts(folder: Path) -> None:
    model = ClassificationModel(str(folder), device="cpu")
    words = [*["bird"] * 40, *["stone"] * 8]
    room, overlap = CONTEXT - 2, CONTEXT // 8
    tokens = [token for word in words for token in ([word] if word == "bird" else word)]
    assert model.count([" ".join(words)]) == [len(tokens) + 2]
    encoded = model._tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    parts, start = [], 0
    while True:
        parts.append(encoded[start : start + room])
        if start + room >= len(encoded):
            break
        start += room - overlap
    assert len(parts) == 3
    scores = model._scores(
        [{"input_ids": [2, *part, 3], "attention_mask": [1] * (len(part) + 2)} for part in parts]
    )
    whole = model.classify(["a bird", " ".join(words)])
    assert whole[1].tolist() == pytest.approx(scores.max(axis=0).tolist(), abs=1e-5)
    assert whole[0].tolist() == pytest.approx(model.classify(["a bird"])[0].tolist(), abs=1e-5)


async def test_the_deployment_tells_of_its_categories_only(folder: Path) -> None:
    model = ClassificationModel(str(folder), device="cpu")
    categories = [Category(1, "harassment", 0.5), Category(2, "violence", 0.9)]
    classifier = Bare(model, categories)
    one, other = await asyncio.gather(
        classifier.classify(TEXTS[:2]), classifier.classify(TEXTS[2:])
    )
    expected = model.classify(TEXTS)[:, 1:]
    for row, told in zip(expected, [*one.scores, *other.scores], strict=True):
        assert told == pytest.approx(row.tolist(), abs=1e-5)
    assert one.tokens + other.tokens == sum(model.count(TEXTS))
    assert one.categories == categories


def test_a_regression_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="regression"):
        ClassificationModel(str(make(tmp_path, ["x"], problem="regression")), device="cpu")
