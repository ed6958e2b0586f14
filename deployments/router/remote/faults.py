"""What a provider says of a failure, as one of our errors: whose fault it is, and what to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import httpcore
import orjson

from cluster.errors import (
    ContextTooLong,
    InvalidRequest,
    LorikeetError,
    ModelNotFound,
    RateLimited,
    TimedOut,
    TooLarge,
    Unavailable,
    UpstreamFailed,
)
from cluster.outgoing.backend import AddressRefused

AUTHENTICATION = "upstream_authentication_failed"
RATE_LIMITED = "upstream_rate_limited"
REFUSED = "upstream_address_refused"
MAX_RETRY_AFTER = 24 * 3600.0
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "timeout_error": 504,
}
"""The status that an error of this type has, for those that come in a stream: it has none there."""
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")


def from_answer(
    provider: str, model: str, status: int, headers: Mapping[str, str], body: bytes
) -> LorikeetError:
    """An answer that is no success. `model` is the name that the caller asked for."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    after = retry_after(headers)
    return _error(provider, model, status, _inner(told), after)


def from_event(provider: str, model: str, document: Mapping[str, Any]) -> LorikeetError:
    """An error inside a stream, or in an answer that began as a success."""
    told = _inner(document)
    status = next(
        (
            found
            for word in (told.get("status"), told.get("code"), told.get("type"))
            if (found := _status(word)) is not None
        ),
        500,
    )
    return _error(provider, model, status, told, None)


def _status(word: object) -> int | None:
    if isinstance(word, str):
        return int(word) if word.isdigit() and len(word) == 3 else _STATUS.get(word)
    return word if isinstance(word, int) and 400 <= word <= 599 else None


def _inner(told: object) -> dict[str, Any]:
    """The object that describes the error, in whichever of the usual wrappings."""
    if isinstance(told, list) and told:  # Google's
        told = told[0]
    if isinstance(told, dict):
        inner = told.get("error", told)
        if isinstance(inner, dict):
            return inner
        if isinstance(inner, str):
            return {"message": inner}
    return {}


def _error(
    provider: str, model: str, status: int, told: Mapping[str, Any], after: float | None
) -> LorikeetError:
    words = told.get("message") or told.get("detail")
    said = words if isinstance(words, str) and words.strip() else "no reason given"
    whole = f"The provider {provider!r} answered {status}: {said}"
    if status in (401, 403):
        # Without its words: they may hold a part of the key.
        return UpstreamFailed(
            f"The provider {provider!r} refused the credentials of the connection {provider!r} "
            f"({status}). Its secret has to be set anew.",
            code=AUTHENTICATION,
        )
    if status in (400, 422):
        param = told.get("param")
        kind = ContextTooLong if told.get("code") in _TOO_LONG else InvalidRequest
        return kind(said, param=param if isinstance(param, str) else None)
    if status == 404:
        return ModelNotFound(model)
    if status == 413:
        return TooLarge(said)
    if status == 429:
        return RateLimited(whole, code=RATE_LIMITED, retry_after=after)
    if status in (503, 529):
        return Unavailable(whole, retry_after=2.0 if after is None else after)
    if status in (408, 504):
        return TimedOut(whole)
    if 300 <= status < 400:
        return UpstreamFailed(
            f"The provider {provider!r} answered {status}, a redirect, which is not followed: the "
            "connection needs the address that it leads to."
        )
    return UpstreamFailed(whole)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, by whichever of the headers that say it."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if isfinite(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER)
    return None


def from_transport(provider: str, error: Exception) -> LorikeetError:
    """What the network did instead of an answer."""
    match error:
        case AddressRefused():
            return UpstreamFailed(
                f"The address of the provider {provider!r} is not public, and the operator has "
                "not allowed it.",
                code=REFUSED,
            )
        case httpcore.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return UpstreamFailed(
                f"The certificate of the provider {provider!r} is not trusted, or is for another "
                "name."
            )
        case httpcore.ConnectTimeout() | httpcore.ConnectError():
            return Unavailable(f"The provider {provider!r} can't be reached.", retry_after=5.0)
        case httpcore.PoolTimeout():
            return Unavailable(f"Too many requests wait for {provider!r}.", retry_after=2.0)
        case httpcore.TimeoutException():
            return TimedOut(f"The provider {provider!r} did not answer in time.")
        case httpcore.NetworkError():
            return Unavailable(f"The connection to the provider {provider!r} broke.")
        case httpcore.RemoteProtocolError():
            return Unavailable(
                f"The provider {provider!r} ended its answer before it was whole, or did not "
                "answer in HTTP."
            )
        case _:
            return UpstreamFailed(f"The request to the provider {provider!r} failed.")


def garbage(provider: str, what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The provider {provider!r} answered with {what}.")


def cut_off(provider: str) -> Unavailable:
    return Unavailable(f"The provider {provider!r} ended the stream before it was whole.")
