"""What admission answers: a lease, or the refusal that says which limit and when to come again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.errors import InsufficientQuota, RateLimited
from cluster.tenancy.budget import Period
from cluster.tenancy.limiter import (
    BUDGET_TOKENS,
    BUDGET_USD,
    CONCURRENT,
    Balance,
    Cost,
    Hold,
    Reservation,
    Subject,
    Verdict,
)
from cluster.tenancy.principal import Principal
from cluster.tenancy.subjects import RPD, RPM, TPM
from cluster.usage.money import dollars


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit, what is left of it, and the seconds until all of it is back."""

    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The leave to run one request. Settle it, whatever comes of the request."""

    id: str
    organization_id: str
    requests: Quota | None = None
    """The tightest of the minute's and the day's, the organization's and the key's."""
    tokens: Quota | None = None
    holds: tuple[Hold, ...] = ()
    held: bool = False
    """Whether there is anything to settle."""
    local: bool = False
    """Whether this process gave it by its own estimate."""


UNLIMITED = Lease(id="", organization_id="")
"""The lease of every request that nothing limits."""


class LimitReached(RateLimited):
    """A limit refuses. `limit` names it; the quotas are for the answer's headers.

    `retry_after` is exact for the rates, and None where waiting does not help.
    """

    def __init__(
        self,
        message: str,
        limit: str,
        requests: Quota | None,
        tokens: Quota | None,
        retry_after: float | None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(
            message, retry_after=retry_after, details={"limit": limit, **(details or {})}
        )
        self.limit = limit
        self.requests = requests
        self.tokens = tokens


class BudgetSpent(LimitReached, InsufficientQuota):
    """Nothing that this request could wait for a moment gives it room in a budget."""


def holds(subjects: Sequence[Subject], verdict: Verdict) -> tuple[Hold, ...]:
    """What the admitted request has of each subject."""
    meters = iter(verdict.meters)
    found = []
    for subject in subjects:
        reserved = None
        for rate in subject.rates:
            meter = next(meters)
            if rate.settles:
                reserved = Reservation(rate, verdict.now + meter.reset)
        found.append(Hold(subject.name, reserved, subject.account))
    return tuple(found)


def quotas(subjects: Sequence[Subject], verdict: Verdict) -> tuple[Quota | None, Quota | None]:
    """The tightest of requests, and of tokens."""
    requests = tokens = None
    rates = (rate for subject in subjects for rate in subject.rates)
    for rate, meter in zip(rates, verdict.meters, strict=True):
        quota = Quota(rate.limit, meter.remaining, meter.reset / 1000)
        if rate.name == TPM:
            tokens = quota if tokens is None else _tighter(tokens, quota)
        else:
            requests = quota if requests is None else _tighter(requests, quota)
    return requests, tokens


def _tighter(one: Quota, other: Quota) -> Quota:
    return other if other.remaining < one.remaining else one


def refusal(
    principal: Principal, subjects: Sequence[Subject], verdict: Verdict, cost: Cost, at: datetime
) -> LimitReached:
    """The error that a refused verdict is."""
    assert verdict.refused is not None, "a verdict that admits is no refusal"
    requests, tokens = quotas(subjects, verdict)
    subject = subjects[verdict.subject]
    of_key = subject.name != principal.organization_id
    if verdict.refused in (BUDGET_USD, BUDGET_TOKENS):
        return _of_budget(principal, subjects, verdict, requests, tokens, at)
    limits = principal.key_limits if of_key else principal.limits
    limit: int = getattr(limits, verdict.refused)
    what = {
        RPM: f"{limit} requests per minute",
        RPD: f"{limit} requests per day",
        TPM: f"{limit} tokens per minute",
        CONCURRENT: f"{limit} requests at the same time",
    }[verdict.refused]
    whose = "This key's limit" if of_key else "The limit"
    wait = None if verdict.wait is None else verdict.wait / 1000
    if wait is not None:
        message = f"{whose} of {what} is reached. Try again in {wait:g} s."
    elif verdict.refused == TPM:
        message = (
            f"This request asks for {cost.tokens} tokens with its max_tokens; "
            f"{whose[0].lower()}{whose[1:]} is {what}."
        )
    else:
        message = f"{whose} is {what}."
    details: dict[str, object] = {"of": "key" if of_key else "organization"}
    return LimitReached(message, verdict.refused, requests, tokens, wait, details)


def _of_budget(
    principal: Principal,
    subjects: Sequence[Subject],
    verdict: Verdict,
    requests: Quota | None,
    tokens: Quota | None,
    at: datetime,
) -> LimitReached:
    subject = subjects[verdict.subject]
    account, balance = subject.account, _balance(subjects, verdict)
    assert verdict.refused is not None
    assert account is not None, "only an account refuses by a budget"
    assert balance.spent is not None, "only an open account refuses"
    of_key = subject.name != principal.organization_id
    budget = principal.key_budget if of_key else principal.budget
    assert budget is not None, "the account is a budget's"
    in_usd = verdict.refused == BUDGET_USD
    index = 0 if in_usd else 1
    amount = account.usd if in_usd else account.tokens
    assert amount is not None, "only what is bounded refuses"
    gone, held, wanted = balance.spent[index], balance.held[index], account.cost[index]

    def shown(number: int) -> str:
        return f"{dollars(number)} USD" if in_usd else f"{number} tokens"

    per = "in all" if budget.period is Period.TOTAL else f"per {budget.period.value}"
    whose = "this key's budget" if of_key else "the organization's budget"
    end = account.window.end
    details: dict[str, object] = {
        "of": "key" if of_key else "organization",
        "period": budget.period.value,
        "budget": dollars(amount) if in_usd else amount,
        "spent": dollars(gone) if in_usd else gone,
        "reserved": dollars(held) if in_usd else held,
        "needed": dollars(wanted) if in_usd else wanted,
        "resets_at": None if end is None else int(end.timestamp()),
    }
    where = f"Of {whose} of {shown(amount)} {per}, {shown(gone)} are spent"
    if verdict.wait is not None:
        wait = verdict.wait / 1000
        message = (
            f"{where} and {shown(held)} are reserved by running requests; this one may need "
            f"{shown(wanted)}. Try again in {wait:g} s."
        )
        return LimitReached(message, verdict.refused, requests, tokens, wait, details)
    message = (
        "You exceeded your current quota, please check your plan and billing details. "
        f"{where}; this request may need {shown(wanted)}."
    )
    again = None
    if end is not None and wanted <= amount:
        again = max(0.0, (end - at).total_seconds())
        message += f" It resets at {end:%Y-%m-%dT%H:%M:%SZ}."
    return BudgetSpent(message, verdict.refused, requests, tokens, again, details)


def _balance(subjects: Sequence[Subject], verdict: Verdict) -> Balance:
    """Of the account of the subject that refuses."""
    before = subjects[: verdict.subject]
    return verdict.balances[sum(subject.account is not None for subject in before)]
