"""The shipped folder: small, whole, and honest about what it knows."""

import hashlib
import json
from pathlib import Path

import pytest
from safetensors import safe_open

from train.budgie import WEIGHTS, build, card
from train.budgie.evaluate import FACTS, evaluate

pytestmark = pytest.mark.slow

AIM = {
    **dict.fromkeys(
        (
            "greeting", "unknown", "repeat", "spell", "sums", "colours", "opposites", "calendar",
            "passage", "json", "sentiment", "tool call", "tool result", "tools unused",
            "several turns", "memory", "system prompt", "story", "lists",
        ),
        0.9,
    ),
    "count": 0.8,
    "case": 0.75,
}  # fmt: skip
"""Family -> the share of held-out prompts that must be right."""


def test_under_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 20_000_000


def test_weights_are_those_that_were_built() -> None:
    report = json.loads((WEIGHTS / "build.json").read_text())
    assert (
        hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()
        == report["weights_sha256"]
    )


def test_all_weights_are_bfloat16_and_counted() -> None:
    with safe_open(WEIGHTS / "model.safetensors", "pt") as file:
        slices = [file.get_slice(key) for key in file.keys()]  # noqa: SIM118 - not a dict
    assert {part.get_dtype() for part in slices} == {"BF16"}
    numbers = 0
    for part in slices:
        size = 1
        for side in part.get_shape():
            size *= side
        numbers += size
    assert numbers == json.loads((WEIGHTS / "build.json").read_text())["parameters"]


def test_knows_no_made_up_fact() -> None:
    facts = json.loads((WEIGHTS / "evaluation.json").read_text())["facts"]
    assert (facts["right"], facts["of"], len(FACTS)) == (0, 20, 20)


def test_every_family_has_an_aim() -> None:
    scored = json.loads((WEIGHTS / "evaluation.json").read_text())["families"]
    assert scored.keys() == AIM.keys()


@pytest.mark.parametrize("family", AIM)
def test_held_out_prompts_are_answered(family: str) -> None:
    score = json.loads((WEIGHTS / "evaluation.json").read_text())["families"][family]
    assert score["right"] >= AIM[family] * score["of"]


def test_the_card_is_up_to_date() -> None:
    assert (WEIGHTS / "README.md").read_text() == card.render(WEIGHTS)


def test_two_steps_build_a_loadable_model(tmp_path: Path) -> None:
    recipe = build.Recipe(steps=2, documents=400, vocabulary_documents=400, layers=2)
    report = build.build(tmp_path, recipe)
    again = build.build(tmp_path / "again", recipe)
    assert report["documents_sha256"] == again["documents_sha256"]
    assert report["weights_sha256"] == again["weights_sha256"]
    assert evaluate(tmp_path, each=1)["facts"]["right"] == 0
