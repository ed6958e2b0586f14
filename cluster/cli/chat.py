"""`lorikeet chat`: one question, or a conversation."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from cluster.cli.answer_stream import PATH, pieces
from cluster.cli.connection import Connection, RequestFailed, connect
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import CONTROL, complain, note, print_json
from cluster.errors import InvalidRequest

Messages = list[dict[str, str]]


def chat(
    model: Annotated[
        str | None, typer.Argument(help="A model or an adapter, as `models list` names it.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Argument(help="One question; - or a pipe reads it. Else a conversation begins."),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--model", "-m", help="MODEL as an option: the first argument is TEXT then."),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="System prompt.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", "-t", min=0, max=2, help="0 is the likeliest.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Length of an answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the same answer again.")] = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Talk to a model. Answers come as they are made; with --json one comes whole."""
    if named is not None:
        if text is not None:
            raise typer.BadParameter("MODEL is there as well", param_hint="--model")
        model, text = named, model
    if model is None:
        raise typer.BadParameter("`lorikeet models list` shows what to name", param_hint="MODEL")
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    body = {"model": model} | {k: v for k, v in options.items() if v is not None}
    messages: Messages = [{"role": "system", "content": system}] if system else []
    connection = connect(home, url, key)
    if text == "-" or (text is None and not sys.stdin.isatty()):
        text = _from_pipe()
    if text is None:
        if as_json:
            raise typer.BadParameter("a conversation has none: give TEXT", param_hint="--json")
        _converse(connection, body, messages)
        return
    messages.append({"role": "user", "content": text})
    if as_json:
        print_json(connection.post(PATH, json={**body, "messages": messages}))
    else:
        _answer(connection, {**body, "messages": messages})


def _from_pipe() -> str:
    text = sys.stdin.read().strip()
    if not text:
        raise InvalidRequest("There is no question: the standard input is empty.")
    return text


def _converse(connection: Connection, body: dict[str, Any], messages: Messages) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() its arrow keys and its history

    note(f"Talking to {body['model']}. Ctrl-C stops an answer, Ctrl-D ends.")
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt) as end:
            sys.stdout.write("\n")  # the shell's prompt begins a line
            if isinstance(end, KeyboardInterrupt):
                raise
            return
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        try:
            answer = _answer(connection, {**body, "messages": messages})
        except KeyboardInterrupt:
            messages.pop()
        except RequestFailed as error:
            complain(error.message, error.code)
            messages.pop()
        else:
            messages.append({"role": "assistant", "content": answer})


def _answer(connection: Connection, body: dict[str, Any]) -> str:
    """Print the answer as it comes; return the whole."""
    whole = []
    try:
        for piece in pieces(connection, body):
            whole.append(piece)
            sys.stdout.write(CONTROL.sub("", piece))
            sys.stdout.flush()
    finally:
        if whole:
            sys.stdout.write("\n")  # what comes next, even an error, begins a line
            sys.stdout.flush()
    return "".join(whole)
