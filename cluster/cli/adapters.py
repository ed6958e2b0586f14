"""`lorikeet adapters`: all that were trained here, and those made elsewhere."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cluster.catalog.lifecycle import AdapterState
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, RequestFailed
from cluster.cli.output import stderr
from cluster.cli.table import Row, moment, table
from cluster.errors import InvalidRequest, LorikeetError, TimedOut

app = typer.Typer(help="Register, list and remove adapters.", no_args_is_help=True)
PATH = "/v1/adapters"
FILES = ("adapter_config.json", "adapter_model.safetensors")
"""All that an adapter is. Nothing else in the folder leaves this machine."""
POLL_SECONDS = 0.2


class NotPublished(LorikeetError):
    """The replicas could not load it, or it was removed meanwhile."""

    code = "adapter_not_published"


def digest(row: Row) -> str:
    return str(row.get("digest") or "-")[:12]


def pinned(row: Row) -> str | None:
    return "yes" if row.get("pinned") else None


def acknowledged(row: Row) -> str:
    return f"{row.get('acknowledged', 0)}/{row.get('replicas', 0)}"


def _require_name(row: Answer) -> None:
    """A name that answers, or that will."""
    if row["state"] == AdapterState.FAILED:
        raise NotPublished(f"The adapter failed: {row['error']}")
    if row["state"] == AdapterState.RETIRED:
        raise NotPublished("The adapter was removed meanwhile.")


@command(app, line("{name} {state}"), judge=_require_name)
def add(
    connection: Connection,
    folder: Annotated[Path, typer.Argument(help=f"As PEFT saves it: {' and '.join(FILES)}.")],
    name: Annotated[str, typer.Option(help="What requests will call it.")],
    base: Annotated[str, typer.Option(help="The base model, as `models list` names it.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it answers.")] = True,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait, at most.")] = 300.0,
) -> Answer:
    """Check an adapter against its base model, store and publish it.

    It answers once every replica of the base model has loaded it.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}.")
    for file in FILES:
        if not (folder / file).is_file():
            pickled = "; pickled weights (.bin) are not taken" if any(folder.glob("*.bin")) else ""
            raise InvalidRequest(f"{folder} lacks {file}{pickled}.")
    with ExitStack() as opened:
        parts = [
            ("files", (file, opened.enter_context((folder / file).open("rb")))) for file in FILES
        ]
        row = connection.post(PATH, data={"name": name, "base_model": base}, files=parts)
    return _ended(connection, row, timeout) if wait else row


def _ended(connection: Connection, row: Answer, timeout: float) -> Answer:
    """Poll the adapter until it is published or has failed. Raises TimedOut."""
    until = time.monotonic() + timeout
    with stderr.status("publishing"):
        while row["state"] == AdapterState.PUBLISHING:
            if time.monotonic() > until:
                raise TimedOut(
                    f"{row['name']} is still publishing after {timeout:g} s; "
                    "`lorikeet adapters list` shows what becomes of it."
                )
            time.sleep(POLL_SECONDS)
            row = _now(connection, row)
    return row


def _now(connection: Connection, row: Answer) -> Answer:
    """The adapter as it is listed, which a removed one is not; unchanged where nobody answers."""
    try:
        rows = connection.page(PATH).rows
    except RequestFailed as error:
        if not error.passing:
            raise
        return row
    gone = Answer(row | {"state": AdapterState.RETIRED})
    return next((now for now in rows if now["id"] == row["id"]), gone)


@command(
    app,
    table(
        {
            "NAME": "name",
            "BASE": "base_model",
            "STATE": "state",
            "REPLICAS": acknowledged,
            "HELD BY": "resident_on",
            "PINNED": pinned,
            "LAST USED": moment("last_used_at"),
            "DIGEST": digest,
            "ERROR": "error",
        }
    ),
    name="list",
)
def list_adapters(connection: Connection) -> list[Answer]:
    """List adapters in every state, how many replicas hold each, and when it was last used."""
    return connection.page(PATH).rows


Named = Annotated[str, typer.Argument(help="As `adapters list` names it.")]


@command(app, line("{name} is pinned."))
def pin(connection: Connection, name: Named) -> Answer:
    """Have every replica hold an adapter at all times: its first request never waits for it."""
    return connection.post(f"{PATH}/{quote(name)}", json={"pinned": True})


@command(app, line("{name} is pinned no more."))
def unpin(connection: Connection, name: Named) -> Answer:
    """Let an adapter make room for others, where a replica has no place for all."""
    return connection.post(f"{PATH}/{quote(name)}", json={"pinned": False})


@command(app, line("Removed {id}."))
def remove(connection: Connection, name: Named) -> Answer:
    """Take an adapter out of service: its name is unknown from the next request on."""
    return connection.delete(f"/v1/models/{quote(name)}")
