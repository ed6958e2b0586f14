"""The tables. Every tenant's row carries `organization_id`; every query filters by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


def now() -> datetime:
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """An aware UTC time on every database; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        assert value is None or value.tzinfo is not None, "times are aware"
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Row(DeclarativeBase):
    type_annotation_map = {
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
        datetime: Moment,
        str: String(255),
    }


class Plan(Row):
    """Limits of an organization. A missing number is no limit."""

    __tablename__ = "plans"
    key: Mapped[str] = mapped_column(primary_key=True)
    requests_per_minute: Mapped[int | None]
    requests_per_day: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    max_concurrent: Mapped[int | None]


class Organization(Row):
    __tablename__ = "organizations"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    plan_key: Mapped[str] = mapped_column(ForeignKey("plans.key"))
    cache_salt: Mapped[str]
    """Keeps one organization's prompts out of another's prefix-cache hits."""
    budget: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """`cluster.tenancy.budget.Budget`."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Project(Row):
    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    name: Mapped[str]
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ApiKey(Row):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str]
    scopes: Mapped[list[str]]
    models: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """`cluster.tenancy.allowed_models.AllowedModels`; None is all."""
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Its own, by the names of `cluster.tenancy.principal.Limits`, beside its organization's."""
    budget: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BaseModelRow(Row):
    """A base or embedding model that a Serve application hosts, as its replicas describe it."""

    __tablename__ = "base_models"
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    application: Mapped[str]
    aliases: Mapped[list[str]]
    source: Mapped[str] = mapped_column(Text)
    context_length: Mapped[int]
    limits: Mapped[dict[str, Any]]
    """What the engine takes of an adapter: `max_rank`, `target_modules`, shapes."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None]


class Adapter(Row):
    __tablename__ = "adapters"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    base_model: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    uri: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    rank: Mapped[int]
    target_modules: Mapped[list[str]]
    state: Mapped[str]
    error: Mapped[str | None] = mapped_column(Text)
    acknowledged: Mapped[int] = mapped_column(default=0)
    replicas: Mapped[int] = mapped_column(default=0)
    pinned: Mapped[bool] = mapped_column(Boolean, default=False)
    """Held by every replica, whatever else is asked for."""
    job_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    published_at: Mapped[datetime | None]
    files_removed_at: Mapped[datetime | None]
    """When its folder went from the artifact store, some time after it was retired."""

    __table_args__ = (
        # A retired or failed name may be given again; a live one is one adapter's.
        Index(
            "adapters_live_name",
            "organization_id",
            "name",
            unique=True,
            sqlite_where=text("state NOT IN ('retired', 'failed')"),
            postgresql_where=text("state NOT IN ('retired', 'failed')"),
        ),
    )


class AliasRow(Row):
    """A name that stands for others. Its present version says for which."""

    __tablename__ = "aliases"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index("aliases_name", "organization_id", "name", unique=True),)


class AliasVersion(Row):
    """What an alias stood for once. It is never changed."""

    __tablename__ = "alias_versions"
    alias_id: Mapped[str] = mapped_column(
        ForeignKey("aliases.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    targets: Mapped[list[dict[str, Any]]]
    sticky: Mapped[str]
    restores: Mapped[int | None]
    """The version that this one brought back."""
    shadow: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Who gets a copy of what share of the requests."""
    key_id: Mapped[str]
    """Who made it."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class VirtualModelRow(Row):
    """A project's own name for models, with a system prompt and parameters."""

    __tablename__ = "virtual_models"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    version: Mapped[int]
    strategy: Mapped[str]
    targets: Mapped[list[dict[str, Any]]]
    defaults: Mapped[dict[str, Any]]
    """Parameters that hold where a request says nothing."""
    fixed: Mapped[dict[str, Any]]
    """Parameters that hold whatever a request says."""
    system_prompt: Mapped[str | None] = mapped_column(Text)
    patience: Mapped[float | None] = mapped_column(Float)
    """Seconds until the first token, after which the next target is asked."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    __table_args__ = (Index("virtual_models_name", "project_id", "name", unique=True),)


class ConnectionRow(Row):
    """Another provider, under the name that stands before `/` in its models' names."""

    __tablename__ = "connections"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    protocol: Mapped[str]
    base_url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str | None] = mapped_column(Text)
    """The API key, sealed."""
    headers: Mapped[str | None] = mapped_column(Text)
    """More headers as a JSON object, sealed: they may hold secrets too."""
    header_names: Mapped[list[str]]
    models: Mapped[list[str]]
    """Those that are offered; none listed is any."""
    timeout: Mapped[float] = mapped_column(Float)
    enabled: Mapped[bool] = mapped_column(Boolean)
    key_id: Mapped[str]
    """Who changed it last."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    secret_changed_at: Mapped[datetime | None]

    __table_args__ = (Index("connections_name", "organization_id", "name", unique=True),)


class File(Row):
    __tablename__ = "files"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    uri: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Job(Row):
    """A fine-tune. `cluster.jobs.states` says what `state` may be and become."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    base_model: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    spec: Mapped[dict[str, Any]]
    """`cluster.jobs.spec.TrainingSpec` as the caller gave it."""
    resolved: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The same with every `auto` replaced by the number that the data gave."""
    training_file_id: Mapped[str]
    validation_file_id: Mapped[str | None]
    suffix: Mapped[str | None]
    request_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    idempotency_key: Mapped[str | None]
    """Held for a day: the same key then means the same job."""
    request_digest: Mapped[str | None] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    submission_id: Mapped[str | None]
    """The last attempt's Ray Job, kept until it ended: that may be after the job has moved on."""
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """Attempts lost in a row, with no new checkpoint between them."""
    pause_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    heartbeat_at: Mapped[datetime | None]
    step: Mapped[int] = mapped_column(Integer, default=0)
    max_steps: Mapped[int | None]
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    error_param: Mapped[str | None]
    adapter_id: Mapped[str | None]
    fine_tuned_model: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    files_removed_at: Mapped[datetime | None]
    """When its checkpoints went from the artifact store, some time after its end."""
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    __table_args__ = (Index("jobs_idempotency", "organization_id", "idempotency_key", unique=True),)


