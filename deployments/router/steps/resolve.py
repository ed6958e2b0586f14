"""Step 4: which models the name stands for, and what a virtual model adds to the body."""

from __future__ import annotations

from dataclasses import replace

from cluster.catalog.caller import Caller
from cluster.catalog.catalog import Catalog
from cluster.catalog.preset import Preset
from cluster.catalog.route import Plan, Remote
from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.fields import Fields
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Resolve:
    def __init__(self, catalog: Catalog, fields: Fields) -> None:
        self._catalog = catalog
        self._fields = fields

    async def __call__(self, exchange: Exchange) -> None:
        who = exchange.principal
        assert who is not None, "authenticate comes before resolve"
        who.require_model(exchange.model)
        caller = Caller(exchange.id, who.key_id, exchange.user, who.project_id)
        plan = await self._catalog.find(who.organization_id, exchange.model, caller)
        exchange.plan = plan = _answering(exchange, plan)
        exchange.route = plan.candidates[0]
        if plan.preset is not None:
            self._apply(exchange, plan.preset)

    def _apply(self, exchange: Exchange, preset: Preset) -> None:
        endpoint = ENDPOINTS[exchange.endpoint]
        known = endpoint.fields or self._fields.known(exchange.endpoint)
        if known is None and not endpoint.generates:
            # Another provider refuses to count what only an answer has, such as a temperature.
            known = frozenset()
        exchange.document = body = preset.parameters(exchange.document, known, endpoint.lengths)
        if preset.system_prompt is None:
            return
        if endpoint.instruct is not None:
            endpoint.instruct(body, preset.system_prompt)
        elif endpoint.generates:
            raise InvalidRequest(
                f"{exchange.model!r} has a system prompt, which {exchange.endpoint} does not take.",
                param="model",
                code="unsupported_endpoint",
            )


def _answering(exchange: Exchange, plan: Plan) -> Plan:
    """The plan with those candidates that answer this endpoint."""
    takes = ENDPOINTS[exchange.endpoint].takes
    # What kind another provider's model is, only the provider knows.
    able = tuple(one for one in plan.candidates if isinstance(one, Remote) or takes(one.kind))
    if len(able) == len(plan.candidates):
        return plan
    if not able:
        raise InvalidRequest(
            f"{exchange.model!r} is of kind {plan.candidates[0].kind.value!r} and does not answer "
            f"{exchange.endpoint}.",
            param="model",
            code="unsupported_endpoint",
        )
    return replace(plan, candidates=able)
