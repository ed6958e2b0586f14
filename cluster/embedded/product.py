"""One product on one machine: started part by part, watched, stopped in order."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import httpx

from cluster.embedded.folders import private_folder
from cluster.embedded.instance import sweep
from cluster.embedded.ports import PortBlock, port_block, require_free
from cluster.embedded.ray_head import RayHead, tail
from cluster.embedded.record import (
    Part,
    ProductRecord,
    ProductState,
    home_lock,
    run_folder,
    write_whole,
)
from cluster.embedded.serve_api import ServeApi
from cluster.errors import LorikeetError, Unavailable
from cluster.settings import Settings, write_secret

DRAIN_SECONDS = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """A signal asked us to stop. Raised wherever the start happens to be."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 130 if number == signal.SIGINT else 0


class Display(AbstractContextManager[object], Protocol):
    """Shows the start to somebody while it is entered. `tell` follows each change of the record."""

    def tell(self) -> None: ...


class Product:
    """Holds a home from `run`'s first line to its last. `record` says how far it is."""

    def __init__(self, settings: Settings, config: dict[str, Any], cwd: Path) -> None:
        http = config["http_options"]
        self.host: str = http["host"]
        self.port: int = http["port"]
        self.settings = settings
        self.record = ProductRecord(pid=0, instance=uuid.uuid4().hex, url=self.url)
        self._config = config
        self._cwd = cwd
        self._tell: Callable[[], None] = lambda: None
        self._ray: RayHead | None = None
        self._serve: ServeApi | None = None

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"

    @contextmanager
    def running(self, display: Display, timeout: float) -> Iterator[None]:
        """Started and ready within the block; stopped, and swept, however it is left.

        Raises Conflict, ConfigurationError or Unavailable where the start fails.
        """
        home = private_folder(self.settings.home)
        with ExitStack() as held:
            held.enter_context(home_lock(home))
            self._sweep_the_last_one()
            require_free(self.host, self.port)
            ports = held.enter_context(port_block(home, besides=self.port))
            self._tell = display.tell
            self.record.pid = os.getpid()
            self.record.save(home)
            try:
                with display:
                    self._start(ports, time.monotonic() + timeout)
                yield
            except LorikeetError as error:
                self.record.error = error.message
                raise
            finally:
                self._stop()

    def watch(self) -> None:
        """Return never, unless a part ends by itself: then raise Unavailable."""
        assert self._ray is not None
        while self._ray.is_alive():
            time.sleep(0.5)
        raise Unavailable(f"Ray ended unexpectedly.\n{tail(self._ray.log)}")

    def _sweep_the_last_one(self) -> None:
        last = ProductRecord.load(self.settings.home)
        if last is not None:
            sweep(last.instance)
            ProductRecord.remove(self.settings.home)

    def _start(self, ports: PortBlock, deadline: float) -> None:
        began = time.time()
        ray = self._ray = RayHead(self.settings, ports, self.record.instance, self._cwd)
        write_secret(ray.token_file, uuid.uuid4().hex + uuid.uuid4().hex)
        self.record.dashboard, self.record.ray_address = ray.dashboard, ray.address
        self.record.ray_token_file = str(ray.token_file)
        self.record.logs = str(ray.folder / "session_latest" / "logs")
        with self._part("ray"):
            ray.start()
            # The stores need a second of this process while Ray needs several of its own.
            with self._part("stores"):
                # Here, not above: SQL is most of the import time of every other command.
                from cluster.embedded.stores import prepare_stores

                prepare_stores(self.settings)
            ray.wait(_left(deadline))
        self._serve = ServeApi(ray.dashboard, ray.token_file)
        with self._part("serve"):
            self._serve.deploy(self._config, _left(deadline))
        self._await_applications(deadline)
        with self._part("ready"):
            self._await_ready(deadline)
        self.record.state = ProductState.READY
        self.record.save(self.settings.home)
        times = [{"part": p.part, "seconds": round(p.elapsed, 2)} for p in self.record.parts]
        times.append({"part": "total", "seconds": round(time.time() - began, 2)})
        write_whole(run_folder(self.settings.home) / "startup.json", json.dumps(times, indent=1))

    def _await_applications(self, deadline: float) -> None:
        assert self._serve is not None
        waiting = {a["name"]: self._begin(a["name"]) for a in self._config["applications"]}
        while waiting:
            for found in self._serve.applications():
                if (part := waiting.get(found.name)) is None:
                    continue
                part.detail = found.status.lower().replace("_", " ")
                if found.has_failed:
                    raise Unavailable(
                        f"The application {found.name} failed: {found.cause}\n{found.message}\n"
                        f"Its logs are in {self.record.logs}/serve."
                    )
                if found.is_running:
                    self._end(waiting.pop(found.name))
            self._check(deadline, f"waiting for {', '.join(waiting)}")

    def _await_ready(self, deadline: float) -> None:
        answer = "no answer"
        while True:
            with suppress(httpx.HTTPError):
                response = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False)
                if response.is_success:
                    return
                answer = f"{response.status_code} {response.text[:500]}"
            self._check(deadline, f"/readyz: {answer}")

    def _check(self, deadline: float, waiting_for: str) -> None:
        assert self._ray is not None
        if not self._ray.is_alive():
            raise Unavailable(f"Ray ended unexpectedly.\n{tail(self._ray.log)}")
        if _left(deadline) <= 0.1:
            raise Unavailable(f"Not ready in time: {waiting_for}. Logs: {self.record.logs}")
        time.sleep(0.25)

    def _stop(self) -> None:
        """Serve first, so that replicas finish what they are at; then Ray; then what is left."""
        failed = self.record.error is not None
        self.record.state = ProductState.FAILED if failed else ProductState.STOPPING
        try:
            with on_stop_signal():
                self.record.save(self.settings.home)
                if self._ray is not None:
                    if self._serve is not None and self._ray.is_alive():
                        # A Serve that does not answer is ended with Ray.
                        with suppress(LorikeetError):
                            self._serve.shutdown(DRAIN_SECONDS)
                        self._serve.close()
                    self._ray.stop()
                sweep(self.record.instance)
        except StopRequested:
            sweep(self.record.instance, grace=0)
        if failed:
            self.record.save(self.settings.home)
        else:
            ProductRecord.remove(self.settings.home)

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        part = self._begin(name)
        yield
        self._end(part)

    def _begin(self, name: str) -> Part:
        part = Part(part=name, started=time.time())
        self.record.parts.append(part)
        self.record.save(self.settings.home)
        return part

    def _end(self, part: Part) -> None:
        part.seconds, part.detail = round(part.elapsed, 2), ""
        self.record.save(self.settings.home)
        self._tell()


@contextmanager
def on_stop_signal() -> Iterator[None]:
    """Within the block, the first signal to stop raises StopRequested; until the next such block
    more of them change nothing."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, lambda _number, _frame: None)
        raise StopRequested(number)

    for each in STOP_SIGNALS:
        signal.signal(each, stop)
    yield


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
