"""The process's settings, read from the environment once.

Every field `x` is the environment variable `LORIKEET_X`. Nothing set means one machine with
embedded stores below `home`; a cluster sets the three URLs.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cluster.errors import ConfigurationError
from cluster.outgoing.allowance import Allowance
from cluster.seal import Seal, check_key, new_key

SOCKET_PATH_BYTES = 107
"""The longest path that Linux gives a unix socket."""
SECRET = {("internal_token",), ("secret_keys",)}
"""Settings that no error shows."""


class RedisFault(StrEnum):
    """What admission does while Redis is away."""

    LOCAL = "local"
    """Limit by this process's own estimate."""
    REFUSE = "refuse"
    """Answer 503 with Retry-After."""


class TransportKind(StrEnum):
    """The way from a router to the replicas of language models."""

    SOCKET = "socket"
    """The replicas' own sockets: a unix socket on the same node, TCP with a token to others."""
    HANDLE = "handle"
    """Serve's handle: slower, and Serve chooses the replica."""


class Settings(BaseSettings):
    """Where things are kept and how much is allowed. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="LORIKEET_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    home: Path = Path("~/.lorikeet")
    database_url: str | None = None
    """SQLAlchemy async URL; None means SQLite in `home`."""
    redis_url: str | None = None
    """`redis://` or `unix://`; None means a redis-server child of this product."""
    artifacts_url: str | None = None
    """fsspec URL of a folder that every node reaches; None means `home`/artifacts."""
    internal_token: SecretStr | None = None
    """Shared by routers and replicas that talk over TCP; None means a file in `home`."""
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Fernet keys, with commas between, that what tenants keep secret is encrypted with: the first
    one seals, all of them open. None means a file in `home`."""
    outgoing_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks, addresses and hosts, with commas between, that requests to providers may go to
    though they are not public. `cluster.outgoing.allowance` says how they are written."""

    transport: TransportKind = TransportKind.SOCKET
    request_timeout: float = Field(600.0, gt=0)
    first_token_retries: int = Field(2, ge=0, le=10)
    replica_wait: float = Field(15.0, ge=0)
    """How long a request waits for a replica while a model has none."""
    hold_requests: int = Field(512, ge=1)
    """Requests that wait in one router for a place in an engine, for each model."""
    priority_organizations: str = ""
    """Ids, with commas between them, of the organizations whose `service_tier` may be `priority`;
    `*` is all."""
    moderation_model: str | None = None
    """What `/v1/moderations` asks for who names no model; None means the only classifier that is
    deployed."""
    body_max_bytes: int = Field(16 * 2**20, ge=1024)
    upload_max_bytes: int = Field(512 * 2**20, ge=1024)
    redis_fault: RedisFault = RedisFault.LOCAL
    key_cache_seconds: float = Field(30.0, ge=0)
    retired_adapter_keep: float = Field(3600.0, ge=0)
    """How long a retired adapter's files stay; longer where a replica still holds it."""
    pinned_adapters: int = Field(8, ge=0)
    """How many adapters of one base model an organization may pin."""
    ended_job_keep: float = Field(7 * 24 * 3600.0, ge=0)
    """How long a fine-tune's checkpoints stay after its end, whichever that was."""
    stored_keep: float = Field(30 * 24 * 3600.0, ge=0)
    """How long stored chat completions stay, and responses after the last that continues them."""

    train_workers: int = Field(1, ge=1)
    """Workers of a job that does not ask for a number."""
    train_cpus_per_worker: float = Field(0.5, gt=0)
    train_gpus_per_worker: float | None = Field(None, ge=0)
    """None means one GPU a worker where the cluster has any, else none."""
    train_cluster_grows: bool = False
    """Whether nodes are added on demand: a job that is too big for those there is then waited for,
    not refused."""
    train_concurrent_jobs: int = Field(1, ge=1)
    train_max_attempts: int = Field(3, ge=1)
    train_timeout: float = Field(24 * 3600.0, gt=0)
    train_start_timeout: float = Field(900.0, gt=0)
    """A job whose process has begun and whose workers have not said a word for so long is lost."""
    train_heartbeat_timeout: float = Field(120.0, gt=0)
    """A running job silent for so long is taken for dead."""

    @field_validator("secret_keys", "outgoing_allow", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        if isinstance(given, str):
            return tuple(word for each in given.split(",") if (word := each.strip()))
        return given

    @field_validator("secret_keys")
    @classmethod
    def _fernet(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            check_key(key.get_secret_value())
        return keys

    @field_validator("outgoing_allow")
    @classmethod
    def _allowance(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        Allowance(entries)
        return entries

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @field_validator("database_url")
    @classmethod
    def _async_driver(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("sqlite+aiosqlite://", "postgresql+asyncpg://")):
            raise ValueError("must begin with sqlite+aiosqlite:// or postgresql+asyncpg://")
        return url

    @property
    def hurried(self) -> frozenset[str]:
        """The organizations that have the first tier, as they are named."""
        return frozenset(filter(None, map(str.strip, self.priority_organizations.split(","))))

    @property
    def sql_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.home / 'lorikeet.db'}"

    @property
    def artifacts(self) -> str:
        return self.artifacts_url or (self.home / "artifacts").as_uri()

    @property
    def redis_socket(self) -> Path:
        """The embedded server's socket. Used only where `redis_url` is None."""
        socket = self.home / "redis" / "redis.sock"
        fits = len(os.fsencode(socket)) <= SOCKET_PATH_BYTES
        return socket if fits else self.short_folder / "redis.sock"

    @property
    def short_folder(self) -> Path:
        """A folder of this home's own for sockets, whose paths must be short. Made by its users."""
        owner = f"{os.getuid()}:{self.home}".encode()
        return Path("/tmp") / f"lorikeet-{hashlib.sha256(owner).hexdigest()[:8]}"

    @property
    def redis(self) -> str:
        return self.redis_url or f"unix://{self.redis_socket}"

    def token(self) -> str:
        """The internal token, made on first use where none is configured."""
        if self.internal_token is not None:
            return self.internal_token.get_secret_value()
        path = self.home / "internal.token"
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def seal(self) -> Seal:
        """What encrypts tenants' secrets, with a key made on first use where none is configured.

        Raises ConfigurationError where the file of keys in `home` holds something else.
        """
        if self.secret_keys:
            return Seal([key.get_secret_value() for key in self.secret_keys])
        path = self.home / "secrets.key"
        if not path.exists():
            write_secret(path, new_key())
        try:
            return Seal(path.read_text().split())
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}.") from None


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads. The first of several writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    temporary.touch(mode=0o600)
    temporary.write_text(text + "\n")
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process.

    Raises ConfigurationError naming each wrong variable and its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"LORIKEET_{'_'.join(map(str, e['loc'])).upper()}={_shown(e)}: {e['msg']}"
            for e in error.errors()
        )
        raise ConfigurationError(wrong) from error


def _shown(error: ErrorDetails) -> str:
    """The value that is wrong, without a secret or the password of a URL."""
    if error["loc"][:1] in SECRET:
        return "***"
    return re.sub(r"://[^@/]*@", "://***@", repr(error["input"]))
