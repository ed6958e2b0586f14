"""What differs between the APIs of inference: how errors are told, and where the counts are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from cluster.errors import LorikeetError, UpstreamFailed
from deployments.router.exchange import Exchange, Usage
from deployments.router.waiting.tier import Tier

MOST = 1 << 26
"""Bytes that wait for the end of an event. The largest that is real has a prompt's logprobs."""


class Events(ABC):
    """Cuts pieces of an event stream at the ends of events, and takes the counts out of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.rest = b""
        """What has come of an event that is not whole."""

    def feed(self, piece: bytes) -> bytes:
        """The whole events so far, as the caller is to have them."""
        if self.rest:
            piece = self.rest + piece
        if len(piece) > MOST:
            raise UpstreamFailed("The engine sent an event without an end.")
        end = piece.rfind(b"\n\n") + 2
        if end == 1:
            self.rest = piece
            return b""
        ready, self.rest = (piece, b"") if end == len(piece) else (piece[:end], piece[end:])
        return self._take(ready)

    @abstractmethod
    def _take(self, ready: bytes) -> bytes:
        """Account for whole events, and leave out what the caller did not ask for."""

    def _broken(self) -> None:
        """The engine has broken the stream off; a provider's failure is known already."""
        self._exchange.error_code = self._exchange.error_code or "engine_error"
        self._exchange.usage.prompt = 0  # as for a replica that is lost: what was delivered counts


class Dialect(Protocol):
    tiers: Mapping[str, Tier]
    """What `service_tier` may be, and how urgent each is."""

    def user(self, document: dict[str, Any]) -> str | None:
        """The caller's own end user, as the body names them."""

    def answer(self, error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """The body and the headers of an answer that is this error."""

    def event(self, error: LorikeetError, exchange: Exchange) -> bytes:
        """The event that ends a stream which has failed on its way."""

    def counts(self, document: dict[str, Any]) -> Usage:
        """Of an answer that came as a whole."""

    def events(self, exchange: Exchange) -> Events:
        """What a stream's pieces go through."""

    def failure(self, first: bytes) -> bytes | None:
        """The engine's error, as JSON, where a stream begins with one."""
