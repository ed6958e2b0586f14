"""`/v1/adapters`: adapters made elsewhere, the state of all of them, and which are pinned."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from redis.exceptions import RedisError
from starlette.datastructures import UploadFile

from cluster.catalog.adapter_folder import PICKLES
from cluster.catalog.adapter_name import engine_name
from cluster.catalog.adapters import MAX_LIST
from cluster.catalog.peft_files import CARD, CONFIG, WEIGHTS
from cluster.errors import InvalidRequest
from cluster.store.artifacts import CHUNK
from cluster.store.page import Order
from cluster.store.schema import Adapter
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.form import multipart, text, uploads
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import Services, principal, services, trainer

log = logging.getLogger(__name__)
router = APIRouter(tags=["adapters"])

KEPT = (CONFIG, WEIGHTS, CARD)
FIELDS = ("name", "base_model", "files")
MAX_FILES = 16
PICKLED = "weights.bin"
"""Stands for pickled weights: they are not read, and refused where they are all there is."""
_TEXT, _FILE = {"type": "string"}, {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": list(FIELDS),
                "properties": {
                    "name": _TEXT,
                    "base_model": _TEXT,
                    "files": {"type": "array", "items": _FILE},
                },
            }
        }
    },
}


def render(row: Adapter) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "adapter",
        "name": row.name,
        "base_model": row.base_model,
        "digest": row.digest,
        "state": row.state,
        "error": row.error,
        "acknowledged": row.acknowledged,
        "replicas": row.replicas,
        "pinned": row.pinned,
        "rank": row.rank,
        "target_modules": row.target_modules,
        "bytes": row.bytes,
        "job_id": row.job_id,
        "created_at": int(row.created_at.timestamp()),
    }


@router.get("/v1/adapters")
async def list_adapters(
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
    after: str | None = None,
    limit: int = MAX_LIST,
    order: Order = Order.ASCENDING,
) -> dict[str, Any]:
    """Your adapters with their states; the failed ones say why."""
    page = await at.platform.registry.page(
        who.organization_id, after=after, limit=limit, order=order
    )
    used = await _last_used(page.items, at)
    return listing(page, lambda row: render(row) | _residency(row, at, used))


def _residency(row: Adapter, at: Services, used: Mapping[str, float]) -> dict[str, Any]:
    """On how many replicas it is at this moment, and when somebody used it last."""
    name = engine_name(row.name, row.digest)
    replicas = at.pool.models.get(row.base_model, ())
    last = used.get(name)
    return {
        "resident_on": sum(name in replica.adapters for replica in replicas),
        "last_used_at": None if last is None else int(last),
    }


async def _last_used(rows: Iterable[Adapter], at: Services) -> dict[str, float]:
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        names[row.base_model].append(engine_name(row.name, row.digest))
    try:
        times = await asyncio.gather(*(at.uses.last(base, own) for base, own in names.items()))
    except (RedisError, OSError) as error:
        log.warning("a list of adapters lacks the times of their last use: %s", error)
        return {}
    return {name: last for each in times for name, last in each.items()}


class Change(Body):
    pinned: bool


@router.post("/v1/adapters/{name:path}")
async def change_adapter(
    name: str,
    body: Change,
    who: Annotated[Principal, Depends(trainer)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Pin an adapter, which then every replica holds at all times, or let go of it."""
    row = await at.pins.set(who.organization_id, name, body.pinned)
    used = await _last_used([row], at)
    return render(row) | _residency(row, at, used)


@router.post("/v1/adapters", status_code=201, openapi_extra={"requestBody": BODY})
async def add_adapter(request: Request) -> dict[str, Any]:
    """Register an adapter in PEFT's layout: `adapter_config.json`, `adapter_model.safetensors`."""
    who = trainer(request)
    platform = services(request).platform
    with tempfile.TemporaryDirectory(prefix="adapter-") as temporary:
        folder = Path(temporary)
        async with multipart(
            request,
            FIELDS,
            max_bytes=platform.settings.upload_max_bytes,
            max_files=MAX_FILES,
            param="files",
        ) as form:
            name, base_model = text(form, "name"), text(form, "base_model")
            for file in uploads(form, "files"):
                await _keep(file, folder)
            if (folder / WEIGHTS).exists():
                (folder / PICKLED).unlink(missing_ok=True)
        row = await platform.registry.register(
            organization_id=who.organization_id,
            project_id=who.project_id,
            name=name,
            base_model=base_model,
            folder=folder,
        )
    return render(row)


async def _keep(file: UploadFile, folder: Path) -> None:
    """Put the file under its name, which the check and the store go by."""
    name = file.filename or ""
    if Path(name).suffix in PICKLES:
        (folder / PICKLED).touch()
        return
    if name not in KEPT:
        raise InvalidRequest(
            f"{name[:100]!r} is not a file of an adapter; taken are {', '.join(KEPT)}.",
            param="files",
        )
    await anyio.to_thread.run_sync(_copy, file.file, folder / name)


def _copy(sent: BinaryIO, path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(sent, out, CHUNK)
