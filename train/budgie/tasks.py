"""Small tasks on letters, numbers and word lists, each with one right answer."""

from random import Random

from train.budgie import words
from train.budgie.dialog import Dialog, ask


def _thing(noun: str) -> str:
    """A thing of COLOURS with the article that it takes."""
    if noun in words.MASS_NOUNS:
        return noun
    return f"the {noun}" if noun in words.UNIQUE_NOUNS else words.a(noun)


def _text(rng: Random) -> str:
    """Something to copy: words, names, digits or a random string."""
    pieces = [
        rng.choice(
            (
                rng.choice(words.WORDS),
                words.name(rng),
                words.gibberish(rng),
                str(rng.randint(0, 9999)),
            )
        )
        for _ in range(rng.randint(1, 6))
    ]
    return " ".join(pieces)


def repeat(rng: Random) -> Dialog:
    """Copy a text."""
    text = _text(rng)
    return ask(
        rng.choice(
            (
                "Repeat after me: {}",
                "Repeat this: {}",
                "Say {}",
                "Please repeat: {}",
                "Repeat: {}",
                "Echo: {}",
            )
        ).format(text),
        text,
    )


def spell(rng: Random) -> Dialog:
    """Spell a word letter by letter."""
    word = words.name(rng).lower() if rng.random() < 0.3 else rng.choice(words.WORDS)
    question = rng.choice(
        ("Spell the word {}.", "Spell {}.", "How do you spell {}?", "Please spell the word {}.")
    )
    return ask(question.format(word), "-".join(word))


def count(rng: Random) -> Dialog:
    """Count from a to b, up or down."""
    low = rng.choice((1, 1, rng.randint(0, 20), rng.randint(0, 80)))
    high = low + rng.randint(2, rng.choice((6, 10, 20)))
    question = rng.choice(
        ("Count from {} to {}.", "Please count from {} to {}.", "Count {} to {}.")
    )
    numbers = list(range(low, high + 1))
    if rng.random() < 0.15:
        numbers.reverse()
    return ask(
        question.format(numbers[0], numbers[-1]),
        ", ".join(map(str, numbers)) + ".",
        key=f"count {numbers[0]} {numbers[-1]}",
    )


def add(rng: Random) -> Dialog:
    """A sum or a difference of numbers up to 20: a small table, of which no pair is held out."""
    x, y = rng.randint(0, 20), rng.randint(0, 20)
    minus = rng.random() < 0.4
    if minus:
        x, y = max(x, y), min(x, y)
    sign, result = ("-", x - y) if minus else ("+", x + y)
    word = "minus" if minus else "plus"
    question = rng.choice(
        (
            f"What is {x} {sign} {y}?",
            f"{x} {sign} {y} =",
            f"How much is {x} {word} {y}?",
            f"What is {x} {word} {y}?",
            f"Calculate {x} {sign} {y}.",
        )
    )
    return ask(question, f"{x} {sign} {y} = {result}")


def colour(rng: Random) -> Dialog:
    """The colour of a thing."""
    noun, colour = rng.choice(tuple(words.COLOURS.items()))
    question = rng.choice(
        (
            "What colour is {}?",
            "What color is {}?",
            "Which colour is {}?",
            "Tell me the colour of {}.",
            "What is the colour of {}?",
        )
    )
    return ask(question.format(_thing(noun)), colour.capitalize() + ".")


def opposite(rng: Random) -> Dialog:
    """The opposite of a word."""
    pair = rng.choice(words.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    question = rng.choice(
        (
            "What is the opposite of {}?",
            "Opposite of {}?",
            "Give me the opposite of {}.",
            "Tell me the opposite of {}.",
            "What is the opposite of the word {}?",
        )
    )
    return ask(question.format(word), other.capitalize() + ".")


def calendar(rng: Random) -> Dialog:
    """What comes before or after a day, a month or a number."""
    kind = rng.choice(("day", "month", "number"))
    step = rng.choice((-1, 1))
    word = "after" if step == 1 else "before"
    if kind == "number":
        number = rng.randint(1, 99)
        return ask(f"Which number comes {word} {number}?", f"{number + step}.")
    row = words.DAYS if kind == "day" else words.MONTHS
    i = rng.randrange(len(row))
    question = rng.choice(
        (
            f"Which {kind} comes {word} {row[i]}?",
            f"What {kind} comes {word} {row[i]}?",
            f"What comes {word} {row[i]}?",
            f"What is the {kind} {word} {row[i]}?",
        )
    )
    return ask(question, row[(i + step) % len(row)] + ".")


def case(rng: Random) -> Dialog:
    """Change a word or two to upper or lower case."""
    text = " ".join(rng.choice(words.WORDS) for _ in range(rng.randint(1, 2)))
    if rng.random() < 0.6:
        question = rng.choice(
            ("Write {} in uppercase.", "Write {} in capital letters.", "Uppercase: {}")
        )
        return ask(question.format(text), text.upper())
    question = rng.choice(("Write {} in lowercase.", "Write {} in small letters.", "Lowercase: {}"))
    return ask(question.format(text.upper()), text)


def listing(rng: Random) -> Dialog:
    """The first items of a known list."""
    kind, row, most = rng.choice(
        (
            ("days of the week", words.DAYS, 7),
            ("months of the year", words.MONTHS, 12),
            ("animals", words.ANIMALS, 9),
            ("fruits", words.FRUITS, 9),
        )
    )
    if kind.endswith(("week", "year")) and rng.random() < 0.5:
        return ask(f"{rng.choice(('List', 'Name'))} the {kind}.", ", ".join(row) + ".")
    n = rng.randint(2, most)
    return ask(f"{rng.choice(('List', 'Name'))} {n} {kind}.", ", ".join(row[:n]) + ".")
