"""`lorikeet aliases`: names that stand for models and adapters, moved without a dropped request."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.catalog.caller import Sticky
from cluster.catalog.split import Target
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, RequestFailed
from cluster.cli.table import Row, moment, table

app = typer.Typer(help="Lead a name to weighted models and adapters.", no_args_is_help=True)
PATH = "/v1/aliases"

Name = Annotated[str, typer.Argument(help="The alias.")]


def _path(name: str, *rest: str) -> str:
    return "/".join((PATH, quote(name, safe=""), *rest))


def target(text: str) -> Target:
    """`MODEL`, or `MODEL=WEIGHT`."""
    model, equals, weight = text.rpartition("=")
    if not equals:
        return Target(text, 1.0)
    try:
        return Target(model, float(weight))
    except ValueError:
        raise typer.BadParameter(f"{weight!r} in {text!r} is not a weight") from None


def targets(row: Row) -> str:
    """The models with their shares."""
    whole = sum(target["weight"] for target in row["targets"])
    return ", ".join(
        f"{target['model']} {target['weight'] / whole:.0%}" for target in row["targets"]
    )


def shadow_of(row: Row) -> str:
    """The model that gets copies, with the share."""
    shadow = row.get("shadow")
    return "" if shadow is None else f"{shadow['model']} {shadow['share']:.0%}"


@command(app, line("{name} version {version}"), name="set")
def set_alias(
    connection: Connection,
    name: Name,
    to: Annotated[
        list[Target],
        typer.Argument(parser=target, metavar="MODEL[=WEIGHT]...", help="What it stands for."),
    ],
    sticky: Annotated[
        Sticky | None, typer.Option(help="Whose requests always meet the same model.")
    ] = None,
    shadow: Annotated[
        Target | None,
        typer.Option(
            parser=target, metavar="MODEL[=SHARE]", help="Gets a copy of that share of requests."
        ),
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="End the copies.")] = False,
) -> Answer:
    """Make an alias, or lead it elsewhere from the next request on."""
    if shadow is not None and no_shadow:
        raise typer.BadParameter("give either --shadow or --no-shadow")
    body: dict[str, Any] = {"targets": [asdict(each) for each in to]}
    if sticky is not None:
        body["sticky"] = sticky.value
    if shadow is not None:
        body["shadow"] = {"model": shadow.model, "share": shadow.weight}
    elif no_shadow:
        body["shadow"] = None
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
            "TARGETS": targets,
            "STICKY": "sticky",
            "SHADOW": shadow_of,
            "CREATED": moment("created_at"),
        }
    ),
    name="list",
)
def list_aliases(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List aliases with what they stand for now."""
    return connection.pages(PATH, limit)


@command(app, line("{name} version {version}"))
def promote(connection: Connection, name: Name, model: Annotated[str, typer.Argument()]) -> Answer:
    """Give one model everything."""
    return connection.post(_path(name, "promote"), json={"model": model})


@command(app, line("{name} version {version}"))
def rollback(
    connection: Connection,
    name: Name,
    version: Annotated[
        int | None, typer.Option(min=1, help="Else the one before the present.")
    ] = None,
) -> Answer:
    """Bring an earlier version back."""
    body = {} if version is None else {"version": version}
    return connection.post(_path(name, "rollback"), json=body)


@command(
    app,
    table(
        {
            "VERSION": "version",
            "TARGETS": targets,
            "STICKY": "sticky",
            "SHADOW": shadow_of,
            "RESTORES": "restores",
            "BY KEY": "key_id",
            "CREATED": moment("created_at"),
        }
    ),
)
def versions(connection: Connection, name: Name) -> list[Answer]:
    """What an alias stood for, the newest first."""
    data: list[Answer] = connection.get(_path(name, "versions"))["data"]
    return data


@command(app, line("Removed {id}."))
def remove(connection: Connection, name: Name) -> Answer:
    """Forget an alias; what it stood for stays."""
    return connection.delete(_path(name))
