"""The table of families, and the deterministic stream of dialogs drawn from it."""

import hashlib
import json
from collections.abc import Iterator
from random import Random
from typing import Final

from train.budgie import prose, reading, smalltalk, tasks, tools
from train.budgie.dialog import Dialog, Maker, Split, join

_SIMPLE: Final[tuple[Maker, ...]] = (
    smalltalk.talk,
    tasks.colour,
    tasks.add,
    tasks.opposite,
    tasks.calendar,
    tasks.count,
    tasks.spell,
    smalltalk.unknown,
    tasks.repeat,
)


def _simple(rng: Random) -> Dialog:
    """A short question of any of the simple families."""
    return rng.choice(_SIMPLE)(rng)


def _several(rng: Random) -> Dialog:
    """A conversation of two to five unrelated questions."""
    return join(*(_simple(rng) for _ in range(rng.randint(2, 5))))


def _memory(rng: Random) -> Dialog:
    """A thing told and asked again, with up to three questions between."""
    return smalltalk.memory(rng, join(*(_simple(rng) for _ in range(rng.randint(0, 3)))))


def _persona(rng: Random) -> Dialog:
    """A simple question under a system prompt."""
    return smalltalk.persona(rng, _simple(rng))


def _unused(rng: Random) -> Dialog:
    """A simple question with tools that do not fit."""
    return tools.unused(rng, _simple(rng))


FAMILIES: Final[dict[str, tuple[Maker, float]]] = {
    "greeting": (smalltalk.talk, 5),
    "unknown": (smalltalk.unknown, 5),
    "repeat": (tasks.repeat, 11),
    "spell": (tasks.spell, 11),
    "count": (tasks.count, 6),
    "sums": (tasks.add, 8),
    "colours": (tasks.colour, 5),
    "opposites": (tasks.opposite, 4),
    "calendar": (tasks.calendar, 4),
    "case": (tasks.case, 4),
    "lists": (tasks.listing, 2),
    "passage": (reading.passage, 9),
    "json": (reading.extract, 8),
    "sentiment": (reading.sentiment, 2),
    "tool call": (tools.call, 6),
    "tool result": (tools.result, 4),
    "tools unused": (_unused, 2),
    "several turns": (_several, 3),
    "memory": (_memory, 3),
    "system prompt": (_persona, 4),
    "story": (prose.story, 2),
    "plain text": (prose.plain, 4),
}
"""Family -> what makes its dialogs, and its share of the stream."""


def dialogs(seed: int, split: Split = "train") -> Iterator[tuple[str, Dialog]]:
    """An endless stream of (family, dialog), the same for the same seed."""
    rng = Random(seed)
    names = tuple(FAMILIES)
    weights = [weight for _, weight in FAMILIES.values()]
    while True:
        family = rng.choices(names, weights)[0]
        yield family, _draw(family, rng, split)


def family(name: str, seed: int, split: Split = "heldout") -> Iterator[Dialog]:
    """An endless stream of one family's dialogs."""
    rng = Random(seed)
    while True:
        yield _draw(name, rng, split)


def digest(documents: list[Dialog]) -> str:
    """The sha256 of the documents, whatever the template that renders them."""
    state = hashlib.sha256()
    for document in documents:
        state.update(json.dumps([document.messages, document.tools, document.text]).encode())
    return state.hexdigest()


def _draw(name: str, rng: Random, split: Split) -> Dialog:
    maker = FAMILIES[name][0]
    while True:
        dialog = maker(rng)
        if dialog.belongs_to(split):
            return dialog
