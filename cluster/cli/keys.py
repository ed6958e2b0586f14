"""`lorikeet keys`: API keys of the organization. Needs a key with the scope admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cluster.cli.connection import connect
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import moment, note, print_json, print_table, say
from cluster.tenancy.principal import Scope

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
PATH = "/v1/organization/keys"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def expiry(text: str) -> datetime:
    """`30d`, `12h` from now, or a date and time (UTC unless it says otherwise)."""
    if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return datetime.now(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither like 30d, 12h nor an ISO date", param_hint="--expires"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="For your own memory.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="Repeatable.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="30d, 12h or an ISO date; never without.")
    ] = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once: it is stored as a hash."""
    scopes = [each.value for each in scope or [Scope.INFERENCE]]
    body: dict[str, Any] = {"name": name, "scopes": scopes}
    if expires is not None:
        body["expires_at"] = int(expiry(expires).timestamp())
    found = connect(home, url, key).post(PATH, json=body)
    if as_json:
        print_json(found)
        return
    note(f"{found['id']} may: {', '.join(found['scopes'])}. The key is not shown again:")
    say(found["key"])


@app.command("list")
def list_keys(home: Home = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List keys without their secret part."""
    rows = connect(home, url, key).get(PATH)["data"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "KEY", "SCOPES", "EXPIRES", "LAST USED"),
        (
            (
                r["id"],
                r["name"],
                f"{r['prefix']}…",
                ", ".join(r["scopes"]),
                moment(r.get("expires_at")),
                moment(r.get("last_used_at")),
            )
            for r in rows
        ),
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `keys list` names it.")],
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: within a second no replica takes it."""
    found = connect(home, url, key).delete(f"{PATH}/{key_id}")
    print_json(found) if as_json else say(f"Revoked {key_id}.")
