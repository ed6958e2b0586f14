"""Who asks a model through a Serve handle, with doubles in place of Serve."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cluster.catalog.base_models import BaseModel
from cluster.catalog.replicas import Replica
from cluster.catalog.route import Plan, Route
from deployments.router.asked.ask import Asking, Call, Question
from deployments.router.exchange import Exchange
from deployments.router.steps.dispatch import Dispatch
from deployments.router.steps.stream import Stream


class Caller:
    """An exchange whose answer is kept, and a deployment that answers `told`."""

    def __init__(self, model: BaseModel, told: Any = None, *behind: BaseModel) -> None:
        """`behind`: models that are asked where `model` can't answer."""
        self.model = model
        self.behind = behind
        self.told = told
        self.patience: float | None = None
        self.error: Exception | None = None
        self.replicas = 1
        self.calls: list[Call] = []
        self.applications: list[str] = []
        self.sent: list[Any] = []
        self.exchange: Exchange

    async def ask(self, application: str, call: Call) -> Any:
        self.calls.append(call)
        self.applications.append(application)
        if self.error is not None and application == self.model.application:
            raise self.error
        return self.told

    @property
    def models(self) -> dict[str, list[Replica]]:
        return {self.model.name: [Replica(self.model.name, "r", "n", 1, "a", "")] * self.replicas}

    async def present(self, model: str) -> None:
        assert model in {one.name for one in (self.model, *self.behind)}

    async def post(self, question: Question) -> Any:
        """The answer's document."""

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            self.sent.append(message)

        exchange = self.exchange = Exchange("/v1/embeddings", {"headers": []}, receive, send)
        exchange.reserve = 30
        exchange.question = question
        routes = [Route(one.name, one, one.name) for one in (self.model, *self.behind)]
        exchange.plan = Plan(tuple(routes), patience=self.patience)
        try:
            await Dispatch({Route: Asking(self.ask, self, retries=2)})(exchange)
            await Stream()(exchange)
        finally:
            for give_back in exchange.cleanup:
                give_back()
        return json.loads(self.sent[-1]["body"])
