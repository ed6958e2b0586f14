"""Steps 3, 6 and 7 for models that are asked through a Serve handle: parse, ask, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.catalog.route import Route
from cluster.errors import LorikeetError, Unavailable
from deployments.router.dispatch import elsewhere
from deployments.router.exchange import Exchange, Usage
from deployments.router.presence import watch
from deployments.router.stream import JSON


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
        assert isinstance(exchange.route, Route), "resolve finds a model that is asked so"
        exchange.question = question = self._read(exchange.document)
        exchange.reserve = question.estimate(exchange.route)


class Asking:
    def __init__(self, ask: Ask, present: Callable[[str], Awaitable[None]]) -> None:
        """`present` waits for a replica of a model: Serve itself would queue without a bound."""
        self._ask = ask
        self._present = present

    async def __call__(self, exchange: Exchange) -> None:
        plan = exchange.plan
        assert plan is not None, "resolve comes before asking"
        watch(exchange)
        *others, last = plan.candidates
        for candidate in others:
            exchange.route = candidate
            try:
                async with asyncio.timeout(plan.patience):
                    answered = await self._answered(exchange)
                break
            except TimeoutError:
                continue
            except LorikeetError as error:
                if not elsewhere(error):
                    raise
        else:
            exchange.route = last
            answered = await self._answered(exchange)
        exchange.first_token_at = time.perf_counter()
        exchange.usage = Usage(prompt=answered.tokens)
        content = orjson.dumps(answered.document, option=orjson.OPT_SERIALIZE_NUMPY)
        await exchange.start(200, [JSON, (b"content-length", str(len(content)).encode())])
        await exchange.write(content, more=False)

    async def _answered(self, exchange: Exchange) -> Answered:
        question, route = exchange.question, exchange.route
        assert question is not None, "parse comes before asking"
        assert isinstance(route, Route), "resolve finds models that are asked so"
        call = question.call(route)
        exchange.usage = Usage()
        await self._present(route.base.name)
        # Until the count comes: the model works on for a caller who leaves.
        exchange.usage.prompt = exchange.reserve
        try:
            told = await self._ask(route.base.application, call)
        except Exception:
            exchange.usage = Usage()
            raise
        exchange.usage = Usage()  # what is refused below costs nothing
        return question.answer(told, route)


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
