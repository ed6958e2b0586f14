"""The body of a new fine-tune: OpenAI's shape, with more hyperparameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from cluster.errors import InvalidRequest
from cluster.jobs.request import JobRequest
from cluster.jobs.spec import Auto, Method, TrainingSpec
from deployments.router.dialects.openai.body import Body


def _whole(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError('it must be a whole number or "auto"')


def _number(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError('it must be a number or "auto"')
    try:
        return float(value)
    except OverflowError:
        raise ValueError("it is too large") from None


def _modules(value: object) -> object:
    if value == "all-linear" or (
        isinstance(value, list)
        and len(value) <= MAX_MODULES
        and all(isinstance(module, str) for module in value)
    ):
        return value
    raise ValueError(f'it must be "all-linear" or a list of at most {MAX_MODULES} names')


MAX_MODULES = 64
# One validator for each union: pydantic's own would name the union's branches as fields.
Whole = Annotated[int | Auto, PlainValidator(_whole, json_schema_input_type=int | Auto)]
Number = Annotated[float | Auto, PlainValidator(_number, json_schema_input_type=float | Auto)]
Modules = Annotated[
    list[str] | Literal["all-linear"],
    PlainValidator(_modules, json_schema_input_type=list[str] | Literal["all-linear"]),
]


class Hyperparameters(Body):
    """OpenAI's three, then this product's own. Bounds are the domain's."""

    n_epochs: Whole = "auto"
    batch_size: Whole = "auto"
    learning_rate_multiplier: Number = "auto"

    training_method: Method = Method.LORA
    learning_rate: Number = "auto"
    rank: Whole = "auto"
    alpha: Whole = "auto"
    dropout: float = Field(0.0, strict=True)
    target_modules: Modules = "all-linear"
    max_length: Whole = "auto"
    warmup_steps: Whole = "auto"
    zero_stage: Literal[0, 1, 2, 3] = 2
    num_workers: Whole = "auto"
    checkpoint_steps: Whole = "auto"


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


class MethodBody(Body):
    type: str
    supervised: Supervised | None = None
    dpo: dict[str, Any] | None = None
    reinforcement: dict[str, Any] | None = None


class CreateJob(Body):
    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = Field(None, strict=True)
    hyperparameters: Hyperparameters | None = None
    method: MethodBody | None = None
    metadata: dict[str, str] | None = None
    integrations: list[dict[str, Any]] | None = None

    def job_request(self, idempotency_key: str | None) -> JobRequest:
        """Raises InvalidRequest for what OpenAI has and this product has not."""
        if self.integrations:
            raise InvalidRequest(
                "integrations are not supported; leave the field out.", param="integrations"
            )
        given = self._hyperparameters() or Hyperparameters()
        values = given.model_dump(exclude={"training_method"})
        return JobRequest(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            suffix=self.suffix,
            spec=TrainingSpec(
                method=given.training_method,
                **values,
                **({} if self.seed is None else {"seed": self.seed}),
            ),
            metadata=self.metadata,
            idempotency_key=idempotency_key,
        )

    @contextlib.contextmanager
    def named_as_sent(self) -> Iterator[None]:
        """An error within, which names a hyperparameter, names it by the path that it came by."""
        try:
            yield
        except InvalidRequest as error:
            path = error.param or ""
            supervised = self.method and self.method.supervised
            nested = supervised and supervised.hyperparameters
            if not nested or not path.startswith("hyperparameters."):
                raise
            sent = f"method.supervised.{path}"
            message = error.message.replace(path, sent, 1)
            raise InvalidRequest(message, param=sent, code=error.code) from None

    def _hyperparameters(self) -> Hyperparameters | None:
        if self.method is None:
            return self.hyperparameters
        if self.method.type != "supervised":
            raise InvalidRequest(
                f"method.type is {self.method.type[:40]!r}; only 'supervised' is supported.",
                param="method.type",
            )
        nested = self.method.supervised and self.method.supervised.hyperparameters
        if nested and self.hyperparameters and nested != self.hyperparameters:
            raise InvalidRequest(
                "hyperparameters differ from method.supervised.hyperparameters; send one of them.",
                param="hyperparameters",
            )
        return nested or self.hyperparameters
