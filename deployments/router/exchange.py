"""One request on its way through the router, and what each step learned about it."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from cluster.catalog.route import Destination, Plan, Remote
from cluster.tenancy.lease import Lease
from cluster.tenancy.principal import Principal
from deployments.router.quotas import quota_headers
from deployments.router.waiting.tier import Tier

if TYPE_CHECKING:
    from deployments.router.answer import Answer
    from deployments.router.asked.ask import Question
    from deployments.router.record import Record


@dataclass(slots=True)
class Usage:
    """Tokens, as the engine counted them; until it has, about as many."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Beside(NamedTuple):
    """A text that the model reads and the body lacks, and how often it reads it."""

    text: bytes = b""
    times: int = 1


NOTHING = Beside()


class ClientGone(Exception):
    """The caller closed the connection; nobody waits for an answer."""


@dataclass(slots=True)
class Exchange:
    """Filled from top to bottom, each part by the step that its comment names."""

    endpoint: str
    scope: Scope
    receive: Receive
    send: Send
    started: float = field(default_factory=time.perf_counter)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    # enter
    id: str = field(default_factory=lambda: f"req_{secrets.token_hex(12)}")
    """Ours alone. `x-request-id`, which Serve adds to every answer, may be the caller's own choice,
    sent twice."""
    authorization: str | None = None
    # authenticate
    principal: Principal | None = None
    # read
    body: bytes = b""
    # name
    document: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    user: str | None = None
    """The caller's own end user, as the request names them."""
    # deadline
    limit: asyncio.Timeout | None = None
    """Ends the request where it stands."""
    seconds: float | None = None
    """That the caller gave the request, where they did."""
    patient_until: float = math.inf
    """When the caller stops waiting for the first byte, on the loop's clock."""
    # resolve
    plan: Plan | None = None
    route: Destination | None = None
    """Who is asked: of the plan's candidates the first, until dispatch goes to another."""
    # parse
    question: Question | None = None
    stream: bool = False
    usage_wanted: bool = False
    prompts: int = 1
    prompt_estimate: int = 0
    """Tokens in the input, rather too many; they stand until the engine's count comes."""
    beside: Beside = NOTHING
    reserve: int = 0
    """The estimate and as many tokens as the answer may have; 0 where nothing is counted."""
    record: Record | None = None
    """Where more becomes of the answer than that its caller has it."""
    # urgency
    tier: Tier = Tier.DEFAULT
    # admit
    lease: Lease | None = None
    # dispatch
    place_wait: float = math.inf
    """Seconds that the request may wait for a place in an engine: where another can be asked as
    well, no more than the plan's patience."""
    answer: Answer | None = None
    first: bytes = b""
    """The first bytes of the answer's body: from here no other replica can take over."""
    sent: bool = False
    """The provider that is asked has been sent the request: what comes now is its doing."""
    cleanup: list[Callable[[], object]] = field(default_factory=list)
    """What to give back once the request is over, however it ended."""
    gone: bool = False
    """The caller has closed the connection."""
    # stream
    headers_sent: bool = False
    status: int = 0
    error_code: str | None = None
    first_token_at: float | None = None
    usage: Usage = field(default_factory=Usage)
    # shadow
    shadow_of: str | None = None
    """The request that this one is a copy of."""

    @property
    def asked(self) -> dict[str, Any]:
        """The body as its caller wrote it: without what a virtual model puts into it."""
        if self.plan is None or self.plan.preset is None:
            return self.document
        asked: dict[str, Any] = orjson.loads(self.body)
        return asked

    @property
    def remote(self) -> bool:
        """Whether only other providers may be asked: what they take, they say themselves."""
        return self.plan is not None and all(
            isinstance(candidate, Remote) for candidate in self.plan.candidates
        )

    @property
    def deadline(self) -> float:
        """When the request ends at the latest, on the loop's clock."""
        when = None if self.limit is None else self.limit.when()
        return math.inf if when is None else when

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line and the headers."""
        self.status = status
        self.headers_sent = True
        if self.lease is not None:
            headers.extend(quota_headers(self.lease.requests, self.lease.tokens))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})
