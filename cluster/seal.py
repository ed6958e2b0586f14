"""Encryption of what tenants keep secret, for as long as it lies in a store.

A key is rotated by putting a new one before the old: what is written from then on is sealed with
the new one, what was written before opens still, and `renewed` seals it anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cluster.errors import Internal


class Unopened(Internal):
    """None of the keys opens what is sealed."""

    code = "secret_not_opened"

    def __init__(self) -> None:
        super().__init__(
            "A stored secret was encrypted with a key that this node does not have: all nodes need "
            "the same LORIKEET_SECRET_KEYS."
        )


class Seal:
    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError, which never holds a key, where there is none or one is wrong."""
        if not keys:
            raise ValueError("there is no key")
        for key in keys:
            check_key(key)
        self._newest = Fernet(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])

    def close(self, text: str) -> str:
        """The text as nobody reads it without a key."""
        return self._all.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises Unopened."""
        try:
            return self._all.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Unopened from None

    def renewed(self, sealed: str) -> str | None:
        """The same under the newest key; None where it is already. Raises Unopened."""
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return self.close(self.open(sealed))
        return None


def new_key() -> str:
    return Fernet.generate_key().decode()


def check_key(key: str) -> None:
    """Raises ValueError, without the key in it."""
    try:
        Fernet(key)
    except ValueError:
        raise ValueError(
            "a key for secrets is 32 random bytes in URL-safe base64, as `openssl rand -base64 32 "
            "| tr +/ -_` makes them"
        ) from None
