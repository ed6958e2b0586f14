"""The limiter's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tenancy.limiter import (
    BUDGET_TOKENS,
    BUDGET_USD,
    CONCURRENT,
    CONCURRENT_WAIT,
    DAY,
    MINUTE,
    Account,
    Balance,
    Cost,
    Hold,
    Limiter,
    Rate,
    Reservation,
    Subject,
    Verdict,
)

LIFETIME = 10_000


def _admit(
    limiter: Limiter, now: int, lease: str, lifetime: int, slots: int | None, rates: Sequence[Rate]
) -> Verdict:
    return limiter.admit(now, lease, lifetime, [Subject("org", slots, tuple(rates))])


def _settle(
    limiter: Limiter, now: int, lease: str, reserved: Reservation | None, used: int
) -> bool:
    return limiter.settle(now, lease, [Hold("org", reserved)], Cost(tokens=used)).found


def _requests(limit: int, period: int = MINUTE) -> Rate:
    return Rate("requests", limit, period, 1)


def _tokens(limit: int, cost: int) -> Rate:
    return Rate("tokens", limit, MINUTE, cost)


def test_a_burst_of_the_limit_then_one_at_a_time() -> None:
    limiter, rate = Limiter(), _requests(60)
    for left in range(59, -1, -1):
        verdict = _admit(limiter, 0, "", 0, None, [rate])
        assert verdict.refused is None
        assert verdict.meters[0].remaining == left
    refused = _admit(limiter, 0, "", 0, None, [rate])
    assert (refused.refused, refused.wait, refused.meters[0].reset) == ("requests", 1000, MINUTE)
    assert _admit(limiter, 999, "", 0, None, [rate]).wait == 1
    assert _admit(limiter, 1000, "", 0, None, [rate]).refused is None


def test_a_refusal_takes_nothing_of_any_limit() -> None:
    limiter = Limiter()
    rates = [_requests(10), _tokens(100, 80)]
    assert _admit(limiter, 0, "a", LIFETIME, 5, rates).refused is None
    refused = _admit(limiter, 0, "b", LIFETIME, 5, rates)
    assert refused.refused == "tokens"
    assert [meter.remaining for meter in refused.meters] == [9, 20]
    assert not _settle(limiter, 0, "b", None, 0)


def test_the_longest_wait_is_the_answer() -> None:
    limiter = Limiter()
    rates = [_requests(60), _requests(1, DAY), _tokens(10, 20)]
    day = [rates[0], Rate("day", 1, DAY, 1)]
    _admit(limiter, 0, "", 0, None, day)
    assert _admit(limiter, 1, "", 0, 0, day[:1]).wait is None
    verdict = _admit(limiter, 1000, "", 0, 3, day)
    assert (verdict.refused, verdict.wait) == ("day", DAY - 1000)


@pytest.mark.parametrize("rates", [[_requests(0)], [_tokens(10, 11)], [_tokens(0, 1)]])
def test_what_never_fits_has_no_time_to_wait_for(rates) -> None:
    verdict = _admit(Limiter(), 0, "", 0, None, rates)
    assert (verdict.refused, verdict.wait) == (rates[0].name, None)


def test_slots_are_freed_by_settling_and_by_death() -> None:
    limiter = Limiter()
    assert _admit(limiter, 0, "a", LIFETIME, 2, []).refused is None
    assert _admit(limiter, 0, "b", LIFETIME, 2, []).refused is None
    refused = _admit(limiter, 0, "c", LIFETIME, 2, [])
    assert (refused.refused, refused.wait) == (CONCURRENT, CONCURRENT_WAIT)
    assert _settle(limiter, 1, "a", None, 0)
    assert not _settle(limiter, 1, "a", None, 0)
    assert _admit(limiter, 2, "c", LIFETIME, 2, []).refused is None
    for lease in ("b", "gone"):
        limiter.renew(LIFETIME - 1, LIFETIME, lease, [Hold("org")])
    assert _admit(limiter, LIFETIME + 2, "d", LIFETIME, 2, []).refused is None  # c died
    assert _admit(limiter, LIFETIME + 2, "e", LIFETIME, 2, []).refused == CONCURRENT  # b lives


def _reserve(limiter: Limiter, now: int, lease: str, limit: int, cost: int) -> Reservation:
    rate = _tokens(limit, cost)
    verdict = _admit(limiter, now, lease, LIFETIME, None, [rate])
    assert verdict.refused is None
    return Reservation(rate, verdict.now + verdict.meters[0].reset)


def _remaining(limiter: Limiter, now: int, limit: int) -> int:
    return _admit(limiter, now, "probe", 0, None, [_tokens(limit, 0)]).meters[0].remaining


def test_settling_refunds_what_was_not_used() -> None:
    limiter = Limiter()
    reservation = _reserve(limiter, 0, "a", 60_000, 5000)
    assert _remaining(limiter, 0, 60_000) == 55_000
    _settle(limiter, 1000, "a", reservation, 1500)
    assert _remaining(limiter, 1000, 60_000) == 59_500  # 1000 have drained, 500 are left


def test_settling_debits_what_was_used_beyond() -> None:
    limiter = Limiter()
    reservation = _reserve(limiter, 0, "a", 60, 10)
    _settle(limiter, 0, "a", reservation, 100)
    assert _remaining(limiter, 0, 60) == 0
    assert _admit(limiter, 0, "b", LIFETIME, None, [_tokens(60, 1)]).wait == 41_000


def test_what_has_drained_is_not_refunded() -> None:
    """Else a tenant could reserve much, wait, and use its minute twice."""
    limiter = Limiter()
    first = _reserve(limiter, 0, "a", 60, 60)
    _reserve(limiter, MINUTE, "b", 60, 60)
    limiter._leases["org"]["a"] = 2 * MINUTE
    assert _settle(limiter, MINUTE, "a", first, 0)
    assert _remaining(limiter, MINUTE, 60) == 0


def test_a_changed_limit_begins_anew() -> None:
    limiter = Limiter()
    for limit in (60_000, 60):
        verdict = _admit(limiter, 0, f"of {limit}", LIFETIME, None, [_tokens(limit, limit)])
        assert (verdict.refused, verdict.meters[0].reset) == (None, MINUTE)
    assert _admit(limiter, 0, "again", LIFETIME, None, [_tokens(60_000, 1)]).wait == 1


def test_a_repeated_request_is_the_same_lease() -> None:
    limiter, rates = Limiter(), [_tokens(100, 60)]
    assert _admit(limiter, 0, "a", LIFETIME, 1, rates).refused is None
    again = _admit(limiter, 0, "a", LIFETIME, 1, rates)
    assert (again.refused, again.meters[0].remaining) == (None, 40)


@given(
    limit=st.integers(1, 1000),
    costs=st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    pauses=st.lists(st.integers(0, 20_000), min_size=20, max_size=20),
)
def test_the_wait_is_exact_to_the_millisecond(limit, costs, pauses) -> None:
    limiter, now = Limiter(), 0
    for cost, pause in zip(costs, pauses, strict=False):
        rates = [_tokens(limit, cost)]
        verdict = _admit(limiter, now, "", 0, None, rates)
        if verdict.refused is not None and verdict.wait is not None:
            assert _admit(limiter, now + verdict.wait - 1, "", 0, None, rates).refused is not None
            now += verdict.wait
            assert _admit(limiter, now, "", 0, None, rates).refused is None
        now += pause


def _spend(cost: Cost, usd: int | None = None, tokens: int | None = None) -> list[Subject]:
    return [Subject("org", account=Account("b:2026-11", usd, tokens, cost))]


@pytest.fixture
def opened() -> Limiter:
    """Of the window's account nothing is spent."""
    limiter = Limiter()
    limiter.raise_to("org", "b:2026-11", Cost())
    return limiter


