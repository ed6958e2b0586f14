"""`lorikeet files`: training data and what else is uploaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, connect
from cluster.cli.options import Home, Key, Url
from cluster.cli.output import note
from cluster.cli.table import moment, size, table
from cluster.errors import InvalidRequest

app = typer.Typer(help="Upload, list and delete files.", no_args_is_help=True)
PATH = "/v1/files"
FileId = Annotated[str, typer.Argument(help="As `files list` names it.")]


def upload_file(connection: Connection, path: Path, purpose: str) -> Answer:
    """Raises InvalidRequest for a path that is no file."""
    if not path.exists():
        raise InvalidRequest(f"There is no file {path}.")
    if not path.is_file():
        raise InvalidRequest(f"{path} is not a regular file.")
    with path.open("rb") as content:
        parts = {"file": (path.name, content, "application/octet-stream")}
        return connection.post(PATH, data={"purpose": purpose}, files=parts)


def delete_file(connection: Connection, file_id: str) -> Answer:
    return connection.delete(f"{PATH}/{quote(file_id, safe='')}")


@command(app, line("{id}"))
def upload(
    connection: Connection,
    path: Annotated[Path, typer.Argument(help="For a fine-tune: JSONL, a conversation a line.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")] = "fine-tune",
) -> Answer:
    """Upload a file; print its id."""
    return upload_file(connection, path, purpose)


@command(
    app,
    table(
        {
            "ID": "id",
            "NAME": "filename",
            "PURPOSE": "purpose",
            "SIZE": size("bytes"),
            "CREATED": moment("created_at"),
        }
    ),
    name="list",
)
def list_files(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List files, newest first."""
    return connection.pages(PATH, limit)


@app.command()
def content(
    file_id: FileId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Else stdout.")] = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print or save what a file holds. Its bytes as they are: there is no --json."""
    with connect(home, url, key).stream("GET", f"{PATH}/{quote(file_id, safe='')}/content") as sent:
        if output is None:
            for chunk in sent.iter_bytes():
                sys.stdout.buffer.write(chunk)
            return
        with output.open("wb") as out:
            for chunk in sent.iter_bytes():
                out.write(chunk)
    note(f"Saved as {output}.")


@command(app, line("Deleted {id}."))
def delete(connection: Connection, file_id: FileId) -> Answer:
    """Delete a file."""
    return delete_file(connection, file_id)
