"""`lorikeet keys`: API keys of the organization. Needs a key with the scope admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection
from cluster.cli.output import note, say
from cluster.cli.table import moment, table
from cluster.tenancy.principal import Scope

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
PATH = "/v1/organization/keys"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def expiry(text: str) -> datetime:
    """`30d`, `12h` from now, or a date and time (UTC unless it says otherwise)."""
    try:
        if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
            return datetime.now(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither like 30d, 12h nor an ISO date") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _show_new(made: Answer) -> None:
    note(f"{made['id']} may: {', '.join(made['scopes'])}. The key is not shown again:")
    say(made["key"])


@command(app, _show_new)
def create(
    connection: Connection,
    name: Annotated[str, typer.Option(help="For your own memory.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="Repeatable.")] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(parser=expiry, metavar="WHEN", help="30d, 12h or an ISO date; else never."),
    ] = None,
) -> Answer:
    """Make a key and print it, once: it is stored as a hash."""
    scopes = [each.value for each in scope or [Scope.INFERENCE]]
    body: dict[str, Any] = {"name": name, "scopes": scopes}
    if expires is not None:
        body["expires_at"] = expires.isoformat()
    return connection.post(PATH, json=body)


@command(
    app,
    table(
        {
            "ID": "id",
            "NAME": "name",
            "KEY": lambda row: f"{row.get('prefix')}…",
            "SCOPES": lambda row: ", ".join(row.get("scopes") or ()),
            "EXPIRES": moment("expires_at"),
            "REVOKED": moment("revoked_at"),
            "LAST USED": moment("last_used_at"),
        }
    ),
    name="list",
)
def list_keys(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List keys without their secret part, newest first."""
    return connection.pages(PATH, limit)


@command(app, line("Revoked {id}."))
def revoke(
    connection: Connection,
    key_id: Annotated[str, typer.Argument(help="As `keys list` names it.")],
) -> Answer:
    """Revoke a key: within a second no replica takes it."""
    return connection.delete(f"{PATH}/{quote(key_id, safe='')}")
