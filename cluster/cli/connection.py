"""The endpoint as the commands see it: an address, a key, and errors in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import httpx

from cluster.cli.api_key import ApiKey, key_for_home, key_for_url
from cluster.cli.home import settings_of
from cluster.cli.output import note
from cluster.embedded.record import ProductRecord, is_running
from cluster.errors import ConfigurationError, LorikeetError

PAGE = 100
"""Rows asked for at once."""
LOOK_SECONDS = 30.0
"""For an answer that nothing has to be made for; what is made may take ten minutes."""
PASSING = frozenset({429, 502, 503, 504})
"""Answers that the same request may not get a moment later."""


class RequestFailed(LorikeetError):
    """The endpoint refused, in its own words. `passing` if it may not do so a moment later."""

    code = "request_failed"
    passing = False


class RequestRefused(RequestFailed):
    """It answered with a 4xx: nothing was done."""


class ConnectionFailed(RequestFailed):
    """It did not answer, or not to the end."""

    code = "connection_failed"
    passing = True


class Answer(dict[str, Any]):
    """A JSON object of the endpoint. A field that it lacks is the endpoint's fault, not ours."""

    def __missing__(self, name: str) -> NoReturn:
        raise RequestFailed(f"The endpoint answers, but not as Lorikeet does: no {name!r}.")


class Page(NamedTuple):
    rows: list[Answer]
    more: bool


class Connection:
    """A client of one endpoint. Raises RequestFailed for every answer that is not a success."""

    def __init__(self, url: str, key: ApiKey, *, local: bool = False) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key = key
        try:
            if not httpx.URL(url).host:
                raise ConfigurationError(f"The address {url} names no host.")
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {key.secret}"} if key.secret else {},
                timeout=httpx.Timeout(600.0, connect=10.0),
                trust_env=not local,  # a proxy for the outer world has no part in this
            )
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{url} is not an address: {error}.") from None

    def get(self, path: str, **query: Any) -> Answer:
        return self._call("GET", path, params=query, timeout=LOOK_SECONDS)

    def post(self, path: str, **parameters: Any) -> Answer:
        return self._call("POST", path, **parameters)

    def delete(self, path: str) -> Answer:
        return self._call("DELETE", path)

    def page(self, path: str, **query: Any) -> Page:
        """A list of OpenAI's kind, or a page of one."""
        found = self.get(path, **query)
        rows = found["data"]
        if not isinstance(rows, list) or not all(isinstance(row, Answer) for row in rows):
            raise RequestFailed(f"{self.url}{path} answers, but not with a list.")
        return Page(rows, bool(found.get("has_more") and rows))

    def pages(self, path: str, limit: int) -> list[Answer]:
        """Such a list page after page, newest first, up to `limit` rows; says if there are more."""
        rows: list[Answer] = []
        query: dict[str, Any] = {}
        more = True
        while more and len(rows) < limit:
            query["limit"] = min(PAGE, limit - len(rows))
            found, more = self.page(path, **query)
            rows += found
            if found:
                query["after"] = found[-1]["id"]
        if more:
            note(f"These are the newest {limit}; --limit shows more.")
        return rows[:limit]

    @contextmanager
    def stream(self, method: str, path: str, **parameters: Any) -> Iterator[httpx.Response]:
        """A successful answer whose body is still to come."""
        try:
            with self._http.stream(method, path, **parameters) as answer:
                if not answer.is_success:
                    answer.read()
                    raise self._failure(answer)
                yield answer
        except httpx.ConnectError as error:
            raise ConnectionFailed(f"Nothing answers at {self.url}: {error}.") from None
        except httpx.TimeoutException:
            raise ConnectionFailed(f"{self.url} does not answer in time.") from None
        except httpx.HTTPError as error:
            why = str(error).rstrip(".") or type(error).__name__
            raise ConnectionFailed(f"The connection to {self.url} failed: {why}.") from None

    def _call(self, method: str, path: str, **parameters: Any) -> Answer:
        with self.stream(method, path, **parameters) as answer:
            answer.read()
        try:
            found = answer.json(object_hook=Answer)
        except ValueError:
            found = None
        if not isinstance(found, Answer):
            raise RequestFailed(f"{answer.url} answers, but not as Lorikeet does.")
        return found

    def _failure(self, answer: httpx.Response) -> RequestFailed:
        """The sentence that the answer holds, as an error."""
        param, code = None, f"http_{answer.status_code}"
        try:
            told = answer.json()["error"]
            if isinstance(told, dict):
                message = str(told["message"])
                param, code = told.get("param"), told.get("code") or code
            else:
                message = str(told)
        except (ValueError, KeyError, TypeError):
            message = f"{answer.status_code} {answer.reason_phrase} {answer.text[:200]}"
        message = " ".join(message.split())
        if answer.status_code == 401:
            message += f" (The key comes from {self._key.source}.)"
        kind = RequestRefused if answer.is_client_error else RequestFailed
        error = kind(message, param=param, code=str(code))
        error.passing = answer.status_code in PASSING
        return error


def connect(home: Path | None, url: str | None, key: str | None) -> Connection:
    """By --url and --key, LORIKEET_URL and LORIKEET_API_KEY, or what the home holds.

    The home's admin key goes to the home's own product only.
    """
    url = url or os.environ.get("LORIKEET_URL")
    if url:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"The address must begin with http:// or https://: {url}")
        return Connection(url, key_for_url(key))
    here = settings_of(home).home
    record = ProductRecord.load(here)
    if record is None or not is_running(here):
        raise ConfigurationError(
            f"Lorikeet does not run on {here}; start it with `lorikeet up`, "
            "or name another home with --home or an endpoint with --url."
        )
    return Connection(record.url, key_for_home(key, here), local=True)
