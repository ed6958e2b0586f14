"""What the benchmark asks of a system."""

from typing import Protocol

import psutil

from bench.chat import Endpoint


class System(Protocol):
    """Something that serves the model over the OpenAI API on a loopback port."""

    @property
    def name(self) -> str:
        """Its name in the tables."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers, once started."""

    def start(self) -> None:
        """Start it and return when it is ready."""

    def stop(self) -> None:
        """End every process it started; harmless if it never started."""

    def processes(self) -> list[psutil.Process]:
        """Every process that takes part in answering, also those it shares."""
