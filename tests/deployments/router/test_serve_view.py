"""The controller is asked once for all, and one that hangs or fails is a 503."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ServeStatus

from cluster.errors import Unavailable
from deployments.router import serve_view
from deployments.router.serve_view import ServeView


class Controller:
    """Answers once `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0
        self.error: Exception | None = None

    def status(self) -> ServeStatus:
        self.asked += 1
        self.go.wait(20)
        if self.error is not None:
            raise self.error
        return ServeStatus()


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    made = Controller()
    monkeypatch.setattr(serve, "status", made.status)
    yield made
    made.go.set()


async def test_all_wait_for_one_answer(controller: Controller) -> None:
    view = ServeView()
    readers = [asyncio.create_task(view.read()) for _ in range(20)]
    await asyncio.sleep(0)
    controller.go.set()
    assert len({id(status) for status in await asyncio.gather(*readers)}) == 1
    await view.read()
    assert controller.asked == 1


async def test_a_controller_that_hangs_holds_one_thread(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_view, "PATIENCE", 0.05)
    view = ServeView()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await view.read()
    assert controller.asked == 1


async def test_a_controller_that_fails_is_asked_again(controller: Controller) -> None:
    controller.go.set()
    controller.error = RayError("gone")
    view = ServeView()
    with pytest.raises(Unavailable):
        await view.read()
    controller.error = None
    assert isinstance(await view.read(), ServeStatus)
