"""How many replicas a deployment has and what each gets, as `serve_config.yaml` says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.errors import ConfigurationError


class Strict(BaseModel):
    """Arguments in `serve_config.yaml`: a key that is not known is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Raises ConfigurationError naming each wrong field, its value and what is allowed."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(
                f"args.{'.'.join(map(str, e['loc']))}={e['input']!r}: {e['msg']}"
                for e in error.errors()
            )
            raise ConfigurationError(wrong) from error


class Autoscaling(Strict):
    """Replicas follow the load: `target` requests running or waiting in each."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)
    target: float = Field(16.0, gt=0)
    upscale_delay: float = Field(10.0, ge=0)
    downscale_delay: float = Field(300.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"autoscaling.max is {self.max}, under autoscaling.min {self.min}")
        return self


class Resources(Strict):
    """Of one replica. `memory` in bytes."""

    cpus: float = Field(0.1, ge=0)
    gpus: float = Field(0, ge=0)
    memory: int | None = Field(None, ge=0)

    def actor_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if self.memory is not None:
            options["memory"] = self.memory
        return options


class Scale(Strict):
    """`replicas` fixed, or `autoscaling`."""

    replicas: int = Field(1, ge=1)
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    surge: bool | None = None
    """Whether, when the deployment changes, a successor is ready before its predecessor stops. That
    takes the resources of one more replica for a while: without them it waits for ever. By default
    yes, unless a replica has GPUs."""

    def options(self, policy: str | None = None) -> dict[str, Any]:
        """Keyword arguments of `Deployment.options`. `policy` replaces Serve's own scaling rule."""
        surge = self.resources.gpus == 0 if self.surge is None else self.surge
        chosen: dict[str, Any] = {
            "ray_actor_options": self.resources.actor_options(),
            # A percentage, rounded up: one replica, as a rolling update replaces them one by one.
            "max_surge_percent": 1 if surge else 0,
        }
        if self.autoscaling is None:
            return chosen | {"num_replicas": self.replicas}
        scaling: dict[str, Any] = {
            "min_replicas": self.autoscaling.min,
            "max_replicas": self.autoscaling.max,
            "target_ongoing_requests": self.autoscaling.target,
            "upscale_delay_s": self.autoscaling.upscale_delay,
            "downscale_delay_s": self.autoscaling.downscale_delay,
        }
        if policy is not None:
            scaling["policy"] = {"policy_function": policy}
        return chosen | {"autoscaling_config": scaling}
