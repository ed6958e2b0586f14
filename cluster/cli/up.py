"""`lorikeet up`: start everything on this machine, in the foreground or detached."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.api_key import admin_key, key_file
from cluster.cli.home import settings_of
from cluster.cli.options import Home, Json
from cluster.cli.output import note, print_json, say
from cluster.cli.startup_display import StartupDisplay
from cluster.cli.status import state_of
from cluster.embedded.folders import private_folder
from cluster.embedded.ports import require_free
from cluster.embedded.product import Product, StopRequested, on_stop_signal
from cluster.embedded.ray_head import tail
from cluster.embedded.record import ProductRecord, ProductState, home_lock, run_folder
from cluster.embedded.serve_config import at_address, chat_model, default_config, read_config
from cluster.errors import Unavailable


def up(
    home: Home = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the endpoint.", show_default="8000"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Serve configuration, if not the one that comes along.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when ready; stop it with `down`.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until ready, at most.")] = 900.0,
    as_json: Json = False,
    child: Annotated[bool, typer.Option("--detached-child", hidden=True)] = False,
) -> None:
    """Start Ray, the stores and all that the Serve configuration names, on this machine.

    With --json print what `status` prints once it is ready, without the key itself.
    """
    path = (config or default_config()).resolve()
    wanted = at_address(read_config(path), host, port)
    settings = settings_of(home)

    def tell_ready() -> None:
        if as_json:
            print_json(state_of(settings.home))
            sys.stdout.flush()
        else:
            _print_summary(settings.home, chat_model(wanted), detached=detach)

    try:
        if detach:
            http = wanted["http_options"]
            options = [f"--config={path}", f"--timeout={timeout}"]
            _start_detached(options, settings.home, http["host"], http["port"])
            tell_ready()
            return
        product = Product(settings, wanted, cwd=path.parent)
        display = StartupDisplay(lambda: product.record)
        with on_stop_signal(), product.running(display, timeout):
            if not child:
                tell_ready()
            product.watch()
    except StopRequested as stop:
        note("Stopped.")
        raise typer.Exit(stop.exit_code) from None


def _start_detached(options: list[str], home: Path, host: str, port: int) -> None:
    """Start the same command in a session of its own; return when it is ready.

    Raises Conflict, ConfigurationError or Unavailable with its last words.
    """
    private_folder(home)
    with home_lock(home):
        require_free(host, port)  # both are: else say so before anything is started
    log = private_folder(run_folder(home)) / "up.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "cluster.cli.app", "up", "--detached-child"]
        child = subprocess.Popen(
            [*command, f"--home={home}", f"--host={host}", f"--port={port}", *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def record() -> ProductRecord | None:
        found = ProductRecord.load(home)
        return found if found and found.pid == child.pid else None

    try:
        with on_stop_signal(), StartupDisplay(record) as display:
            while child.poll() is None:
                display.tell()
                if (now := record()) is not None and now.state is ProductState.READY:
                    return
                time.sleep(0.2)
    except StopRequested:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    last = record()
    raise Unavailable(last.error if last and last.error else f"The start failed.\n{tail(log)}")


def _print_summary(home: Path, model: str | None, *, detached: bool) -> None:
    record = ProductRecord.load(home)
    assert record is not None, "it has just become ready"
    seconds = max(p.started + p.elapsed for p in record.parts) - record.parts[0].started
    say("")
    say(f"Lorikeet is ready at {record.url}/v1 after {seconds:.0f} s.")
    if (key := admin_key(home)) is not None:
        say(f"Admin key  {key}")
        say(f"Kept in    {key_file(home)}")
        shell = f"$(cat {shlex.quote(str(key_file(home)))})"
    else:
        say("The admin key is in the home that first used this database.")
        shell = "$LORIKEET_API_KEY"
    if model is not None:
        say("")
        say(_curl(record.url, shell, model))
    say("")
    stop = f"`lorikeet down --home {shlex.quote(str(home))}`" if detached else "Ctrl-C"
    say(f"Stop it with {stop}.")


def _curl(url: str, key: str, model: str) -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    authorization = f'"Authorization: Bearer {key}"'
    return (
        f"curl {url}/v1/chat/completions -H {authorization} "
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
