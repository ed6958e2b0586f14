"""`lorikeet keys`: API keys of the organization. Needs a key with the scope admin."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.cli.budget_options import Per, Tokens, Usd, budget
from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection
from cluster.cli.output import note, say
from cluster.cli.table import moment, print_fields, table
from cluster.tenancy.principal import Limits, Scope

app = typer.Typer(help="Create, change, list and revoke API keys.", no_args_is_help=True)
PATH = "/v1/organization/keys"
LIMITS = tuple(field.name for field in fields(Limits))
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Key = Annotated[str, typer.Argument(help="As `keys list` names it.")]


def expiry(text: str) -> datetime:
    """`30d`, `12h` from now, or a date and time (UTC unless it says otherwise)."""
    try:
        if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
            return datetime.now(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither like 30d, 12h nor an ISO date") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _path(key_id: str) -> str:
    return f"{PATH}/{quote(key_id, safe='')}"


def _limits(*given: int | None) -> dict[str, int | None]:
    return {name: limit for name, limit in zip(LIMITS, given, strict=True) if limit is not None}


def _body(
    scopes: list[Scope] | None,
    expires: datetime | None,
    models: list[str] | None,
    limits: dict[str, int | None],
    budget: dict[str, Any] | None,
) -> dict[str, Any]:
    """What of this is given."""
    body: dict[str, Any] = {}
    if scopes:
        body["scopes"] = [scope.value for scope in scopes]
    if expires is not None:
        body["expires_at"] = expires.isoformat()
    if models:
        body["models"] = models
    if limits:
        body["limits"] = limits
    if budget is not None:
        body["budget"] = budget
    return body


def _show_key(key: Answer) -> None:
    """A line a field; limits and a budget have fields of their own."""
    shown: dict[str, Any] = {**key, "limits": None, "budget": None, **key["limits"]}
    for name, value in (key["budget"] or {}).items():
        shown[name if name.startswith("spent") else f"budget_{name}"] = value
    moments = [name for name in shown if name.endswith("_at")]
    print_fields({**shown, **{name: moment(name)(shown) for name in moments}})


def _show_new(made: Answer) -> None:
    note(f"{made['id']} may: {', '.join(made['scopes'])}. The key is not shown again:")
    say(made["key"])


Scopes = Annotated[list[Scope] | None, typer.Option(help="Repeatable.")]
Expires = Annotated[
    datetime | None,
    typer.Option(parser=expiry, metavar="WHEN", help="30d, 12h or an ISO date; else never."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(help="It may name this model; NAME* is all that begin so. Repeatable."),
]
Limit = Annotated[int | None, typer.Option(min=0, help="The key's own limit.")]


@command(app, _show_new)
def create(
    connection: Connection,
    name: Annotated[str, typer.Option(help="For your own memory.")],
    scope: Scopes = None,
    expires: Expires = None,
    model: Models = None,
    requests_per_minute: Limit = None,
    requests_per_day: Limit = None,
    tokens_per_minute: Limit = None,
    max_concurrent: Limit = None,
    budget_usd: Usd = None,
    budget_tokens: Tokens = None,
    budget_per: Per = None,
) -> Answer:
    """Make a key and print it, once: it is stored as a hash."""
    limits = _limits(requests_per_minute, requests_per_day, tokens_per_minute, max_concurrent)
    scopes = scope or [Scope.INFERENCE]
    given = _body(scopes, expires, model, limits, budget(budget_usd, budget_tokens, budget_per))
    return connection.post(PATH, json={"name": name, **given})


@command(app, line("Changed {id}."))
def change(
    connection: Connection,
    key_id: Key,
    name: Annotated[str | None, typer.Option()] = None,
    scope: Scopes = None,
    expires: Expires = None,
    never_expires: Annotated[bool, typer.Option("--never-expires")] = False,
    model: Models = None,
    all_models: Annotated[bool, typer.Option("--all-models")] = False,
    requests_per_minute: Limit = None,
    requests_per_day: Limit = None,
    tokens_per_minute: Limit = None,
    max_concurrent: Limit = None,
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="Lift its own limits that are not given beside it.")
    ] = False,
    budget_usd: Usd = None,
    budget_tokens: Tokens = None,
    budget_per: Per = None,
    no_budget: Annotated[bool, typer.Option("--no-budget")] = False,
) -> Answer:
    """Change a key, on every replica within a second; what is not given stays."""
    limits = _limits(requests_per_minute, requests_per_day, tokens_per_minute, max_concurrent)
    if unlimited:
        limits = dict.fromkeys(LIMITS) | limits
    given = _body(scope, expires, model, limits, budget(budget_usd, budget_tokens, budget_per))
    if name is not None:
        given["name"] = name
    for lifted, field in (
        (never_expires, "expires_at"), (all_models, "models"), (no_budget, "budget")
    ):  # fmt: skip
        if lifted and field in given:
            raise typer.BadParameter(f"{field} is both given and lifted")
        if lifted:
            given[field] = None
    if not given:
        raise typer.BadParameter("give what to change")
    return connection.post(_path(key_id), json=given)


@command(app, _show_key)
def show(connection: Connection, key_id: Key) -> Answer:
    """Show a key without its secret part, and what is spent of its budget."""
    return connection.get(_path(key_id))


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
    key_id: Key,
) -> Answer:
    """Revoke a key: within a second no replica takes it."""
    return connection.delete(_path(key_id))
