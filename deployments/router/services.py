"""What the management routes work with, opened once a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.aliases import Aliases
from cluster.catalog.catalog import Catalog
from cluster.catalog.connections import Connections
from cluster.catalog.pins import Pins
from cluster.catalog.prices import Prices
from cluster.catalog.virtual_models import VirtualModels
from cluster.files.files import Files
from cluster.jobs.jobs import Jobs
from cluster.stored.completions import Completions
from cluster.stored.responses import Responses
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import Principal, Scope
from deployments.platform import Platform
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.remote.providers import Providers
from deployments.router.serve_view import ServeView


@dataclass(frozen=True)
class Services:
    platform: Platform
    authenticator: Authenticator
    catalog: Catalog
    aliases: Aliases
    virtual_models: VirtualModels
    pins: Pins
    uses: AdapterUses
    connections: Connections
    providers: Providers
    pool: ReplicaPool
    files: Files
    jobs: Jobs
    keys: Keys
    plans: Plans
    responses: Responses
    completions: Completions
    prices: Prices
    serve: ServeView


def services(request: Request) -> Services:
    return cast(Services, request.app.state.lorikeet)


def files(request: Request) -> Files:
    return services(request).files


def jobs(request: Request) -> Jobs:
    return services(request).jobs


def principal(request: Request) -> Principal:
    """Who asks, as the gate found out."""
    return cast(Principal, request.state.principal)


def reader(request: Request) -> Principal:
    """The caller, who may read training data, jobs and what requests go through: that takes READ
    or TRAIN."""
    caller = principal(request)
    caller.require(Scope.READ if Scope.READ in caller.scopes else Scope.TRAIN)
    return caller


def administrator(request: Request) -> Principal:
    """The caller, who may set what the whole organization's requests go through."""
    caller = principal(request)
    caller.require(Scope.ADMIN)
    return caller


def trainer(request: Request) -> Principal:
    """The caller, who may upload and train."""
    caller = principal(request)
    caller.require(Scope.TRAIN)
    return caller


def inferrer(request: Request) -> Principal:
    """The caller, who may ask models."""
    caller = principal(request)
    caller.require(Scope.INFERENCE)
    return caller


def rereader(request: Request) -> Principal:
    """The caller, who may read stored answers: that takes READ, or INFERENCE, which made them."""
    caller = principal(request)
    caller.require(Scope.READ if Scope.READ in caller.scopes else Scope.INFERENCE)
    return caller
