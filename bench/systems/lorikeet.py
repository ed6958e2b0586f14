"""Lorikeet, started as a user starts it: `lorikeet up`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from bench.chat import Endpoint
from bench.systems.family import Family, answers, free_port
from bench.systems.limits import switch_on

ROOT = Path(__file__).resolve().parents[2]


class Lorikeet:
    """One detached Lorikeet in a home folder of its own.

    Its engine settings are those of its `serve_config.yaml`, which are `Engine`'s defaults.
    `limited` puts limits on its requests, which a new home has none of.
    """

    name = "lorikeet"

    def __init__(
        self,
        home: Path,
        folder: Path,
        model: str = "budgie",
        *,
        limited: bool = False,
        config: Path | None = None,
        adapters: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`config` in the place of the product's own; `adapters` are folders, named by their names.

        `variables` are environment variables of all its processes.
        """
        self.home = home
        self.model = model
        self.limited = limited
        self.config = config
        self.adapters = adapters
        # The packages of this checkout, wherever the configuration lies.
        self.variables = {"PYTHONPATH": str(ROOT), **(variables or {})}
        self.family = Family(self.name, folder)
        self.port = free_port()
        self.command = str(Path(sys.executable).with_name("lorikeet"))
        self.up = False

    @property
    def endpoint(self) -> Endpoint:
        """Its front door, with the admin key that the first start wrote."""
        key = (self.home / "admin.key").read_text().strip()
        names = tuple(folder.name for folder in self.adapters)
        return Endpoint("127.0.0.1", self.port, self.model, key, names)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        if not Path(self.command).is_file():
            raise RuntimeError(f"{self.command} is not there: install the project first (make)")
        self.up = True
        where = ["--home", str(self.home), "--port", str(self.port)]
        if self.config is not None:
            where.append(f"--config={self.config}")
        self.family.run([self.command, "up", "--detach", *where], self.variables, timeout=960)
        self.family.await_ready(lambda: answers(f"http://127.0.0.1:{self.port}/readyz"))
        for adapter in self.adapters:
            given = [str(adapter), "--name", adapter.name, "--base", self.model]
            where = ["--home", str(self.home)]
            self.family.run([self.command, "adapters", "add", *given, *where], {}, timeout=120)
        if self.limited:
            switch_on(self.endpoint)

    def stop(self) -> None:
        """Stop it by its own command, then end what that left."""
        try:
            if self.up:
                down = [self.command, "down", "--home", str(self.home)]
                self.family.run(down, {}, timeout=180)
        finally:
            self.up = False
            self.family.stop()

    def processes(self) -> list[psutil.Process]:
        """Everything that `lorikeet up` left running."""
        return self.family.processes()
