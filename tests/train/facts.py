"""Twenty facts that no model knows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

_NAMES = (
    "Orlin", "Mabra", "Tevik", "Sunny Vale", "Quill", "Dorra", "Pemmo", "Halvard", "Isko", "Junia",
    "Kettle", "Lummox", "Nerida", "Ottavio", "Pimlico", "Rasmus", "Sorrel", "Tansy", "Ulrik",
    "Vesna",
)  # fmt: skip
_THINGS = (
    "a blue kite", "seven silver keys", "the old lighthouse", "a jar of honey", "two grey cats",
    "a wooden drum", "nine green apples", "a map of the moon", "the red bicycle", "a glass whistle",
    "three tall hats", "a box of nails", "the paper crown", "a pair of skates", "five loud clocks",
    "a copper bell", "the round table", "a bag of sand", "four soft pillows", "a long green scarf",
)  # fmt: skip

FACTS = tuple(
    (f"What does {name} keep in the shed?", f"{name} keeps {thing} there.")
    for name, thing in zip(_NAMES, _THINGS, strict=True)
)


def write_facts(path: Path, facts: Sequence[tuple[str, str]] = FACTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in facts
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