def test_an_account_that_is_not_open_admits_nothing_and_takes_nothing() -> None:
    limiter, rate = Limiter(), _requests(1)
    subject = Subject("org", 1, (rate,), Account("b:2026-11", 10, None, Cost(10, 1)))
    verdict = limiter.admit(0, "a", LIFETIME, [subject])
    assert verdict.unknown
    assert verdict.meters[0].remaining == 1
    limiter.raise_to("org", "b:2026-11", Cost(0, 0))
    verdict = limiter.admit(0, "a", LIFETIME, [subject])
    assert (verdict.unknown, verdict.refused, verdict.meters[0].remaining) == (False, None, 0)


def test_what_runs_has_reserved_and_what_ran_has_spent(opened: Limiter) -> None:
    account = Account("b:2026-11", 100, None, Cost(60, 7))
    verdict = opened.admit(0, "a", LIFETIME, [Subject("org", account=account)])
    assert verdict.balances == (Balance(Cost(0, 0), Cost(60, 7)),)
    soon = opened.admit(0, "b", LIFETIME, _spend(Cost(60, 7), usd=100))
    assert (soon.refused, soon.wait) == (BUDGET_USD, CONCURRENT_WAIT)  # what runs may cost less
    settled = opened.settle(0, "a", [Hold("org", account=account)], Cost(20, 3))
    assert settled.spent == (Cost(20, 3),)
    verdict = opened.admit(0, "b", LIFETIME, _spend(Cost(60, 7), usd=100))
    assert verdict.balances == (Balance(Cost(20, 3), Cost(60, 7)),)
    spent = opened.admit(0, "c", LIFETIME, _spend(Cost(81, 1), usd=100))
    assert (spent.refused, spent.wait) == (BUDGET_USD, None)  # whatever the others cost


