"""Models that are asked through a Serve handle and answer as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.catalog.route import Route
from cluster.errors import Unavailable
from deployments.router.answer import WholeAnswer
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.exchange import Beside, Exchange, Usage


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
"""Asks the deployment of an application."""


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

    def __init__(self, ask: Ask, present: Callable[[str], Awaitable[None]]) -> None:
        """`present` waits for a replica of a model: Serve itself would queue without a bound."""
        self._ask = ask
        self._present = present

    async def send(self, exchange: Exchange) -> WholeAnswer:
        question, route = exchange.question, exchange.route
        assert question is not None, "parse comes before asking"
        assert isinstance(route, Route), "dispatch sends others elsewhere"
        call = question.call(route)
        await self._present(route.base.name)
        # Until the count comes: the model works on for a caller who leaves.
        exchange.usage.prompt = exchange.reserve
        try:
            told = await self._ask(route.base.application, call)
        except Exception:
            exchange.usage = Usage()
            raise
        exchange.usage = Usage()  # what is refused below costs nothing
        answered = question.answer(told, route)
        exchange.usage = Usage(prompt=answered.tokens)
        return WholeAnswer(orjson.dumps(answered.document, option=orjson.OPT_SERIALIZE_NUMPY))


async def ask_deployment(application: str, call: Call) -> Any:
    """Raises Unavailable where no replica of the application can take the call."""
    try:
        handle = serve.get_deployment_handle(call.deployment, application)
    except KeyError as error:  # the application is gone, and the catalogue has not yet seen it
        raise Unavailable("The model is not deployed.", retry_after=5.0) from error
    try:
        return await getattr(handle, call.method).remote(*call.arguments)
    except BackPressureError as error:
        raise Unavailable("All replicas of the model are full.", retry_after=1.0) from error
    except (RayActorError, RayServeException) as error:
        raise Unavailable("The model is not ready.", retry_after=5.0) from error
