"""`lorikeet connections`: other providers, whose models answer as `name/model`."""

from __future__ import annotations

import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.catalog.connection import Protocol
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, RequestFailed
from cluster.cli.output import say
from cluster.cli.table import Row, moment, print_fields, table

app = typer.Typer(help="Reach other providers' models as name/model.", no_args_is_help=True)
PATH = "/v1/connections"

Name = Annotated[str, typer.Argument(help="The part before `/`.")]
Url = Annotated[
    str | None, typer.Option("--base-url", help="Address of its API; else the protocol's own.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Offered; repeatable. Else whatever it has.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME=VALUE", help="Sent with each request; repeatable."),
]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds without a byte after which it is taken for gone.")
]


class TestFailed(RequestFailed):
    """The provider can't be used as it is."""

    code = "connection_test_failed"


def _path(name: str, *rest: str) -> str:
    return "/".join((PATH, quote(name, safe=""), *rest))


def _secret() -> str:
    """From a person at a terminal, unseen, or from a pipe: an argument would stand in the shell's
    history and in the list of processes."""
    if sys.stdin.isatty():
        typed: str = typer.prompt("API key of the provider", hide_input=True, err=True)
        return typed.strip()
    return sys.stdin.read().strip()


def _body(
    base_url: str | None, model: list[str] | None, header: list[str] | None, timeout: float | None
) -> dict[str, Any]:
    given = {
        "base_url": base_url,
        "models": model,
        "headers": None if header is None else dict(map(_header, header)),
        "timeout": timeout,
    }
    return {name: value for name, value in given.items() if value is not None}


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _state(row: Row) -> str:
    if not row["enabled"]:
        return "disabled"
    return "ready" if row["has_secret"] else "without a key"


@command(app, line("{name}: its models answer as {name}/MODEL"))
def add(
    connection: Connection,
    name: Name,
    protocol: Annotated[Protocol, typer.Option(help="The API that it speaks.")] = Protocol.OPENAI,
    base_url: Url = None,
    model: Models = None,
    header: Headers = None,
    timeout: Timeout = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="It wants none.")] = False,
) -> Answer:
    """Connect a provider. Its API key is asked for, or read from a pipe."""
    body = {"name": name, "protocol": protocol.value, **_body(base_url, model, header, timeout)}
    if not no_key:
        body["secret"] = _secret()
    return connection.post(PATH, json=body)


@command(
    app,
    table(
        {
            "NAME": "name",
            "PROTOCOL": "protocol",
            "ADDRESS": "base_url",
            "MODELS": lambda row: ", ".join(row["models"]) or "any",
            "STATE": _state,
            "CREATED": moment("created_at"),
        }
    ),
    name="list",
)
def list_connections(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List connections, without their keys."""
    return connection.pages(PATH, limit)


@command(app, print_fields)
def show(connection: Connection, name: Name) -> Answer:
    """One connection, without its key."""
    return connection.get(_path(name))


@command(app, line("Changed {name}."), name="set")
def set_connection(
    connection: Connection,
    name: Name,
    base_url: Url = None,
    model: Models = None,
    header: Headers = None,
    timeout: Timeout = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Offer whatever the provider has.")
    ] = False,
) -> Answer:
    """Change a connection. Another host takes its key away; `rotate` gives it one."""
    body = _body(base_url, [] if any_model else model, header, timeout)
    return connection.post(_path(name), json=body)


@command(app, line("{name} answers."))
def enable(connection: Connection, name: Name) -> Answer:
    """Let its models answer again."""
    return connection.post(_path(name), json={"enabled": True})


@command(app, line("{name} does not answer any more."))
def disable(connection: Connection, name: Name) -> Answer:
    """Keep a connection and let its models be unknown."""
    return connection.post(_path(name), json={"enabled": False})


@command(app, line("{name} has another key."))
def rotate(
    connection: Connection,
    name: Name,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="Take it without asking the provider.")
    ] = False,
) -> Answer:
    """Another API key, asked for or read from a pipe. The old one stays where it is refused."""
    body = {"secret": _secret(), "verify": not no_test}
    return connection.post(_path(name, "secret"), json=body)


def _show_test(tested: Answer) -> None:
    models = tested["models"]
    offers = "lists no models" if models is None else f"offers {len(models)} models"
    if tested["ok"]:
        say(f"{tested['name']} answers after {tested['latency_ms']:.0f} ms and {offers}.")
    for model in tested["unknown_models"]:
        say(f"{tested['name']} does not offer {model}.")


def _judge(tested: Answer) -> None:
    if not tested["ok"]:
        raise TestFailed(tested["error"]["message"], code=tested["error"]["code"])


@command(app, _show_test, judge=_judge)
def test(connection: Connection, name: Name) -> Answer:
    """Ask the provider for its models, with the connection's key."""
    return connection.post(_path(name, "test"))


@command(app, line("Removed {id}."))
def remove(connection: Connection, name: Name) -> Answer:
    """Forget a connection and its key."""
    return connection.delete(_path(name))
