"""The requests that wait for one model, and which of them goes next.

Tiers share the tokens by weight; inside a tier all organizations have the same share, whatever the
number of their requests, by the virtual token counters of "Fairness in Serving Large Language
Models" (OSDI 2024): the one that has had the fewest tokens goes next, and one that comes anew
starts where the least served of those that wait stands, so that nobody saves up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deployments.router.engines.choice import Kind
from deployments.router.waiting.tier import SHARE, Tier

KEPT = 256
"""Accounts at which those are looked for that can be forgotten."""

Who = TypeVar("Who", bound=Hashable)


@dataclass(eq=False, slots=True)
class Ticket:
    """One request that waits. `number` is by arrival."""

    number: int
    organization: str
    tier: Tier
    kind: Kind
    cost: float
    """Tokens that it will take, as far as one knows."""
    charged: list[Account] = field(default_factory=list)
    """Whom it was charged to when it went."""

    def correct(self, cost: float) -> None:
        """It took `cost` tokens."""
        for account in self.charged:
            account.charge(cost - self.cost)
        self.cost = cost


@dataclass(eq=False, slots=True)
class Account:
    """Of somebody who shares: the tokens they have had, by their weight."""

    weight: float = 1.0
    had: float = 0.0

    def charge(self, tokens: float) -> None:
        self.had += tokens / self.weight


class Sharing(Generic[Who]):
    """The accounts of those who share. One who stops waiting keeps what they have had, for when
    they come back; what the others are beyond anyway is forgotten."""

    def __init__(self, weight: Callable[[Who], float]) -> None:
        self._weight = weight
        self._accounts: dict[Who, Account] = {}

    def enter(self, who: Who, waiting: Iterable[Account]) -> Account:
        """The account of one who comes to wait beside those of `waiting`."""
        level = min((account.had for account in waiting), default=0.0)
        if len(self._accounts) > KEPT:
            self._accounts = {w: one for w, one in self._accounts.items() if one.had > level}
        account = self._accounts.get(who)
        if account is None:
            account = self._accounts[who] = Account(self._weight(who))
        account.had = max(account.had, level)
        return account


@dataclass(eq=False, slots=True)
class Flow:
    """The waiting requests of one organization in one tier, in line by kind."""

    account: Account
    lines: dict[Kind, deque[Ticket]] = field(default_factory=dict)
    waiting: int = 0

    def add(self, ticket: Ticket) -> None:
        line = self.lines.setdefault(ticket.kind, deque())
        if line and ticket.number < line[0].number:  # it was let in before, and came back
            line.appendleft(ticket)
        else:
            line.append(ticket)
        self.waiting += 1

    def remove(self, ticket: Ticket) -> None:
        line = self.lines[ticket.kind]
        line.remove(ticket)
        if not line:
            del self.lines[ticket.kind]
        self.waiting -= 1

    def first(self, fits: Callable[[Ticket], bool]) -> Ticket | None:
        heads = [line[0] for line in self.lines.values() if fits(line[0])]
        return min(heads, key=lambda ticket: ticket.number, default=None)

    def last(self) -> Ticket:
        return max((line[-1] for line in self.lines.values()), key=lambda ticket: ticket.number)


class Class:
    """The waiting requests of one tier, by organization."""

    def __init__(self) -> None:
        self.account = Account()
        self.flows: dict[str, Flow] = {}
        self.waiting = 0
        self._sharing = Sharing[str](lambda organization: 1.0)

    def add(self, ticket: Ticket) -> None:
        flow = self.flows.get(ticket.organization)
        if flow is None:
            others = (other.account for other in self.flows.values())
            flow = Flow(self._sharing.enter(ticket.organization, others))
            self.flows[ticket.organization] = flow
        flow.add(ticket)
        self.waiting += 1

    def remove(self, ticket: Ticket) -> None:
        flow = self.flows[ticket.organization]
        flow.remove(ticket)
        if not flow.waiting:
            del self.flows[ticket.organization]
        self.waiting -= 1

    def most_crowded(self, newcomer: str) -> Flow:
        """Of the organization that has most requests here; `newcomer` where several have."""
        return max(self.flows.items(), key=lambda item: (item[1].waiting, item[0] == newcomer))[1]


class Hold:
    """At most `most` requests wait here."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._forget()
        self.waiting = 0

    def put(self, ticket: Ticket) -> Ticket | None:
        """Let `ticket` wait. Returns the one that has to go for it, which may be itself."""
        its = self._classes[ticket.tier]
        if not its.waiting:
            others = (one.account for one in self._classes.values() if one.waiting)
            its.account = self._sharing.enter(ticket.tier, others)
        its.add(ticket)
        self.waiting += 1
        if self.waiting <= self._most:
            return None
        least = max(tier for tier, one in self._classes.items() if one.waiting)
        shed = self._classes[least].most_crowded(ticket.organization).last()
        self.leave(shed)
        return shed

    def leave(self, ticket: Ticket) -> None:
        """A waiting request waits no more."""
        self._classes[ticket.tier].remove(ticket)
        self.waiting -= 1
        if not self.waiting:  # then nobody came short of anything
            self._forget()

    def next(self, fits: Callable[[Ticket], bool]) -> Ticket | None:
        """The request whose turn it is, of those for which there is room; it waits no more."""
        for its in sorted(self._classes.values(), key=lambda one: one.account.had):
            for flow in sorted(its.flows.values(), key=lambda one: one.account.had):
                ticket = flow.first(fits)
                if ticket is not None:
                    ticket.charged = [its.account, flow.account]
                    for account in ticket.charged:
                        account.charge(ticket.cost)
                    self.leave(ticket)
                    return ticket
        return None

    def ahead(self, organization: str, tier: Tier) -> float:
        """About how many requests go before one that would come now."""
        flows = self._classes[tier].flows
        turn = flows[organization].waiting if organization in flows else 0
        before = turn + sum(
            min(flow.waiting, turn + 1) for name, flow in flows.items() if name != organization
        )
        others = (
            min(other.waiting, (before + 1) * SHARE[name] / SHARE[tier])
            for name, other in self._classes.items()
            if name is not tier
        )
        return before + sum(others)

    def _forget(self) -> None:
        self._classes = {tier: Class() for tier in Tier}
        self._sharing = Sharing[Tier](SHARE.__getitem__)