class JobEvent(Row):
    __tablename__ = "job_events"
    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    id: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    level: Mapped[str]
    type: Mapped[str]
    """`message` or `metrics`."""
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class JobCheckpoint(Row):
    __tablename__ = "job_checkpoints"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    step: Mapped[int]
    uri: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index("job_checkpoints_step", "job_id", "step", unique=True),)


class StoredResponse(Row):
    """An answer of `/v1/responses` that its caller may read again and continue."""

    __tablename__ = "stored_responses"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    project_id: Mapped[str]
    key_id: Mapped[str]
    thread_id: Mapped[str] = mapped_column(index=True)
    """The first response of all that continue one another. They expire together."""
    previous_id: Mapped[str | None]
    input: Mapped[list[dict[str, Any]]]
    """The items that this request added, each with an id."""
    answer: Mapped[dict[str, Any]]
    """The response as its caller saw it."""
    bytes: Mapped[int]
    """What the next response would take of it: input and output, as JSON."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)


class StoredCompletion(Row):
    """A chat completion that its caller may read again."""

    __tablename__ = "stored_completions"
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    """As the engine or the provider gave it, which is unique to the organization only."""
    project_id: Mapped[str]
    key_id: Mapped[str]
    model: Mapped[str]
    messages: Mapped[list[dict[str, Any]]]
    answer: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    """The caller's `metadata`."""
    bytes: Mapped[int]
    """Of the answer, as JSON."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)

    __table_args__ = (Index("stored_completions_order", "organization_id", "created_at", "id"),)


class StoredLabel(Row):
    """One pair of a stored completion's labels, to find it by."""

    __tablename__ = "stored_labels"
    organization_id: Mapped[str] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(String(512))

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "completion_id"],
            ["stored_completions.organization_id", "stored_completions.id"],
            ondelete="CASCADE",
        ),
        Index("stored_labels_pair", "organization_id", "key", "value"),
    )


class LeaseRow(Row):
    """Who may act on what only one process may act on. See `cluster.jobs.lease`."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    until: Mapped[datetime]


class PriceRow(Row):
    """What a model costs from some moment on, in nano-dollars per million tokens."""

    __tablename__ = "prices"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    model: Mapped[str]
    input: Mapped[int] = mapped_column(BigInteger)
    cached_input: Mapped[int] = mapped_column(BigInteger)
    output: Mapped[int] = mapped_column(BigInteger)
    valid_from: Mapped[datetime]
    key_id: Mapped[str]
    """Who set it."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        Index("prices_moment", "organization_id", "model", "valid_from", unique=True),
    )


class UsageEvent(Row):
    """One request, whatever came of it. The primary key makes its recording happen once."""

    __tablename__ = "usage_events"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    project_id: Mapped[str]
    key_id: Mapped[str]
    endpoint: Mapped[str]
    model: Mapped[str]
    base_model: Mapped[str | None]
    adapter_digest: Mapped[str | None]
    stream: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[int]
    error_code: Mapped[str | None]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    cost: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """In nano-dollars, at the price that was valid when it started."""
    latency_ms: Mapped[float] = mapped_column(Float)
    ttft_ms: Mapped[float | None] = mapped_column(Float)
    end_user: Mapped[str | None]
    shadow_of: Mapped[str | None]
    """The request that this one is a copy of."""
    started_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (
        Index("usage_events_of_organization", "organization_id", "started_at"),
        Index("usage_events_of_key", "key_id", "started_at"),
    )
