"""The worlds of `tests.cluster.jobs.world`."""

from tests.cluster.jobs.world import both, world

__all__ = ["both", "world"]
