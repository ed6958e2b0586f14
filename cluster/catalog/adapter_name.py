"""What an adapter is called: by its callers, by the engine, and shortly."""

from __future__ import annotations

import re

from cluster.errors import InvalidRequest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")


def check_name(name: str) -> None:
    """Raise InvalidRequest for a name that an adapter can't have."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} can't be an adapter's name: 1 to 200 letters, digits and ._:/- , "
            "beginning with a letter or digit.",
            param="name",
        )


def engine_name(name: str, digest: str) -> str:
    """What the engine calls an adapter: new weights have a new name, so no cache can be stale.

    Organizations that have the same name for equal weights share what the engine holds.
    """
    return f"{name}@{distinct(digest)}"


def distinct(digest: str) -> str:
    """As much of a digest as nobody can find other weights for: 128 bits."""
    return digest[:32]


def short(digest: str) -> str:
    """As much of a digest as people are shown."""
    return digest[:12]


def public_name(name: str) -> str:
    """The caller's name of what the engine calls `name`."""
    return name.partition("@")[0]
