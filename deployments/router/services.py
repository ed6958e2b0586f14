"""What the management routes work with, opened once a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from cluster.catalog.catalog import Catalog
from cluster.files.files import Files
from cluster.jobs.jobs import Jobs
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.principal import Principal
from deployments.platform import Platform
from deployments.router.replicas import ReplicaPool
from deployments.router.serve_view import ServeView


@dataclass(frozen=True)
class Services:
    platform: Platform
    authenticator: Authenticator
    catalog: Catalog
    pool: ReplicaPool
    files: Files
    jobs: Jobs
    keys: Keys
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
