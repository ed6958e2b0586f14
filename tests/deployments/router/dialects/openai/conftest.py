"""The world of `tests.cluster.jobs.world`, served."""

from tests.cluster.jobs.world import both, world
from tests.deployments.router.dialects.openai.serving import ann, bob, inferring

__all__ = ["ann", "bob", "both", "inferring", "world"]
