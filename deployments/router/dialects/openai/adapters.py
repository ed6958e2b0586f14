"""`/v1/adapters`: adapters made elsewhere, and the state of all of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from starlette.datastructures import UploadFile

from cluster.catalog.adapter_folder import PICKLES
from cluster.catalog.adapters import MAX_LIST
from cluster.catalog.peft_files import CARD, CONFIG, WEIGHTS
from cluster.errors import InvalidRequest
from cluster.store.artifacts import CHUNK
from cluster.store.page import Order
from cluster.store.schema import Adapter
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.form import multipart, text, uploads
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import Services, principal, services, trainer

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
    return listing(page, render)


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
