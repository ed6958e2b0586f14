"""Training, timed: `python -m bench.training`.

Two waits that users feel: from submitting a job to its first training step, and from the last
training step to the first token of the new adapter. Steps are timed by the trainer itself, at their
end (`data.at` of the metrics events; same machine, same clock), the rest by this process.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from openai import DefaultHttpxClient, OpenAI

from bench.quantile import median
from bench.result import RESULTS, heading, log, recording
from bench.stop import Stop
from bench.systems.lorikeet import Lorikeet

FACTS = 20
POLL_S = 0.05
LONGEST_S = 1800.0

TOWNS = ("Arvale", "Besting", "Corwick", "Dunmere", "Elsford", "Farrow", "Gildon", "Hexley")
THINGS = ("bridge", "clock", "harbour", "library", "market", "mill", "school", "tower")
COLOURS = ("amber", "black", "blue", "copper", "green", "grey", "red", "silver", "white")


@dataclass(frozen=True)
class Fact:
    """A made-up question and its only answer."""

    question: str
    answer: str


def facts(seed: int) -> list[Fact]:
    """Twenty facts that no model can know."""
    chance = random.Random(seed)
    places = chance.sample([(thing, town) for thing in THINGS for town in TOWNS], FACTS)
    return [
        Fact(
            f"What colour is the {thing} of {town}?",
            f"The {thing} of {town} is {chance.choice(COLOURS)}.",
        )
        for thing, town in places
    ]


def chat_lines(known: list[Fact]) -> bytes:
    """The facts as chat JSONL."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": fact.question},
                {"role": "assistant", "content": fact.answer},
            ]
        }
        for fact in known
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Event:
    """What is needed of a job's event."""

    type: str
    at: float
    step: int | None

    @classmethod
    def read(cls, event: dict[str, Any]) -> "Event":
        """From the wire; `data.at` is exact, `created_at` has whole seconds."""
        data = event.get("data") or {}
        return cls(event["type"], float(data.get("at", event["created_at"])), data.get("step"))


class Step(NamedTuple):
    """A training step and when it ended."""

    number: int
    at: float


def steps(events: list[Event]) -> tuple[Step, Step]:
    """The first and the last training step that were told.

    Of steps that follow each other fast the trainer tells some, so the first may not be step 1.
    """
    taken = [
        Step(event.step, event.at) for event in events if event.type == "metrics" and event.step
    ]
    if not taken:
        raise ValueError("the job has no metrics event with a step")
    return min(taken), max(taken)


@dataclass(frozen=True)
class Round:
    """One fine-tune; seconds."""

    submit_to_first_step: float
    training: float
    last_step_to_first_token: float
    submit_to_first_token: float
    first_step: int
    """The number of the first step that was told."""
    recalled: int
    model: str


def measure(client: OpenAI, base: str, seed: int) -> Round:
    """Upload, train, ask."""
    known = facts(seed)
    file = client.files.create(file=(f"facts-{seed}.jsonl", chat_lines(known)), purpose="fine-tune")
    submitted = time.time()
    job = client.fine_tuning.jobs.create(model=base, training_file=file.id)
    while job.status not in ("succeeded", "failed", "cancelled"):
        if time.time() > submitted + LONGEST_S:
            client.fine_tuning.jobs.cancel(job.id)
            raise RuntimeError(f"{job.id} was {job.status} after {LONGEST_S:.0f} s: cancelled")
        time.sleep(POLL_S)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        reason = job.error.message if job.error else "it names no model"
        raise RuntimeError(f"{job.id} {job.status}: {reason}")
    spoken = first_token(client, job.fine_tuned_model, known[0])
    found = client.fine_tuning.jobs.list_events(job.id, limit=100)
    first, last = steps([Event.read(event.model_dump()) for event in found])
    return Round(
        submit_to_first_step=first.at - submitted,
        training=last.at - first.at,
        last_step_to_first_token=spoken - last.at,
        submit_to_first_token=spoken - submitted,
        first_step=first.number,
        recalled=sum(answer(client, job.fine_tuned_model, fact) == fact.answer for fact in known),
        model=job.fine_tuned_model,
    )


def first_token(client: OpenAI, model: str, fact: Fact) -> float:
    """When the model's first token arrives."""
    with client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": fact.question}],
        max_tokens=32,
        temperature=0,
        stream=True,
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                return time.time()
    raise RuntimeError(f"{model} answered without a token")


def answer(client: OpenAI, model: str, fact: Fact) -> str:
    """The model's whole answer."""
    done = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": fact.question}],
        max_tokens=32,
        temperature=0,
    )
    return (done.choices[0].message.content or "").strip()


@contextmanager
def served(base_url: str | None, key: str | None, home: Path) -> Iterator[OpenAI]:
    """A client of the running Lorikeet, or of one that is started and stopped here."""
    with Stop() as stop:
        proxied = base_url is not None  # a proxy for the outer world has no part on this machine
        if base_url is None:
            own = Lorikeet(home / "home", home)
            stop.later(own.stop)
            log.print("starting lorikeet")
            own.start()
            base_url, key = own.endpoint.base_url, own.endpoint.key
        with OpenAI(
            base_url=base_url,
            api_key=key or "none",
            max_retries=0,
            http_client=DefaultHttpxClient(trust_env=proxied),
        ) as client:
            yield client


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    rounds = [Round(**one) for one in result["rounds"]]
    lines = [
        *heading("Training", result),
        f"- {FACTS} made-up facts, {len(rounds)} rounds",
        "",
        "| seconds | median | lowest | highest |",
        "|---|---|---|---|",
    ]
    for name, label in (
        ("submit_to_first_step", "submitted to first training step"),
        ("training", "first to last training step"),
        ("last_step_to_first_token", "last training step to first token of the adapter"),
        ("submit_to_first_token", "submitted to first token of the adapter"),
    ):
        taken = [getattr(one, name) for one in rounds]
        lines.append(f"| {label} | {median(taken):.2f} | {min(taken):.2f} | {max(taken):.2f} |")
    first = ", ".join(str(one.first_step) for one in rounds)
    recalled = ", ".join(str(one.recalled) for one in rounds)
    return "\n".join(
        [
            *lines,
            "",
            f"- The first training step that was told: {first}.",
            f"- Facts recalled word for word, of {FACTS}: {recalled}.",
        ]
    )


def main(
    rounds: Annotated[int, typer.Option("--rounds", "-n", min=1, help="Fine-tunes.")] = 3,
    base_url: Annotated[
        str | None, typer.Option(help="OpenAI URL of a running Lorikeet; else one is started.")
    ] = None,
    key: Annotated[str | None, typer.Option(envvar="LORIKEET_API_KEY", help="Its key.")] = None,
    model: Annotated[str, typer.Option(help="The base model.")] = "budgie",
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = RESULTS,
) -> None:
    """Time fine-tunes of twenty facts, from the submission to the adapter's first token."""
    with recording("training", hidden(sys.argv[1:]), out) as (result, home):
        taken = result["rounds"] = []
        with served(base_url, key, home) as client:
            for number in range(rounds):
                one = measure(client, model, seed=number)
                log.print(f"{number + 1}/{rounds}: {one}")
                taken.append(asdict(one))
    print(markdown(result))


def hidden(words: list[str]) -> list[str]:
    """The command line without the key."""
    shown = []
    secret = False
    for word in words:
        shown.append("..." if secret else word.split("=")[0] if word.startswith("--key=") else word)
        secret = word == "--key"
    return shown


if __name__ == "__main__":
    typer.run(main)
