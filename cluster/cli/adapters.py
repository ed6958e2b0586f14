"""`lorikeet adapters`: all that were trained here, and those made elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection
from cluster.cli.table import Row, table
from cluster.errors import InvalidRequest

app = typer.Typer(help="Register, list and remove adapters.", no_args_is_help=True)
PATH = "/v1/adapters"
FILES = ("adapter_config.json", "adapter_model.safetensors")
"""All that an adapter is. Nothing else in the folder leaves this machine."""


def digest(row: Row) -> str:
    return str(row.get("digest") or "-")[:12]


def acknowledged(row: Row) -> str:
    return f"{row.get('acknowledged', 0)}/{row.get('replicas', 0)}"


@command(app, line("{name} {state}"))
def add(
    connection: Connection,
    folder: Annotated[Path, typer.Argument(help=f"As PEFT saves it: {' and '.join(FILES)}.")],
    name: Annotated[str, typer.Option(help="What requests will call it.")],
    base: Annotated[str, typer.Option(help="The base model, as `models list` names it.")],
) -> Answer:
    """Check an adapter against its base model, store and publish it."""
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}.")
    for file in FILES:
        if not (folder / file).is_file():
            raise InvalidRequest(f"{folder} lacks {file}; pickled weights (.bin) are not taken.")
    with ExitStack() as opened:
        parts = [
            ("files", (file, opened.enter_context((folder / file).open("rb")))) for file in FILES
        ]
        return connection.post(PATH, data={"name": name, "base_model": base}, files=parts)


@command(
    app,
    table(
        {
            "NAME": "name",
            "BASE": "base_model",
            "STATE": "state",
            "REPLICAS": acknowledged,
            "DIGEST": digest,
            "ERROR": "error",
        }
    ),
    name="list",
)
def list_adapters(connection: Connection) -> list[Answer]:
    """List adapters in every state and how many replicas hold each."""
    return connection.page(PATH).rows


@command(app, line("Removed {id}."))
def remove(
    connection: Connection,
    name: Annotated[str, typer.Argument(help="As `adapters list` names it.")],
) -> Answer:
    """Take an adapter out of service: its name is unknown from the next request on."""
    return connection.delete(f"/v1/models/{quote(name)}")
