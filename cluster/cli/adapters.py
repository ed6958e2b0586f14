"""`lorikeet adapters`: adapters made elsewhere, registered like our own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cluster.cli.connection import connect
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import print_json, print_table, say
from cluster.errors import InvalidRequest

app = typer.Typer(help="Register, list and remove adapters.", no_args_is_help=True)
FILES = ("adapter_config.json", "adapter_model.safetensors")
"""All that an adapter is. Nothing else in the folder leaves this machine."""


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help=f"As PEFT saves it: {' and '.join(FILES)}.")],
    name: Annotated[str, typer.Option(help="What requests will call it.")],
    base: Annotated[str, typer.Option(help="The base model, as `models list` names it.")],
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Check an adapter against its base model, store and publish it."""
    for file in FILES:
        if not (folder / file).is_file():
            raise InvalidRequest(f"{folder} lacks {file}; pickled weights (.bin) are not taken.")
    connection = connect(home, url, key)
    with ExitStack() as opened:
        parts = [
            ("files", (file, opened.enter_context((folder / file).open("rb")))) for file in FILES
        ]
        form = {"name": name, "base_model": base}
        found = connection.post("/v1/adapters", data=form, files=parts)
    print_json(found) if as_json else say(f"{found.get('name', name)} {found.get('state', '')}")


@app.command("list")
def list_adapters(
    home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List adapters and how many replicas hold each."""
    rows = connect(home, url, key).get("/v1/adapters")["data"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "BASE", "STATE", "REPLICAS", "DIGEST", "ERROR"),
        (
            (
                r["name"],
                r.get("base_model"),
                r["state"],
                f"{r.get('acknowledged', 0)}/{r.get('replicas', 0)}",
                str(r.get("digest", ""))[:12],
                r.get("error"),
            )
            for r in rows
        ),
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `adapters list` names it.")],
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Take an adapter out of service and delete it."""
    found = connect(home, url, key).delete(f"/v1/models/{quote(name)}")
    print_json(found) if as_json else say(f"Removed {name}.")
