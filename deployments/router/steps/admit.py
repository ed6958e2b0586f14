"""Step 6: within the limits and budgets, or the exact time to come again."""

from __future__ import annotations

from cluster.catalog.price_book import PriceBook
from cluster.catalog.route import Plan
from cluster.tenancy.admission import Admission
from cluster.tenancy.lease import UNLIMITED
from cluster.usage.estimate import most_tokens
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Admit:
    def __init__(self, admission: Admission, book: PriceBook) -> None:
        self._admission = admission
        self._book = book

    async def __call__(self, exchange: Exchange) -> None:
        who, plan = exchange.principal, exchange.plan
        assert who is not None, "authenticate comes before admit"
        if who.unlimited:
            exchange.lease = UNLIMITED
            return
        assert plan is not None, "resolve comes before admit"
        prompt, answer = _most(exchange, plan)
        # Whoever of the candidates will answer.
        usd = max(
            self._book.find(
                who.organization_id,
                (exchange.model, candidate.name, candidate.base_name),
                exchange.started_at,
            ).most(prompt, answer)
            for candidate in plan.candidates
        )
        exchange.lease = await self._admission.admit(
            who, exchange.id, prompt + answer, usd, exchange.started_at
        )


def _most(exchange: Exchange, plan: Plan) -> tuple[int, int]:
    """The tokens that the prompt and the answer may have."""
    if exchange.reserve == 0:
        return 0, 0
    text = exchange.body
    if plan.preset is not None and plan.preset.system_prompt is not None:
        text += plan.preset.system_prompt.encode()
    # The smallest vocabulary makes the most tokens.
    vocabulary = min(candidate.vocabulary for candidate in plan.candidates)
    generates = ENDPOINTS[exchange.endpoint].generates
    answer = exchange.reserve - exchange.prompt_estimate if generates else 0
    prompt = most_tokens(text, vocabulary)
    prompt += most_tokens(exchange.beside.text, vocabulary) * exchange.beside.times
    return max(exchange.reserve - answer, prompt), answer
