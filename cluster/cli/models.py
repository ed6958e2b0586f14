"""`lorikeet models`: what a request may name."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from cluster.cli.command import command
from cluster.cli.connection import Answer, Connection
from cluster.cli.table import moment, print_fields, table

app = typer.Typer(
    help="Show what requests may name: base models and adapters. "
    "`lorikeet adapters` adds and removes the latter, the Serve configuration the former.",
    no_args_is_help=True,
)
PATH = "/v1/models"
Model = Annotated[str, typer.Argument(help="As `models list` names it.")]


@command(
    app,
    table({"MODEL": "id", "BASE": "parent", "OWNER": "owned_by", "CREATED": moment("created")}),
    name="list",
)
def list_models(connection: Connection) -> list[Answer]:
    """List every model and adapter that answers."""
    return connection.page(PATH).rows


@command(app, print_fields)
def show(connection: Connection, model: Model) -> Answer:
    """Show one model."""
    return connection.get(f"{PATH}/{quote(model)}")
