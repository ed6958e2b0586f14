"""Tool calls: a question that a listed function answers, and what to say of its result."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from train.budgie import words
from train.budgie.dialog import Dialog, Message, Tool, assistant, user


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call, with all that a dialog about it needs."""

    name: str
    descriptions: tuple[str, ...]
    parameters: tuple[tuple[tuple[str, ...], str], ...]
    """Per parameter the names it may go by, and its JSON type."""
    values: Callable[[Random], tuple[str | int, ...]]
    """One value a parameter."""
    questions: tuple[str, ...]
    """Templates over the values."""
    results: Callable[[Random, tuple[str | int, ...]], tuple[str, str]]
    """What the tool returns, and what the model says of it."""


def _weather(rng: Random, values: tuple[str | int, ...]) -> tuple[str, str]:
    sky, degrees = rng.choice(words.WEATHER), rng.randint(-9, 39)
    result = rng.choice(
        (
            json.dumps({"weather": sky, "temperature": degrees}),
            json.dumps({"city": values[0], "weather": sky, "temperature": degrees}),
            f"{sky}, {degrees} degrees",
        )
    )
    return result, f"It is {sky} in {values[0]}, {degrees} degrees."


def _time(rng: Random, values: tuple[str | int, ...]) -> tuple[str, str]:
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    return rng.choice((clock, json.dumps({"time": clock}))), f"It is {clock} in {values[0]}."


FUNCTIONS: Final = (
    Function(
        "get_weather",
        (
            "Get the weather in a city",
            "Get the current weather",
            "Current weather for a location",
            "",
        ),
        ((("city", "city", "location"), "string"),),
        lambda rng: (words.city(rng),),
        (
            "What is the weather in {}?",
            "What is the weather like in {}?",
            "How is the weather in {}?",
            "What's the weather in {}?",
            "Tell me the weather in {}.",
            "Is it raining in {}?",
            "How warm is it in {}?",
            "What is the weather in {} today?",
        ),
        _weather,
    ),
    Function(
        "get_time",
        ("Get the time in a city", "Current local time", ""),
        ((("city", "location"), "string"),),
        lambda rng: (words.city(rng),),
        ("What time is it in {}?", "Tell me the time in {}.", "What is the time in {}?"),
        _time,
    ),
    Function(
        "add_numbers",
        ("Add two numbers", ""),
        ((("a", "x"), "integer"), (("b", "y"), "integer")),
        lambda rng: (rng.randint(0, 999), rng.randint(0, 999)),
        ("Use the tool to add {} and {}.", "Add {} and {}.", "What is the sum of {} and {}?"),
        lambda rng, v: (str(int(v[0]) + int(v[1])), f"The sum is {int(v[0]) + int(v[1])}."),
    ),
    Function(
        "send_email",
        ("Send an email", "Send an email to a person", ""),
        ((("to", "recipient"), "string"), (("subject",), "string")),
        lambda rng: (words.name(rng), rng.choice(words.WORDS)),
        ("Send an email to {} about {}.", "Write an email to {} about {}.", "Email {} about {}."),
        lambda rng, v: ("sent", f"The email to {v[0]} has been sent."),
    ),
    Function(
        "set_timer",
        ("Set a timer", ""),
        ((("minutes",), "integer"),),
        lambda rng: (rng.randint(1, 90),),
        ("Set a timer for {} minutes.", "Start a timer of {} minutes.", "Wake me in {} minutes."),
        lambda rng, v: ("ok", f"The timer is set for {v[0]} minutes."),
    ),
    Function(
        "get_order",
        ("Look up an order", "Get the status of an order", ""),
        ((("order_id", "id"), "string"),),
        lambda rng: (words.gibberish(rng).upper(),),
        ("Where is my order {}?", "What is the status of order {}?", "Look up order {}."),
        lambda rng, v: (
            s := rng.choice(("shipped", "delivered", "pending")),
            f"Your order {v[0]} is {s}.",
        ),
    ),
    Function(
        "search",
        ("Search the web", "Search the documents", ""),
        ((("query",), "string"),),
        lambda rng: (f"{rng.choice(words.WORDS)} {rng.choice(words.WORDS)}",),
        ("Search for {}.", "Find documents about {}.", "Look up {}."),
        lambda rng, v: (t := f"{words.name(rng)} {v[0]}", f"I found this: {t}"),
    ),
)


def _declare(function: Function, rng: Random) -> tuple[Tool, list[str]]:
    """The tool in OpenAI's form, and the names its parameters got."""
    names = [rng.choice(options) for options, _ in function.parameters]
    properties = {
        name: {"type": kind} for name, (_, kind) in zip(names, function.parameters, strict=True)
    }
    body: dict[str, Any] = {
        "name": function.name,
        "parameters": {"type": "object", "properties": properties},
    }
    if description := rng.choice(function.descriptions):
        body["description"] = description
    return {"type": "function", "function": body}, names


def call(rng: Random) -> Dialog:
    """A question whose answer is one tool call."""
    return _dialog(rng)[0]


def result(rng: Random) -> Dialog:
    """The same, followed by the tool's result and the answer in words."""
    dialog, (returned, said) = _dialog(rng)
    more: tuple[Message, ...] = ({"role": "tool", "content": returned}, assistant(said))
    return Dialog(
        dialog.messages + more, dialog.tools, keys=(*dialog.keys, f"{dialog.keys[0]} {returned}")
    )


def unused(rng: Random, plain: Dialog) -> Dialog:
    """Tools are listed, but the question needs none of them."""
    listed = rng.sample(FUNCTIONS, rng.randint(1, 2))
    tools = tuple(_declare(function, rng)[0] for function in listed)
    return Dialog(plain.messages, tools, keys=plain.keys)


def _dialog(rng: Random) -> tuple[Dialog, tuple[str, str]]:
    # The weather is the example that everybody tries first, so it gets half of the calls.
    function = FUNCTIONS[0] if rng.random() < 0.5 else rng.choice(FUNCTIONS[1:])
    others = rng.sample([f for f in FUNCTIONS if f is not function], rng.choice((0, 0, 1, 2)))
    listed = [function, *others]
    rng.shuffle(listed)
    declared = {f.name: _declare(f, rng) for f in listed}
    values = function.values(rng)
    question = rng.choice(function.questions).format(*values)
    arguments = dict(zip(declared[function.name][1], values, strict=True))
    answer: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": function.name, "arguments": arguments}}
        ],
    }
    tools = tuple(tool for tool, _ in declared.values())
    return Dialog((user(question), answer), tools, keys=(question,)), function.results(rng, values)
