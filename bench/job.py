"""What a load generator is told, and what it tells."""

from dataclasses import dataclass, field

from bench.chat import TOKENS, Endpoint
from bench.quantile import quantile


@dataclass(frozen=True)
class Job:
    """What to send, how hard and for how long: `parallel` callers, or `rate` requests a second."""

    host: str
    port: int
    model: str
    key: str
    stream: bool
    parallel: int
    seconds: float
    warmup: int = 2
    timeout: float = 60.0
    rate: float = 0.0
    tokens: int = TOKENS
    adapters: tuple[str, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        """Where the load goes."""
        return Endpoint(self.host, self.port, self.model, self.key, tuple(self.adapters))


@dataclass(frozen=True)
class Tally:
    """What one load measured. Times are milliseconds; a list is p50, p99 (empty: none seen)."""

    requests: int
    rate: float
    ttft: list[float]
    latency: list[float]
    events: float
    errors: dict[str, int]
    late: list[float] = field(default_factory=list)
    """How long after its time a request of an open loop was sent: the generator's own fault."""


def spread(seconds: list[float]) -> list[float]:
    """p50 and p99 in milliseconds."""
    return [1000 * quantile(seconds, share) for share in (0.5, 0.99)] if seconds else []
