"""Serve through Ray's REST API: what `serve deploy`, `serve status` and `serve shutdown` use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.errors import ConfigurationError, Unavailable

PATH = "/api/serve/applications/"


@dataclass(frozen=True)
class ApplicationStatus:
    name: str
    status: str
    message: str

    @property
    def is_running(self) -> bool:
        return self.status == "RUNNING"

    @property
    def cause(self) -> str:
        """The last line that names an exception: the one of our own code, not Serve's around it."""
        lines = self.message.strip().splitlines() or ["no reason given"]
        named = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Error|Exception): ", line)]
        return (named or lines)[-1]

    @property
    def has_failed(self) -> bool:
        return self.status == "DEPLOY_FAILED"


class ServeApi:
    def __init__(self, dashboard: str, token_file: Path) -> None:
        self._http = httpx.Client(
            base_url=dashboard,
            headers={"Authorization": f"Bearer {token_file.read_text().strip()}"},
            trust_env=False,  # a proxy for the outer world has no part in this
        )

    def deploy(self, config: dict[str, Any], timeout: float) -> None:
        """Start Serve and what `config` names; returns before the applications are ready.

        Raises ConfigurationError where Serve refuses the configuration.
        """
        answer = self._call("PUT", timeout, json=config)
        if answer.status_code == 400:
            raise ConfigurationError(f"Serve refuses the configuration: {answer.text}")
        if answer.is_error:
            raise Unavailable(f"Serve did not start: {answer.text}")

    def applications(self) -> list[ApplicationStatus]:
        return [
            ApplicationStatus(name, found["status"], _message(found))
            for name, found in self._applications().items()
        ]

    def processes(self) -> dict[tuple[str, str], list[int]]:
        """The process ids of each deployment's replicas, by application and deployment."""
        return {
            # One that is just coming has none yet.
            (name, deployment): [
                pid for replica in parts["replicas"] if (pid := replica.get("pid"))
            ]
            for name, found in self._applications().items()
            for deployment, parts in found.get("deployments", {}).items()
        }

    def _applications(self) -> dict[str, Any]:
        answer = self._call("GET", 30)
        if answer.is_error:
            raise Unavailable(f"Serve does not say how it is: {answer.text}")
        found: dict[str, Any] = answer.json().get("applications", {})
        return found

    def shutdown(self, timeout: float) -> None:
        """Stop all applications: replicas finish what they are at."""
        self._call("DELETE", timeout)

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, timeout: float, **parameters: Any) -> httpx.Response:
        try:
            return self._http.request(method, PATH, timeout=timeout, **parameters)
        except httpx.HTTPError as error:
            raise Unavailable(f"Ray does not answer: {error or type(error).__name__}") from error


def _message(found: dict[str, Any]) -> str:
    """What the application and its deployments say, without colours."""
    parts = [found, *found.get("deployments", {}).values()]
    text = "\n".join(str(part["message"]) for part in parts if part.get("message"))
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
