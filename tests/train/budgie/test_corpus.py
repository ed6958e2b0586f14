"""The generated text: the same for the same seed, and split by key."""

from itertools import islice
from random import Random

import pytest

from train.budgie import corpus, words
from train.budgie.dialog import Dialog, ask, held_out, join


def take(seed: int, number: int = 300) -> list[Dialog]:
    return [dialog for _, dialog in islice(corpus.dialogs(seed), number)]


def test_same_seed_same_text() -> None:
    assert corpus.digest(take(7)) == corpus.digest(take(7))
    assert corpus.digest(take(7)) != corpus.digest(take(8))


def test_the_digest_is_known() -> None:
    # Changes only when a template or a table changes: then the weights have to be built again.
    assert (
        corpus.digest(take(7)) == "cdb45456b8ea385e9eba0973f8671834cee9be8050f186fe2d88d8adbe522908"
    )


def test_training_sees_no_held_out_key() -> None:
    assert not [key for dialog in take(3, 2000) for key in dialog.keys if held_out(key)]


@pytest.mark.parametrize("name", [name for name in corpus.FAMILIES if name != "plain text"])
def test_every_family_has_held_out_prompts(name: str) -> None:
    dialogs = list(islice(corpus.family(name, seed=1), 20))
    assert all(held_out(dialog.keys[-1]) for dialog in dialogs)
    assert all(dialog.answer["role"] == "assistant" for dialog in dialogs)


def test_joined_dialogs_keep_all_messages_and_keys() -> None:
    both = join(ask("a", "b"), ask("c", "d", key="k"), lead="s")
    assert [message["content"] for message in both.messages] == ["s", "a", "b", "c", "d"]
    assert both.keys == ("a", "k")


def test_opposites_and_colours_have_one_answer() -> None:
    flat = [word for pair in words.OPPOSITES for word in pair]
    assert {word for word in flat if flat.count(word) > 1} == set()
    assert all(colour.islower() for colour in words.COLOURS.values())


def test_names_are_capitalised_letters() -> None:
    rng = Random(1)
    assert all((name := words.name(rng)).isalpha() and name[0].isupper() for _ in range(500))
