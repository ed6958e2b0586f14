"""`lorikeet prices`: what models cost. Needs a key with the scope admin."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.cli.budget_options import money
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection
from cluster.cli.keys import expiry
from cluster.cli.table import moment, table

app = typer.Typer(
    help="Show and set prices, in US dollars per million tokens.", no_args_is_help=True
)
PATH = "/v1/organization/prices"


@command(
    app,
    table(
        {
            "ID": "id",
            "MODEL": "model",
            "INPUT": "input",
            "CACHED": "cached_input",
            "OUTPUT": "output",
            "VALID FROM": moment("valid_from"),
        }
    ),
    name="list",
)
def list_prices(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List prices, the latest first: also those to come, and those that were."""
    return connection.pages(PATH, limit)


@command(app, line("{model}: {input} in, {cached_input} cached, {output} out"), name="set")
def set_price(
    connection: Connection,
    model: Annotated[str, typer.Argument(help="A model, an adapter, an alias, provider/model.")],
    input_price: Annotated[str, typer.Option("--input", parser=money, metavar="USD")],
    cached_input: Annotated[
        str | None, typer.Option(parser=money, metavar="USD", help="Else as --input.")
    ] = None,
    output: Annotated[str, typer.Option(parser=money, metavar="USD")] = "0",
    valid_from: Annotated[
        datetime | None,
        typer.Option(parser=expiry, metavar="WHEN", help="30d, 12h or an ISO date; else now."),
    ] = None,
) -> Answer:
    """Set a model's price. A base model's holds for its adapters that have none of their own."""
    body: dict[str, Any] = {"model": model, "input": input_price, "output": output}
    if cached_input is not None:
        body["cached_input"] = cached_input
    if valid_from is not None:
        body["valid_from"] = valid_from.isoformat()
    return connection.post(PATH, json=body)


@command(app, line("Removed {id}."))
def remove(
    connection: Connection,
    price_id: Annotated[str, typer.Argument(help="As `prices list` names it.")],
) -> Answer:
    """Take back a price that is still to come."""
    return connection.delete(f"{PATH}/{quote(price_id, safe='')}")
