"""A connection: another provider whose models answer as `name/model`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.catalog.route import Remote
from cluster.errors import InvalidRequest
from cluster.seal import Seal


class Protocol(StrEnum):
    """The API that a provider speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


HOME = {
    Protocol.OPENAI: "https://api.openai.com/v1",
    Protocol.ANTHROPIC: "https://api.anthropic.com",
}
"""Where a connection goes that names no address."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves to the provider whose request it is. No text of it shows what it holds."""

    secret: str | None = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def masked(self, told: str) -> str:
        """What a provider says, without what it was sent in confidence.

        Of a header each longer word too: a provider repeats a key without the word before it.
        """
        values = [value for _, value in self.headers]
        words = {word for value in values for word in (value, *value.split())}
        hidden = {word for word in words if len(word) >= MIN_HIDDEN}
        for each in sorted(hidden | {self.secret or ""} - {""}, key=len, reverse=True):
            told = told.replace(each, "***")
        return told


@dataclass(frozen=True, slots=True)
class Connection:
    """A row as routers keep it. Its secrets are sealed; `credentials` opens them."""

    id: str
    organization_id: str
    name: str
    protocol: Protocol
    base_url: str
    models: tuple[str, ...]
    """Those that are offered; none listed is any."""
    timeout: float
    """Seconds without a byte after which the provider is taken for gone."""
    enabled: bool
    created: int
    """Unix time."""
    secret: str | None = field(default=None, repr=False)
    headers: str | None = field(default=None, repr=False)

    def credentials(self, seal: Seal) -> Credentials:
        """Raises Unopened."""
        headers = {} if self.headers is None else json.loads(seal.open(self.headers))
        secret = None if self.secret is None else seal.open(self.secret)
        return Credentials(secret, tuple(headers.items()))

    def offers(self, model: str) -> bool:
        return bool(model) and self.enabled and (not self.models or model in self.models)

    def remote(self, model: str) -> Remote:
        return Remote(f"{self.name}/{model}", self.id, model)


NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
MAX_MODELS, MAX_MODEL = 500, 190
MAX_HEADERS, MAX_HEADER = 16, 4096
MAX_SECRET = 8192
MIN_HIDDEN = 8
"""Characters of a header's value that is taken for a secret; shorter ones are words."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
OURS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "expect",
        "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "x-request-id",
    }
)  # fmt: skip
"""Headers that the router itself sends, or that would change where a request ends."""


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:100]!r} can't be a provider's name: 1 to 63 of a-z, 0-9 and inner . _ -",
            param="name",
        )


def check_models(models: list[str]) -> None:
    if len(models) > MAX_MODELS:
        raise InvalidRequest(
            f"models has {len(models)} members; at most {MAX_MODELS} are taken.", param="models"
        )
    for index, model in enumerate(models):
        if not 1 <= len(model) <= MAX_MODEL or not model.isprintable() or model != model.strip():
            raise InvalidRequest(
                f"models[{index}] is {model[:100]!r}; it must be a name of 1 to {MAX_MODEL} "
                "printable characters.",
                param=f"models[{index}]",
            )


def check_secret(secret: object) -> str:
    """The errors do not show it."""
    sound = isinstance(secret, str) and len(secret) <= MAX_SECRET and _VALUE.fullmatch(secret)
    if not isinstance(secret, str) or not sound:
        raise InvalidRequest(
            f"secret must be 1 to {MAX_SECRET} printable ASCII characters, without spaces around "
            "them.",
            param="secret",
        )
    return secret


def check_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """The headers by their names in lower case. The errors do not show values."""
    if len(headers) > MAX_HEADERS:
        raise InvalidRequest(
            f"headers has {len(headers)} members; at most {MAX_HEADERS} are taken.", param="headers"
        )
    checked: dict[str, str] = {}
    for given, value in headers.items():
        name = given.lower()
        if not _TOKEN.fullmatch(name) or name in OURS or name in checked:
            raise InvalidRequest(
                f"headers names {given[:100]!r}, which can't be: it is no header's name, given "
                "twice, or one that the router sends itself.",
                param="headers",
            )
        sound = isinstance(value, str) and len(value) <= MAX_HEADER and _VALUE.fullmatch(value)
        if not isinstance(value, str) or not sound:
            raise InvalidRequest(
                f"headers.{name} must be 1 to {MAX_HEADER} printable ASCII characters.",
                param=f"headers.{name}",
            )
        checked[name] = value
    return checked
