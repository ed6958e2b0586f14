"""`lorikeet budget`: what the organization may spend. Needs a key with the scope admin."""

from __future__ import annotations

import typer

from cluster.cli.budget_options import Per, Tokens, Usd
from cluster.cli.budget_options import budget as budget_of
from cluster.cli.command import command
from cluster.cli.connection import Answer, Connection
from cluster.cli.output import say
from cluster.cli.table import moment, print_fields

app = typer.Typer(
    help="Show and set what all keys of the organization may spend together. "
    "`lorikeet keys change` sets a key's own.",
    no_args_is_help=True,
)
PATH = "/v1/organization/budget"


def _show(found: Answer) -> None:
    if found["budget"] is None:
        say("There is no budget.")
        return
    print_fields({**found["budget"], "resets_at": moment("resets_at")(found["budget"])})


@command(app, _show)
def show(connection: Connection) -> Answer:
    """Show the budget and what is spent of it."""
    return connection.get(PATH)


@command(app, _show, name="set")
def set_budget(
    connection: Connection, usd: Usd = None, tokens: Tokens = None, per: Per = None
) -> Answer:
    """Set the budget in the place of the one that there is, on every replica within a second."""
    given = budget_of(usd, tokens, per)
    if given is None:
        raise typer.BadParameter("give --usd, --tokens or both")
    return connection.post(PATH, json={"budget": given})


@command(app, _show)
def lift(connection: Connection) -> Answer:
    """Let all keys spend without a bound; their own budgets stay."""
    return connection.post(PATH, json={"budget": None})
