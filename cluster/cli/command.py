"""A command that asks the endpoint: where it is, the key and --json come with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from cluster.cli.connection import connect
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import print_json, say

Found = TypeVar("Found")
Ask = Callable[..., Found]


def command(
    app: typer.Typer,
    show: Callable[[Found], None],
    *,
    name: str | None = None,
    judge: Callable[[Found], None] = lambda _: None,
) -> Callable[[Ask[Found]], Ask[Found]]:
    """Make a function `(connection, its own arguments) -> data` a command of `app`.

    The data is printed as JSON where that is asked for, else by `show`; `judge` raises afterwards
    what the exit code should tell.
    """

    def register(ask: Ask[Found]) -> Ask[Found]:
        def run(
            home: Home = None,
            url: Url = None,
            key: Key = None,
            as_json: Json = False,
            **given: Any,
        ) -> None:
            found = ask(connect(home, url, key), **given)
            print_json(found) if as_json else show(found)
            judge(found)

        _, *own = inspect.signature(ask, eval_str=True).parameters.values()
        *shared, _ = inspect.signature(run, eval_str=True).parameters.values()
        # Typer reads the signature: the function's own arguments first in the help.
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
        )
        app.command(name or ask.__name__, help=inspect.getdoc(ask))(run)
        return ask

    return register


def line(template: str) -> Callable[[Any], None]:
    """What prints one line with fields of the answer: `line("Deleted {id}.")`."""
    return lambda found: say(template.format_map(found))
