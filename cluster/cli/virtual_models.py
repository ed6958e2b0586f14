"""`lorikeet virtual-models`: a project's own names, with a prompt, parameters and fallbacks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.catalog.split import Target
from cluster.catalog.virtual_model import Strategy
from cluster.cli.aliases import target
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, RequestFailed
from cluster.cli.table import Row, moment, table

app = typer.Typer(
    help="Name models to ask in turn, with a prompt and parameters.", no_args_is_help=True
)
PATH = "/v1/virtual_models"

Name = Annotated[str, typer.Argument(help="The virtual model.")]


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


class Parameter(tuple[str, Any]):
    """A name and a JSON value."""


def parameter(text: str) -> Parameter:
    """`NAME=VALUE`; a value that is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    try:
        return Parameter((name, json.loads(value)))
    except ValueError:
        return Parameter((name, value))


def targets(row: Row) -> str:
    """The models in the order of the question, or with their weights."""
    if row["strategy"] == Strategy.WEIGHTED:
        return ", ".join(f"{each['model']}={each['weight']:g}" for each in row["targets"])
    return ", ".join(each["model"] for each in row["targets"])


@command(app, line("{name} version {version}"), name="set")
def set_virtual_model(
    connection: Connection,
    name: Name,
    to: Annotated[
        list[Target],
        typer.Argument(parser=target, metavar="MODEL[=WEIGHT]...", help="Whom to ask."),
    ],
    strategy: Annotated[
        Strategy | None, typer.Option(help="Who is asked first; the others are fallbacks.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system prompt; '' for none.")] = None,
    default: Annotated[
        list[Parameter] | None,
        typer.Option(
            parser=parameter, metavar="NAME=VALUE", help="Holds where a request says nothing."
        ),
    ] = None,
    fix: Annotated[
        list[Parameter] | None,
        typer.Option(parser=parameter, metavar="NAME=VALUE", help="Holds whatever a request says."),
    ] = None,
    first_token_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which the next model is asked.")
    ] = None,
) -> Answer:
    """Make a virtual model, or change one from the next request on."""
    given = {
        "strategy": None if strategy is None else strategy.value,
        "parameters": dict(default) if default else None,
        "fixed": dict(fix) if fix else None,
        "first_token_timeout": first_token_timeout,
    }
    body: dict[str, Any] = {"targets": [asdict(each) for each in to]}
    body |= {field: value for field, value in given.items() if value is not None}
    if system is not None:
        body["system_prompt"] = system or None
    try:
        return connection.post(_path(name), json=body)
    except RequestFailed as error:
        if (error.code, error.param) != ("not_found", "name"):
            raise
    return connection.post(PATH, json={"name": name, **body})


@command(
    app,
    table(
        {
            "NAME": "name",
            "VERSION": "version",
            "STRATEGY": "strategy",
            "TARGETS": targets,
            "CREATED": moment("created_at"),
        }
    ),
    name="list",
)
def list_virtual_models(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List the virtual models of the key's project."""
    return connection.pages(PATH, limit)


@command(app, line("Removed {id}."))
def remove(connection: Connection, name: Name) -> Answer:
    """Forget a virtual model; what it stood for stays."""
    return connection.delete(_path(name))
