"""The endpoint as the commands see it: an address, a key, and errors in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from cluster.embedded.record import ProductRecord, is_running
from cluster.errors import ConfigurationError, LorikeetError
from cluster.settings import Settings, settings


def settings_of(home: Path | None) -> Settings:
    """The settings with `home` in place of LORIKEET_HOME, for this process and its children."""
    if home is not None:
        os.environ["LORIKEET_HOME"] = str(home.expanduser().resolve())
        settings.cache_clear()
    return settings()


class RequestFailed(LorikeetError):
    """The endpoint refused, in its own words."""


class Connection:
    """A client of one endpoint. Raises RequestFailed for every answer that is not a success."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(600.0, connect=10.0)
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def get(self, path: str, **parameters: Any) -> Any:
        return self._call("GET", path, **parameters)

    def post(self, path: str, **parameters: Any) -> Any:
        return self._call("POST", path, **parameters)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def pages(self, path: str, limit: int) -> list[dict[str, Any]]:
        """A list of OpenAI's kind, page after page, newest first, up to `limit` rows."""
        rows: list[dict[str, Any]] = []
        query: dict[str, Any] = {}
        while len(rows) < limit:
            query["limit"] = min(100, limit - len(rows))
            page = self.get(path, params=query)
            rows += page["data"]
            if not page.get("has_more") or not page["data"]:
                break
            query["after"] = page["data"][-1]["id"]
        return rows[:limit]

    def _call(self, method: str, path: str, **parameters: Any) -> Any:
        answer = self.http.request(method, path, **parameters)
        require_success(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise RequestFailed(f"{answer.url} answers, but not as Lorikeet does.") from None


def require_success(answer: httpx.Response) -> None:
    """Raises RequestFailed with the sentence that the answer holds."""
    if answer.is_success:
        return
    try:
        error = answer.json()["error"]
        message = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        message = f"{answer.status_code} {answer.reason_phrase} {answer.text[:200]}".strip()
    raise RequestFailed(message)


def connect(home: Path | None, url: str | None, key: str | None) -> Connection:
    """By --url and --key, LORIKEET_URL and LORIKEET_API_KEY, or what the home holds.

    The home's admin key goes to the home's own product only.
    """
    url = url or os.environ.get("LORIKEET_URL")
    key = key or os.environ.get("LORIKEET_API_KEY")
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"The address must begin with http:// or https://: {url}")
        return Connection(url, key or os.environ.get("OPENAI_API_KEY"))
    here = settings_of(home).home
    record = ProductRecord.load(here)
    if record is None or not is_running(here):
        raise ConfigurationError(
            f"Lorikeet does not run on {here}; start it with `lorikeet up`, "
            "or name another home with --home or an endpoint with --url."
        )
    return Connection(record.url, key or admin_key(here))


def admin_key(home: Path) -> str | None:
    path = home / "admin.key"
    return path.read_text().strip() if path.exists() else None
