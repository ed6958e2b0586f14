"""Step 5b: how urgent the request is, by the field `service_tier` of OpenAI and of Anthropic."""

from __future__ import annotations

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import kind
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange
from deployments.router.waiting.tier import Tier

FIELD = "service_tier"
EVERYBODY = "*"


class Urgency:
    def __init__(self, hurried: frozenset[str]) -> None:
        """`hurried`: the organizations that have the first tier. The requests of others are served
        as all of theirs are, as OpenAI does it."""
        self._hurried = hurried

    async def __call__(self, exchange: Exchange) -> None:
        asked = exchange.document.get(FIELD)
        if asked is None:
            return
        tiers = ENDPOINTS[exchange.endpoint].dialect.tiers
        found = tiers.get(asked) if isinstance(asked, str) else None
        if found is None:
            raise InvalidRequest(
                f"{FIELD} must be one of {', '.join(tiers)}, not {kind(asked)}.", param=FIELD
            )
        assert exchange.principal is not None, "authenticate comes before urgency"
        if found is Tier.PRIORITY and not self._hurried & {
            exchange.principal.organization_id,
            EVERYBODY,
        }:
            found = Tier.DEFAULT
        exchange.tier = found
