"""`lorikeet chat`: one question, or a conversation."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cluster.cli.connection import Connection, RequestFailed, connect, require_success
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import complain, note, print_json

Messages = list[dict[str, str]]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What a terminal would obey. A model may say it; it is not shown."""


def chat(
    model: Annotated[str, typer.Argument(help="A model or an adapter, as `models list` names it.")],
    text: Annotated[
        str | None, typer.Argument(help="One question; without it a conversation. - reads stdin.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Talk to a model."""
    connection = connect(home, url, key)
    options: dict[str, Any] = {"model": model}
    if temperature is not None:
        options["temperature"] = temperature
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    messages: Messages = [{"role": "system", "content": system}] if system else []
    if text is None:
        if as_json:
            raise typer.BadParameter("--json needs TEXT", param_hint="--json")
        _converse(connection, options, messages)
        return
    messages.append({"role": "user", "content": sys.stdin.read() if text == "-" else text})
    if as_json:
        body = {**options, "messages": messages}
        print_json(connection.post("/v1/chat/completions", json=body))
    else:
        _answer(connection, options, messages)


def _converse(connection: Connection, options: dict[str, Any], messages: Messages) -> None:
    note(f"Talking to {options['model']}. Ctrl-D ends, Ctrl-C stops an answer.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()  # noqa: T201 - the shell's prompt begins a line
            return
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        try:
            answer = _answer(connection, options, messages)
        except KeyboardInterrupt:
            print()  # noqa: T201
            messages.pop()
        except RequestFailed as error:
            complain(error.message)
            messages.pop()
        else:
            messages.append({"role": "assistant", "content": answer})


def _answer(connection: Connection, options: dict[str, Any], messages: Messages) -> str:
    """Print the answer as it comes; return the whole."""
    pieces = []
    for piece in _pieces(connection, {**options, "messages": messages, "stream": True}):
        pieces.append(piece)
        sys.stdout.write(CONTROL.sub("", piece))
        sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(pieces)


def _pieces(connection: Connection, body: dict[str, Any]) -> Iterator[str]:
    with connection.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        if not answer.is_success:
            answer.read()
        require_success(answer)
        for line in answer.iter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data in ("", "[DONE]"):
                continue
            event = json.loads(data)
            if "error" in event:
                raise RequestFailed(event["error"]["message"])
            for choice in event["choices"]:
                yield choice["delta"].get("content") or ""