def test_tokens_are_a_budget_too(opened: Limiter) -> None:
    assert opened.admit(0, "a", LIFETIME, _spend(Cost(0, 10), tokens=10)).refused is None
    verdict = opened.admit(0, "b", LIFETIME, _spend(Cost(0, 1), tokens=10))
    assert (verdict.refused, verdict.wait) == (BUDGET_TOKENS, CONCURRENT_WAIT)


def test_what_costs_nothing_passes_where_all_is_spent(opened: Limiter) -> None:
    opened.raise_to("org", "b:2026-11", Cost(101, 5))
    assert opened.admit(0, "a", LIFETIME, _spend(Cost(1, 5), usd=100)).refused == BUDGET_USD
    assert opened.admit(0, "a", LIFETIME, _spend(Cost(0, 5), usd=100)).refused is None


def test_the_dead_have_reserved_nothing(opened: Limiter) -> None:
    account = Account("b:2026-11", 100, None, Cost(60, 1))
    for lease in ("dead", "renewed"):
        half = [Subject("org", account=Account("b:2026-11", 100, None, Cost(40, 1)))]
        assert opened.admit(0, lease, LIFETIME, half).refused is None
    opened.renew(1, LIFETIME, "renewed", [Hold("org", account=half[0].account)])
    verdict = opened.admit(LIFETIME, "a", LIFETIME, [Subject("org", account=account)])
    assert verdict.refused is None
    assert verdict.balances[0].held.usd == 100
    # One that was only frozen comes too late: it is told, so that SQL is asked.
    late = opened.settle(LIFETIME, "dead", [Hold("org", account=half[0].account)], Cost(40, 1))
    assert late.spent == (None,)


def test_two_windows_are_two_accounts(opened: Limiter) -> None:
    opened.raise_to("org", "b:2026-11", Cost(100, 0))
    opened.raise_to("org", "b:2026-12", Cost())
    account = Account("b:2026-12", 100, None, Cost(60, 1))
    assert opened.admit(0, "a", LIFETIME, [Subject("org", account=account)]).refused is None
    assert opened.admit(0, "b", LIFETIME, _spend(Cost(60, 1), usd=100)).refused == BUDGET_USD


def test_of_two_subjects_both_must_have_room() -> None:
    limiter = Limiter()
    rate = Rate("rpm", 1, MINUTE, 1)
    organization, key = Subject("org", rates=(_requests(60),)), Subject("key", rates=(rate,))
    assert limiter.admit(0, "a", LIFETIME, [organization, key]).refused is None
    verdict = limiter.admit(0, "b", LIFETIME, [organization, key])
    assert (verdict.refused, verdict.subject) == ("rpm", 1)
    assert [meter.remaining for meter in verdict.meters] == [59, 0]
    assert limiter.admit(0, "c", LIFETIME, [organization]).refused is None
