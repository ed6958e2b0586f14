"""Identifiers: a prefix that says what the row is, then 96 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`new_id("file-")` is like `file-1f0c...` with 24 hex digits."""
    return prefix + secrets.token_hex(12)
