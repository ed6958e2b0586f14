"""`lorikeet limits`: what the organization may use. Needs a key with the scope admin."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from cluster.cli.command import command
from cluster.cli.connection import Answer, Connection
from cluster.cli.table import Row, table
from cluster.tenancy.principal import Limits

app = typer.Typer(help="Show and set the organization's limits.", no_args_is_help=True)
PATH = "/v1/organization/limits"
NAMES = tuple(field.name for field in fields(Limits))

Limit = Annotated[int | None, typer.Option(min=0)]


def _show(limits: Answer) -> None:
    rows = ({"limit": name, "value": limits[name]} for name in NAMES)
    table({"LIMIT": "limit", "VALUE": _value})(rows)


def _value(row: Row) -> str:
    return "unlimited" if row["value"] is None else str(row["value"])


@command(app, _show)
def show(connection: Connection) -> Answer:
    """Show what the requests of all keys may take together."""
    return connection.get(PATH)


@command(app, _show, name="set")
def set_limits(
    connection: Connection,
    requests_per_minute: Limit = None,
    requests_per_day: Limit = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Of prompts and answers.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=0, help="Requests at the same time.")
    ] = None,
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="Lift the limits that are not given beside it.")
    ] = False,
) -> Answer:
    """Change limits, on every replica within a second; those that are not given stay."""
    given = {
        "requests_per_minute": requests_per_minute,
        "requests_per_day": requests_per_day,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrent": max_concurrent,
    }
    changes = {name: limit for name, limit in given.items() if unlimited or limit is not None}
    if not changes:
        raise typer.BadParameter("give a limit or --unlimited")
    return connection.post(PATH, json=changes)
