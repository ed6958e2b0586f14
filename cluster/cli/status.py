"""`lorikeet status`: whether it runs, and every application, replica and adapter of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import typer

from cluster.cli.adapters import acknowledged, digest
from cluster.cli.api_key import key_file, key_for_home
from cluster.cli.connection import Connection, RequestFailed
from cluster.cli.home import settings_of
from cluster.cli.options import Home, Json, Key
from cluster.cli.output import note, print_json, say
from cluster.cli.table import Row, table
from cluster.embedded.record import ProductRecord, ProductState, is_running
from cluster.embedded.serve_api import ServeApi
from cluster.errors import Unavailable


def status(home: Home = None, key: Key = None, as_json: Json = False) -> None:
    """Show what runs on this home. Exit code 1 if nothing does."""
    found = state_of(settings_of(home).home, key)
    print_json(found) if as_json else _print(found)
    if found["url"] is None:
        raise typer.Exit(1)


def state_of(home: Path, key: str | None = None) -> dict[str, Any]:
    """All that is known of the product of a home; `url` is None where none runs."""
    record = ProductRecord.load(home)
    if not is_running(home):
        record = None
    found: dict[str, Any] = {
        "url": record.url if record else None,
        "ready": False,
        "state": str(record.state) if record else "stopped",
        "home": str(home),
        "key_file": str(key_file(home)),
        "applications": [],
        "replicas": [],
        "adapters": [],
    }
    if record is not None:
        found |= {
            "pid": record.pid,
            "dashboard": record.dashboard,
            "logs": record.logs,
            "startup": [{"part": p.part, "seconds": round(p.elapsed, 2)} for p in record.parts],
        }
        found |= _from_endpoint(Connection(record.url, key_for_home(key, home), local=True))
        _add_processes(found["applications"], record)
    return found


def _add_processes(applications: list[dict[str, Any]], record: ProductRecord) -> None:
    """Name every deployment's processes, which only Ray's own API tells."""
    if record.dashboard is None or record.ray_token_file is None:
        return
    try:
        api = ServeApi(record.dashboard, Path(record.ray_token_file))
        with contextlib.closing(api):
            processes = api.processes()
    except (Unavailable, OSError) as error:  # it is starting, or stopping
        note(f"The processes are not known: {error}")
        return
    for application in applications:
        for deployment in application.get("deployments") or []:
            place = (application["name"], deployment["name"])
            deployment["pids"] = processes.get(place, [])


def _from_endpoint(connection: Connection) -> dict[str, Any]:
    """What the router says of the cluster; why it does not, where it does not."""
    try:
        answer = connection.get("/status")
    except RequestFailed as error:
        return {"error": error.message}
    known = ("ready", "applications", "replicas", "adapters")
    return {name: answer[name] for name in known if name in answer}


def _print(found: dict[str, Any]) -> None:
    if found["url"] is None:
        say(f"Nothing runs on {found['home']}.")
        return
    say(f"{found['url']}  {_readiness(found)}")
    say(f"home {found['home']}, admin key in {found['key_file']}, pid {found['pid']}")
    if "error" in found:
        say(found["error"])
    for part, show in PARTS.items():
        if found[part]:
            say("")
            show(found[part])


def _readiness(found: dict[str, Any]) -> str:
    if found["ready"]:
        return "ready"
    # "ready" as a state is of the start alone: a replica may have gone since.
    started = found["state"] == ProductState.READY
    return "not ready" if started else f"{found['state']}, not ready"


def _deployments(application: Row) -> str:
    found = application.get("deployments") or []
    return ", ".join(f"{d.get('name')} {d.get('status', '')}".strip() for d in found)


def _pids(application: Row) -> str:
    found = application.get("deployments") or []
    return ", ".join(str(pid) for deployment in found for pid in deployment.get("pids", ()))


PARTS = {
    "applications": table(
        {"APPLICATION": "name", "STATUS": "status", "DEPLOYMENTS": _deployments, "PIDS": _pids}
    ),
    "replicas": table(
        {
            "MODEL": "model",
            "REPLICA": "replica",
            "PID": "pid",
            "NODE": lambda row: str(row.get("node"))[:8],
            "ADAPTERS": lambda row: len(row.get("adapters") or ()),
        }
    ),
    "adapters": table(
        {
            "ADAPTER": "name",
            "STATE": "state",
            "REPLICAS": acknowledged,
            "DIGEST": digest,
            "ERROR": "error",
        }
    ),
}
