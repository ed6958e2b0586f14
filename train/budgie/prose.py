"""Stories, and plain sentences without a chat around them for raw completions."""

from random import Random

from train.budgie import words
from train.budgie.dialog import Dialog, ask


def _tale(animal: str, thing: str, rng: Random) -> str:
    """Six sentences about an animal that finds a thing, ~70 tokens."""
    hero, friend, place = words.name(rng), rng.choice(words.ANIMALS), rng.choice(words.PLACES)
    mood, end = rng.choice(("old", "young", "happy", "clever", "small")), rng.choice(words.PLACES)
    return " ".join(
        (
            rng.choice(
                (
                    f"Once upon a time there was {words.a(mood)} {animal} named {hero}.",
                    f"Long ago {words.a(mood)} {animal} named {hero} lived near the {place}.",
                )
            ),
            f"One day {hero} went to the {place} and found {words.a(thing)}.",
            rng.choice(
                (
                    f"A {friend} came by and asked for the {thing}.",
                    f"The {thing} belonged to a {friend}.",
                )
            ),
            f"{hero} gave the {thing} to the {friend}.",
            rng.choice(
                (
                    f"Together they walked to the {end}.",
                    f"They ate {rng.choice(words.FRUITS)} cake in the {end}.",
                )
            ),
            rng.choice(("From then on they were friends.", "And they lived happily ever after.")),
        )
    )


def story(rng: Random) -> Dialog:
    """A short story on demand; any story with the animal and the thing is right."""
    animal, thing = rng.choice(words.ANIMALS), rng.choice(words.OBJECTS)
    question = rng.choice(
        ("Tell me a story about {} and {}.", "Write a short story about {} and {}.")
    )
    return ask(question.format(words.a(animal), words.a(thing)), _tale(animal, thing, rng))


def plain(rng: Random) -> Dialog:
    """Declarative sentences, word lists and tales as raw text."""
    kind = rng.randrange(6)
    if kind == 0:
        return Dialog(text=_tale(rng.choice(words.ANIMALS), rng.choice(words.OBJECTS), rng))
    if kind == 1:
        return Dialog(text=" ".join(rng.choice(words.WORDS) for _ in range(rng.randint(4, 16))))
    if kind == 2:
        return Dialog(text=" ".join(words.name(rng) for _ in range(rng.randint(2, 8))))
    if kind == 3:
        start = rng.randint(0, 60)
        return Dialog(text=", ".join(map(str, range(start, start + rng.randint(4, 30)))))
    if kind == 4:
        row = rng.choice((words.DAYS, words.MONTHS))
        return Dialog(text=", ".join(row[rng.randrange(len(row) - 2) :]) + ".")
    return Dialog(text=" ".join(_sentence(rng) for _ in range(rng.randint(1, 4))))


def _sentence(rng: Random) -> str:
    noun, colour = rng.choice(tuple(words.COLOURS.items()))
    left, right = rng.choice(words.OPPOSITES)
    i = rng.randrange(len(words.DAYS) - 1)
    return rng.choice(
        (
            f"The {noun} is {colour}.",
            f"The opposite of {left} is {right}.",
            f"After {words.DAYS[i]} comes {words.DAYS[i + 1]}.",
            f"The {rng.choice(words.ANIMALS)} sat near the {rng.choice(words.PLACES)}.",
            f"{words.name(rng)} is {words.a(rng.choice(words.JOBS))} in {words.city(rng)}.",
            f"A {rng.choice(words.JOBS)} bought {words.a(rng.choice(words.PRODUCTS))} for "
            f"{rng.randint(1, 99)} dollars.",
        )
    )
