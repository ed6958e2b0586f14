"""`lorikeet status`: whether it runs, and every application, replica and adapter of it."""

from __future__ import annotations

from typing import Any

import httpx
import typer

from cluster.cli.connection import Connection, RequestFailed, admin_key, settings_of
from cluster.cli.options import Home, Json, Key
from cluster.cli.output import print_json, print_table, say
from cluster.embedded.record import ProductRecord, is_running


def status(home: Home = None, key: Key = None, as_json: Json = False) -> None:
    """Show what runs on this home. Exit code 1 if nothing does."""
    here = settings_of(home).home
    record = ProductRecord.load(here)
    running = record is not None and is_running(here)
    found: dict[str, Any] = {
        "url": record.url if record and running else None,
        "ready": False,
        "state": str(record.state) if record and running else "stopped",
        "home": str(here),
        "key_file": str(here / "admin.key"),
        "applications": [],
        "replicas": [],
        "adapters": [],
    }
    if record and running:
        found |= {
            "pid": record.pid,
            "dashboard": record.dashboard,
            "logs": record.logs,
            "startup": [{"part": p.part, "seconds": round(p.elapsed, 2)} for p in record.parts],
        }
        found |= _from_endpoint(record.url, key or admin_key(here))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not running:
        raise typer.Exit(1)


def _from_endpoint(url: str, key: str | None) -> dict[str, Any]:
    """What the router says of the cluster; why it does not, where it does not."""
    try:
        answer = Connection(url, key).get("/status", timeout=10)
    except (httpx.HTTPError, RequestFailed) as error:
        return {"error": f"{url}/status: {error or type(error).__name__}"}
    known = ("ready", "applications", "replicas", "adapters")
    return {name: answer[name] for name in known if name in answer}


def _print(found: dict[str, Any]) -> None:
    if found["url"] is None:
        say(f"Nothing runs on {found['home']}.")
        return
    say(f"{found['url']}  {'ready' if found['ready'] else found['state'] + ', not ready'}")
    say(f"home {found['home']}, admin key in {found['key_file']}, pid {found['pid']}")
    if "error" in found:
        say(str(found["error"]))
    if found["applications"]:
        say("")
        print_table(
            ("APPLICATION", "STATUS", "DEPLOYMENTS"),
            (
                (a["name"], a["status"], ", ".join(map(_deployment, a.get("deployments") or [])))
                for a in found["applications"]
            ),
        )
    if found["replicas"]:
        say("")
        print_table(
            ("MODEL", "REPLICA", "PID", "NODE", "ADAPTERS"),
            (
                (r["model"], r["replica"], r["pid"], str(r["node"])[:8], len(r["adapters"]))
                for r in found["replicas"]
            ),
        )
    if found["adapters"]:
        say("")
        print_table(
            ("ADAPTER", "STATE", "REPLICAS", "DIGEST", "ERROR"),
            (
                (
                    a["name"],
                    a["state"],
                    f"{a['acknowledged']}/{a['replicas']}",
                    str(a["digest"])[:12],
                    a.get("error"),
                )
                for a in found["adapters"]
            ),
        )


def _deployment(deployment: Any) -> str:
    if not isinstance(deployment, dict):
        return str(deployment)
    return f"{deployment.get('name')} {deployment.get('status', '')}".strip()
