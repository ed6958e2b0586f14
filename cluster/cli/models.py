"""`lorikeet models`: what a request may name."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from cluster.cli.connection import connect
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import moment, print_json, print_table, say

app = typer.Typer(help="List base models and adapters.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="As `models list` names it.")]


@app.command("list")
def list_models(home: Home = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List every model and adapter that answers."""
    rows = connect(home, url, key).get("/v1/models")["data"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("MODEL", "BASE", "OWNER", "CREATED"),
        ((r["id"], r.get("parent"), r.get("owned_by"), moment(r.get("created"))) for r in rows),
    )


@app.command()
def show(
    model: Model, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Show one model."""
    found = connect(home, url, key).get(f"/v1/models/{quote(model)}")
    if as_json:
        print_json(found)
    else:
        print_table(("FIELD", "VALUE"), found.items())


@app.command()
def delete(
    model: Model, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Delete an adapter; a base model goes by the Serve configuration."""
    found = connect(home, url, key).delete(f"/v1/models/{quote(model)}")
    print_json(found) if as_json else say(f"Deleted {model}.")
