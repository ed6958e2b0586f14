"""Base models: what the Serve applications host, as their replicas describe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update

from cluster.store.schema import BaseModelRow, now
from cluster.store.sql import Database, take_turns


class ModelKind(StrEnum):
    LLM = "llm"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    CLASSIFIER = "classifier"


@dataclass(frozen=True)
class BaseModel:
    """A model that an application serves without any adapter.

    `context_length` in tokens. `modules` maps the name of each linear layer to its weight's shape,
    (out, in): what an adapter has to fit. `max_rank` is 0 where no adapter is taken. `places` is
    how many adapters one replica holds at most.

    Of an embedding model `hidden_size` is the size of its vectors, `dimensions` are the sizes to
    which they may be shortened, and `min_dimensions`, unless 0, is the least of any size that will
    do.
    """

    name: str
    kind: ModelKind
    application: str
    source: str
    context_length: int
    aliases: tuple[str, ...] = ()
    max_rank: int = 0
    hidden_size: int = 0
    vocabulary: int = 0
    """How many tokens it knows; 0 is not known."""
    modules: dict[str, tuple[int, int]] | None = None
    places: int = 0
    created_at: float = 0.0
    dimensions: tuple[int, ...] = ()
    min_dimensions: int = 0

    @property
    def target_modules(self) -> list[str]:
        """The last parts of the modules' names, such as `q_proj`."""
        return sorted({name.rsplit(".", 1)[-1] for name in self.modules or {}})

    def has_size(self, size: int) -> bool:
        """Whether its vectors may have so many dimensions."""
        if self.min_dimensions and self.min_dimensions <= size < self.hidden_size:
            return True
        return size == self.hidden_size or size in self.dimensions

    def limits(self) -> dict[str, Any]:
        """What the row keeps of the engine's bounds."""
        return {
            "max_rank": self.max_rank,
            "hidden_size": self.hidden_size,
            "vocabulary": self.vocabulary,
            "target_modules": self.target_modules,
            "modules": {name: list(shape) for name, shape in (self.modules or {}).items()},
            "places": self.places,
            "dimensions": list(self.dimensions),
            "min_dimensions": self.min_dimensions,
        }

    @classmethod
    def of(cls, row: BaseModelRow) -> BaseModel:
        return cls(
            name=row.name,
            kind=ModelKind(row.kind),
            application=row.application,
            source=row.source,
            context_length=row.context_length,
            aliases=tuple(row.aliases),
            max_rank=row.limits["max_rank"],
            hidden_size=row.limits["hidden_size"],
            vocabulary=row.limits.get("vocabulary", 0),  # rows of earlier versions lack it
            modules={k: (v[0], v[1]) for k, v in row.limits["modules"].items()},
            places=row.limits.get("places", 0),  # an earlier version's replica did not say
            created_at=row.created_at.timestamp(),
            # Rows that an older version wrote have neither.
            dimensions=tuple(row.limits.get("dimensions", ())),
            min_dimensions=row.limits.get("min_dimensions", 0),
        )


class BaseModels:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, model: BaseModel) -> None:
        """Write what a replica serves; the replicas of one model write the same.

        An application has one model: what it served under another name is removed.
        """
        async with self._database.begin() as session:
            await take_turns(session, f"application {model.application}")
            await session.execute(
                update(BaseModelRow)
                .where(
                    BaseModelRow.application == model.application,
                    BaseModelRow.name != model.name,
                    BaseModelRow.removed_at.is_(None),
                )
                .values(removed_at=now())
            )
            row = await session.get(BaseModelRow, model.name)
            if row is None:
                row = BaseModelRow(name=model.name)
                session.add(row)
            row.kind = model.kind.value
            row.application = model.application
            row.aliases = list(model.aliases)
            row.source = model.source
            row.context_length = model.context_length
            row.limits = model.limits()
            row.removed_at = None

    async def remove_missing(self, applications: set[str]) -> list[str]:
        """Mark the models of applications that are deployed no more. Returns their names."""
        async with self._database.begin() as session:
            rows = await session.scalars(
                select(BaseModelRow).where(
                    BaseModelRow.removed_at.is_(None),
                    BaseModelRow.application.not_in(applications),
                )
            )
            removed = []
            for row in rows:
                row.removed_at = now()
                removed.append(row.name)
            return removed

    async def list(self) -> Sequence[BaseModel]:
        async with self._database.begin() as session:
            rows = await session.scalars(
                select(BaseModelRow).where(BaseModelRow.removed_at.is_(None))
            )
            return [BaseModel.of(row) for row in rows]
