"""The API key of a command, and where it was found, for when the endpoint refuses it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cluster.errors import ConfigurationError


class ApiKey(NamedTuple):
    secret: str | None
    source: str


NO_KEY = ApiKey(None, "nowhere: give one with --key or LORIKEET_API_KEY")


def key_for_url(given: str | None) -> ApiKey:
    """For an endpoint that was named: never a home's admin key."""
    return _given(given, "LORIKEET_API_KEY", "OPENAI_API_KEY") or NO_KEY


def key_for_home(given: str | None, home: Path) -> ApiKey:
    """For the home's own product: its admin key, unless another is given."""
    if (found := _given(given, "LORIKEET_API_KEY")) is not None:
        return found
    secret = admin_key(home)
    return _checked(secret, str(key_file(home))) if secret else NO_KEY


def key_file(home: Path) -> Path:
    return home / "admin.key"


def admin_key(home: Path) -> str | None:
    path = key_file(home)
    return path.read_text(errors="replace").strip() if path.exists() else None


def _given(given: str | None, *variables: str) -> ApiKey | None:
    if given:
        return _checked(given, "--key")
    for variable in variables:
        if secret := os.environ.get(variable):
            return _checked(secret, variable)
    return None


def _checked(secret: str, source: str) -> ApiKey:
    """Raises ConfigurationError for what no HTTP header can carry."""
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ConfigurationError(f"The key from {source} is not an API key.")
    return ApiKey(secret, source)
