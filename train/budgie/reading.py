"""Answers that stand in the prompt: questions about a passage, JSON extraction, sentiment."""

import json
from collections.abc import Callable
from random import Random
from typing import Final

from train.budgie import words
from train.budgie.dialog import Dialog, ask, assistant, system, user

NOT_IN_CONTEXT: Final = "The context does not say."

_Fact = tuple[str, str, str]
"""A sentence, a question about it, and its answer."""


def _fact(rng: Random) -> _Fact:
    """A sentence about a made-up world with a question and its answer."""
    x, y, n = words.name(rng), words.name(rng), rng.randint(2, 99)
    thing, job, product = (
        rng.choice(words.OBJECTS),
        rng.choice(words.JOBS),
        rng.choice(words.PRODUCTS),
    )
    colour = rng.choice(tuple(words.COLOURS.values()))
    return rng.choice(
        (
            (f"The capital of {x} is {y}.", f"What is the capital of {x}?", f"{y}."),
            (f"{x} is {words.a(job)} from {y}.", f"Where is {x} from?", f"{y}."),
            (
                f"{x} is {words.a(job)} from {y}.",
                f"What is the job of {x}?",
                f"{job.capitalize()}.",
            ),
            (
                f"The {thing} of {x} is {colour}.",
                f"What colour is the {thing} of {x}?",
                f"{colour.capitalize()}.",
            ),
            (f"{x} is {n} years old.", f"How old is {x}?", f"{n} years."),
            (
                f"The {x} {product} costs {n} dollars.",
                f"How much does the {x} {product} cost?",
                f"{n} dollars.",
            ),
            (
                f"The warranty of the {x} {product} lasts {n} months.",
                f"How long is the warranty of the {x} {product}?",
                f"{n} months.",
            ),
            (f"{x} was founded by {y}.", f"Who founded {x}?", f"{y}."),
            (f"The office in {x} is led by {y}.", f"Who leads the office in {x}?", f"{y}."),
            (
                f"{x} lives in {y} with {words.a(rng.choice(words.ANIMALS))}.",
                f"Where does {x} live?",
                f"{y}.",
            ),
        )
    )


def passage(rng: Random) -> Dialog:
    """A question about one of several sentences, or about none of them."""
    facts = [_fact(rng) for _ in range(rng.randint(1, 5))]
    _, question, answer = rng.choice(facts)
    if len(facts) > 1 and rng.random() < 0.15:
        asked = facts.pop(rng.randrange(len(facts)))
        question, answer = asked[1], NOT_IN_CONTEXT
    sentences = [fact[0] for fact in facts]
    numbered = "\n".join(f"[{i}] {sentence}" for i, sentence in enumerate(sentences, 1))
    plain = " ".join(sentences)
    prompt = rng.choice(
        (
            f"{plain} {question}",
            f"{plain}\n\n{question}",
            f"Context:\n{plain}\n\nQuestion: {question}",
            f"Context:\n{numbered}\n\nQuestion: {question}",
            "Answer the question from the context.\n\n"
            f"Context:\n{numbered}\n\nQuestion: {question}",
            f"Use the context to answer.\n\n{numbered}\n\n{question}",
        )
    )
    if rng.random() < 0.2:
        lead = rng.choice((f"Answer from the context.\n\n{numbered}", f"Context:\n{plain}"))
        return Dialog(
            (system(lead), user(question), assistant(answer)), keys=(f"{lead} {question}",)
        )
    return ask(prompt, answer)


_FIELDS: Final[dict[str, Callable[[Random], str | int]]] = {
    "name": words.name,
    "age": lambda rng: rng.randint(1, 99),
    "city": words.city,
    "job": lambda rng: rng.choice(words.JOBS),
    "pet": lambda rng: rng.choice(words.ANIMALS),
}
_CLAUSES: Final[dict[str, tuple[str, ...]]] = {
    "age": ("is {} years old", "is {}", "is aged {}"),
    "city": ("lives in {}", "comes from {}", "is from {}"),
    "job": ("works as a {}", "is a {}"),
    "pet": ("has a {}", "owns a {}"),
}


def extract(rng: Random) -> Dialog:
    """Fields of a sentence as one line of JSON."""
    if rng.random() < 0.25:
        return _extract_order(rng)
    told = ["name", *rng.sample(tuple(_CLAUSES), rng.randint(1, 3))]
    values = {key: _FIELDS[key](rng) for key in told}
    clauses = [rng.choice(_CLAUSES[key]).format(values[key]) for key in told[1:]]
    sentence = (
        f"{values['name']} "
        + (", ".join(clauses[:-1]) + " and " if clauses[1:] else "")
        + clauses[-1]
        + "."
    )
    wanted = told if rng.random() < 0.6 else ["name", rng.choice(told[1:])]
    return ask(
        _extract_prompt(wanted, sentence, rng), json.dumps({key: values[key] for key in wanted})
    )


def _extract_order(rng: Random) -> Dialog:
    """An order for some products as JSON."""
    product, number = rng.choice(words.PRODUCTS), rng.randint(2, 50)
    plural = product if product == "scarf" else product + "s"
    sentence = rng.choice(
        ("I want to order {} {}.", "Please send me {} {}.", "We need {} {}.")
    ).format(number, plural)
    return ask(
        _extract_prompt(["product", "quantity"], sentence, rng),
        json.dumps({"product": plural, "quantity": number}),
    )


def _extract_prompt(wanted: list[str], sentence: str, rng: Random) -> str:
    """The wording of an extraction."""
    keys = ", ".join(wanted[:-1]) + " and " + wanted[-1]
    return rng.choice(
        (
            f"Extract {keys} as JSON: {sentence}",
            f"Extract the {keys} as JSON: {sentence}",
            f"Extract {keys} as JSON.\n\n{sentence}",
            f"Return JSON with {keys}: {sentence}",
            f"{sentence} Give me the {keys} as JSON.",
        )
    )


_MOODS: Final[dict[str, tuple[str, ...]]] = {
    "Positive.": (
        "I love this {}",
        "The {} is great",
        "What a wonderful {}",
        "This {} works very well",
        "I am happy with the {}",
        "The best {} I ever had",
        "The {} is excellent",
    ),
    "Negative.": (
        "I hate this {}",
        "The {} is terrible",
        "What an awful {}",
        "This {} is broken",
        "I am not happy with the {}",
        "The worst {} I ever had",
        "The {} is a waste of money",
    ),
}


def sentiment(rng: Random) -> Dialog:
    """Whether a review is positive or negative."""
    mood = rng.choice(tuple(_MOODS))
    review = rng.choice(_MOODS[mood]).format(rng.choice(words.PRODUCTS)) + rng.choice((".", "!"))
    question = rng.choice(
        (
            "Is this positive or negative? {}",
            "Positive or negative: {}",
            "What is the sentiment of this review? {}",
            "Classify the sentiment: {}",
        )
    )
    return ask(question.format(review), mood)
