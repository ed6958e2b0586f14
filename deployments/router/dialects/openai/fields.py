"""The fields that a body may have: those that vLLM or OpenAI has, and that are for callers."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.exchange import Exchange

ENGINE_ONLY = frozenset(
    {
        "ec_transfer_params",
        "enable_response_messages",
        "kv_transfer_params",
        "mm_processor_kwargs",
        "previous_input_messages",  # a second way to continue, past the store
        "priority",  # before other tenants; `service_tier` is for callers
        "prompt_embeds",  # a pickle
        "request_id",
        "stream_interval",  # many tokens in one event, which an aborted stream is accounted by
        "vllm_xargs",
    }
)
"""Fields of vLLM's classes that steer the engine itself and are not for callers."""


class Fields:
    """What the replicas say that their engines know."""

    def __init__(self, pool: ReplicaPool) -> None:
        self._pool = pool
        self._known: dict[str, frozenset[str]] = {}

    def check(self, exchange: Exchange) -> dict[str, Any]:
        """The body. Raises InvalidRequest for a field that is not known, where an engine of ours
        may be asked."""
        body = exchange.document
        for field in ENGINE_ONLY & body.keys():
            raise _unknown(field)
        known = self.known(exchange.endpoint)
        if known is not None and not exchange.remote:
            refuse_unknown(body, known)
        return body

    def known(self, endpoint: str) -> frozenset[str] | None:
        """None where no replica has told yet."""
        known = next(
            (
                replica.fields[endpoint]
                for replicas in self._pool.models.values()
                for replica in replicas
                if endpoint in replica.fields
            ),
            self._known.get(endpoint),
        )
        if known is not None:
            self._known[endpoint] = known  # also for when the only replica is just restarting
        return known


def refuse_unknown(
    given: dict[str, Any], known: frozenset[str], inside: str = "", shown: str = ""
) -> None:
    """Raises InvalidRequest that names a field, also one inside an object, that is not known.

    `inside` is the path that the fields have in `known`, `shown` the one that the caller sees.
    """
    for field, value in given.items():
        path = inside + field
        if path not in known or "." in field:
            raise _unknown(shown + field)
        inner = path + "."
        if inner not in known:
            continue
        if isinstance(value, dict):
            refuse_unknown(value, known, inner, f"{shown}{field}.")
        elif isinstance(value, list):
            for index, member in enumerate(value):
                if isinstance(member, dict):
                    refuse_unknown(member, known, inner, f"{shown}{field}[{index}].")


def _unknown(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unrecognized request argument supplied: {field}", param=field, code="unknown_parameter"
    )
