"""Models that are asked through a Serve handle and answer as a whole."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.catalog.replicas import Replica
from cluster.catalog.route import Route
from cluster.errors import Internal, Unavailable
from deployments.router.answer import RETRY_PAUSE, ConnectionLost, WholeAnswer
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.exchange import Beside, Exchange, Usage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a deployment, and what it is given."""

    deployment: str
    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    tokens: int
    document: dict[str, Any]


class Question(Protocol):
    """A request's body, checked."""

    def estimate(self, route: Route) -> int:
        """Tokens that it will cost, rather too many."""

    def beside(self, route: Route) -> Beside:
        """What its model reads more often than it is in the body."""

    def call(self, route: Route) -> Call:
        """What its model is asked. Raises InvalidRequest for what that model can't do."""

    def answer(self, told: Any, route: Route) -> Answered:
        """What the caller gets. Raises InvalidRequest for what the model did not take."""


Ask = Callable[[str, Call], Awaitable[Any]]
"""Asks the deployment of an application. Raises ConnectionLost where the replica asked is lost."""


class Replicas(Protocol):
    """As much of the pool as is used."""

    @property
    def models(self) -> Mapping[str, Sequence[Replica]]: ...

    async def present(self, model: str) -> None:
        """Wait for a replica of a model: Serve itself would queue without a bound."""


class ParseQuestion:
    def __init__(self, read: Callable[[dict[str, Any]], Question]) -> None:
        self._read = read

    async def __call__(self, exchange: Exchange) -> None:
        plan = exchange.plan
        assert plan is not None, "resolve comes before parse"
        own = next((one for one in plan.candidates if isinstance(one, Route)), None)
        if own is None:  # another provider says itself what it takes
            exchange.prompt_estimate = len(exchange.body) // BYTES_PER_TOKEN
        else:
            exchange.question = question = self._read(exchange.document)
            exchange.prompt_estimate = question.estimate(own)
            exchange.beside = question.beside(own)
        exchange.reserve = exchange.prompt_estimate


class Asking:
    """The sender for models that answer a question as a whole."""

    def __init__(self, ask: Ask, replicas: Replicas, retries: int) -> None:
        self._ask = ask
        self._replicas = replicas
        self._retries = retries

    async def send(self, exchange: Exchange) -> WholeAnswer:
        question, route = exchange.question, exchange.route
        assert question is not None, "parse comes before asking"
        assert isinstance(route, Route), "dispatch sends others elsewhere"
        call = question.call(route)
        await self._replicas.present(route.base.name)
        # Until the count comes: the model works on for a caller who leaves.
        exchange.usage.prompt = exchange.reserve
        try:
            told = await self._insist(route, call)
        except Exception:
            exchange.usage = Usage()
            raise
        exchange.usage = Usage()  # what is refused below costs nothing
        answered = question.answer(told, route)
        exchange.usage = Usage(prompt=answered.tokens)
        return WholeAnswer(orjson.dumps(answered.document, option=orjson.OPT_SERIALIZE_NUMPY))

    async def _insist(self, route: Route, call: Call) -> Any:
        """Ask, and where that replica is lost another one: the caller has heard nothing yet."""
        model, failures = route.base.name, 0
        while True:
            try:
                return await self._ask(route.base.application, call)
            except ConnectionLost as error:
                failures += 1
                # Where there is no other, Serve would hold the call until it has started one.
                others = len(self._replicas.models.get(model, ())) - 1
                if failures > min(self._retries, others):
                    raise Unavailable(
                        f"{model!r} failed {failures} times before it answered.", retry_after=5.0
                    ) from error
            await asyncio.sleep(random.uniform(0.5, 1.5) * RETRY_PAUSE * 2**failures / 2)


async def ask_deployment(application: str, call: Call) -> Any:
    """Raises Unavailable where no replica of the application can take the call, ConnectionLost
    where the one that had it is lost, Internal where the method itself failed."""
    try:
        handle = serve.get_deployment_handle(call.deployment, application)
    except KeyError as error:  # the application is gone, and the catalogue has not yet seen it
        raise Unavailable("The model is not deployed.", retry_after=5.0) from error
    try:
        return await getattr(handle, call.method).remote(*call.arguments)
    except BackPressureError as error:
        raise Unavailable("All replicas of the model are full.", retry_after=1.0) from error
    except RayServeException as error:
        raise Unavailable("The model is not ready.", retry_after=5.0) from error
    except RayTaskError as error:  # before the next: what a method raises is of its own class too
        log.exception("%s.%s of %s", call.deployment, call.method, application)
        raise Internal("The model failed to answer.") from error
    except RayActorError as error:
        raise ConnectionLost from error
