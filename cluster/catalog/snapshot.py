"""Every name that can answer, as one reading of the database had them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.alias import Alias
from cluster.catalog.base_models import BaseModel
from cluster.catalog.caller import Caller
from cluster.catalog.connection import Connection
from cluster.catalog.route import Destination, Plan, Remote, Route
from cluster.catalog.virtual_model import VirtualModel
from cluster.store.schema import Adapter


@dataclass(frozen=True)
class Listing:
    """A line of `/v1/models`. `created` is Unix time."""

    id: str
    created: int
    owned_by: str
    parent: str | None
    context_length: int | None


@dataclass(frozen=True, slots=True)
class _Names:
    """The models that an organization can name."""

    snapshot: Snapshot
    organization_id: str

    def get(self, name: str) -> Destination | None:
        own = self.snapshot.adapters.get((self.organization_id, name))
        return own or self.snapshot.bases.get(name) or self._remote(name)

    def _remote(self, name: str) -> Remote | None:
        provider, slash, model = name.partition("/")
        if not slash:
            return None
        connection = self.snapshot.connections.get((self.organization_id, provider))
        offered = connection is not None and connection.offers(model)
        return connection.remote(model) if connection is not None and offered else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None


@dataclass(frozen=True)
class Snapshot:
    bases: dict[str, Route] = field(default_factory=dict)
    adapters: dict[tuple[str, str], Route] = field(default_factory=dict)
    """By organization and name; the name with and without its digest."""
    connections: dict[tuple[str, str], Connection] = field(default_factory=dict)
    """By organization and name."""
    connections_by_id: dict[str, Connection] = field(default_factory=dict)
    virtual_models: dict[tuple[str, str], VirtualModel] = field(default_factory=dict)
    """By project and name."""
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    """By organization and name."""
    listings: dict[str, list[Listing]] = field(default_factory=dict)
    """By the organization or project that sees them; those that all see under ""."""

    def plan(self, organization_id: str, name: str, caller: Caller | None) -> Plan | None:
        """What `name` comes to. A model or an adapter goes before a virtual model of the project,
        and that before an alias. Without a caller only models and adapters are names."""
        names = _Names(self, organization_id)
        exact = names.get(name)
        if exact is not None:
            return Plan((exact,))
        if caller is None:
            return None
        virtual = self.virtual_models.get((caller.project or "", name))
        if virtual is not None:
            return self._virtual(virtual, names, caller)
        return self._alias(name, names, caller)

    def unknown_provider(self, organization_id: str, name: str) -> str:
        """The provider that `name` begins with where no connection is known by it, else empty."""
        provider, slash, _ = name.partition("/")
        known = not slash or (organization_id, provider) in self.connections
        return "" if known else provider

    def _alias(self, name: str, names: _Names, caller: Caller) -> Plan | None:
        alias = self.aliases.get((names.organization_id, name))
        target = None if alias is None else alias.pick(caller, names)
        found = None if target is None else names.get(target)
        if alias is None or found is None:
            return None
        shadow = alias.shadowed_by(caller, names)
        return Plan((found,), shadow=None if shadow is None else names.get(shadow))

    def _virtual(self, virtual: VirtualModel, names: _Names, caller: Caller) -> Plan | None:
        found: dict[str, Destination] = {}
        shadows: dict[str, Destination | None] = {}
        for target in virtual.targets:
            one = names.get(target.model)
            if one is None:
                plan = self._alias(target.model, names, caller)
                if plan is not None:
                    one, shadows[target.model] = plan.candidates[0], plan.shadow
            if one is not None:
                found[target.model] = one
        # Two names may come to the same model, which is asked once.
        order = virtual.order(caller, found)
        candidates = {found[name].name: found[name] for name in order}
        if not candidates:
            return None
        shadow = shadows.get(order[0])
        return Plan(tuple(candidates.values()), virtual.preset, shadow, virtual.patience)


def compose(
    bases: Mapping[str, BaseModel],
    adapters: Sequence[Adapter],
    aliases: Iterable[tuple[str, Alias]],
    virtual_models: Iterable[tuple[str, VirtualModel]],
    connections: Iterable[Connection] = (),
) -> Snapshot:
    """The snapshot of these rows; aliases and virtual models come with their organization's id."""
    snapshot = Snapshot()
    for base in bases.values():
        for name in (base.name, *base.aliases):
            snapshot.bases[name] = Route(base.name, base, base.name)
        _list(snapshot, "", base.name, base.created_at, "lorikeet", length=base.context_length)
    for row in adapters:
        base_model = bases.get(row.base_model)
        if base_model is None:
            continue
        internal = engine_name(row.name, row.digest)
        route = Route(row.name, base_model, internal, row.digest)
        owner = row.organization_id
        snapshot.adapters[owner, row.name] = snapshot.adapters[owner, internal] = route
        _list(
            snapshot, owner, row.name, row.created_at.timestamp(), owner,
            parent=row.base_model, length=base_model.context_length,
        )  # fmt: skip
    for connection in connections:
        owner = connection.organization_id
        snapshot.connections[owner, connection.name] = connection
        snapshot.connections_by_id[connection.id] = connection
        names = _Names(snapshot, owner)
        for model in connection.models if connection.enabled else ():
            name = connection.remote(model).name
            if isinstance(names.get(name), Remote):  # else the model of our own is listed
                _list(snapshot, owner, name, connection.created, connection.name, length=None)
    for owner, alias in aliases:
        snapshot.aliases[owner, alias.name] = alias
        models = [target.model for target in alias.targets]
        _list_name(snapshot, owner, owner, alias.name, alias.created, models)
    for owner, virtual in virtual_models:
        snapshot.virtual_models[virtual.project_id, virtual.name] = virtual
        models = [target.model for target in virtual.targets]
        _list_name(snapshot, virtual.project_id, owner, virtual.name, virtual.created, models)
    return snapshot


def _list_name(
    snapshot: Snapshot, seer: str, owner: str, name: str, created: float, models: Iterable[str]
) -> None:
    """A line for a name that stands for `models`, if any of them is there."""
    names = _Names(snapshot, owner)
    lengths: list[int | None] = []
    for model in models:
        found, alias = names.get(model), snapshot.aliases.get((owner, model))
        if found is not None:
            lengths.append(found.context_length)
        elif alias is not None:
            behind = [names.get(target.model) for target in alias.targets]
            lengths += [one.context_length for one in behind if one is not None]
    if lengths:
        known = [length for length in lengths if length is not None]
        _list(snapshot, seer, name, created, owner, length=min(known, default=None))


def _list(
    snapshot: Snapshot,
    seer: str,
    name: str,
    created: float,
    owner: str,
    *,
    length: int | None,
    parent: str | None = None,
) -> None:
    line = Listing(name, int(created), owner, parent, length)
    snapshot.listings.setdefault(seer, []).append(line)
