"""`lorikeet files`: training data and what else is uploaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.connection import Connection, connect, require_success
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import moment, note, print_json, print_table, say, size
from cluster.errors import InvalidRequest

app = typer.Typer(help="Upload, list and delete files.", no_args_is_help=True)
FileId = Annotated[str, typer.Argument(help="As `files list` names it.")]


def upload_file(connection: Connection, path: Path, purpose: str) -> dict[str, Any]:
    """Raises InvalidRequest for a path that is no file."""
    if not path.is_file():
        raise InvalidRequest(f"There is no file {path}.")
    with path.open("rb") as content:
        parts = {"file": (path.name, content, "application/octet-stream")}
        found: dict[str, Any] = connection.post("/v1/files", data={"purpose": purpose}, files=parts)
    return found


@app.command()
def upload(
    path: Annotated[Path, typer.Argument(help="For a fine-tune: JSONL, a conversation a line.")],
    purpose: Annotated[str, typer.Option()] = "fine-tune",
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a file; print its id."""
    found = upload_file(connect(home, url, key), path, purpose)
    print_json(found) if as_json else say(found["id"])


@app.command("list")
def list_files(
    limit: Annotated[int, typer.Option(min=1)] = 100,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List files, newest first."""
    rows = connect(home, url, key).pages("/v1/files", limit)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "PURPOSE", "SIZE", "CREATED"),
        (
            (r["id"], r["filename"], r["purpose"], size(r["bytes"]), moment(r["created_at"]))
            for r in rows
        ),
    )


@app.command()
def content(
    file_id: FileId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Else stdout.")] = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print or save what a file holds."""
    connection = connect(home, url, key)
    with connection.http.stream("GET", f"/v1/files/{file_id}/content") as answer:
        if not answer.is_success:
            answer.read()
        require_success(answer)
        if output is None:
            for chunk in answer.iter_bytes():
                sys.stdout.buffer.write(chunk)
            return
        with output.open("wb") as out:
            for chunk in answer.iter_bytes():
                out.write(chunk)
    note(f"Saved as {output}.")


@app.command()
def delete(
    file_id: FileId, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Delete a file."""
    found = connect(home, url, key).delete(f"/v1/files/{file_id}")
    print_json(found) if as_json else say(f"Deleted {file_id}.")
