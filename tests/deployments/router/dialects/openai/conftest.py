"""The world of `tests.cluster.jobs.world`, served."""

from tests.cluster.jobs.world import world
from tests.deployments.router.dialects.openai.serving import ann, bob, inferring

__all__ = ["ann", "bob", "inferring", "world"]
