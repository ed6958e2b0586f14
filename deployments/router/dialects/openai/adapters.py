"""`/v1/adapters`: adapters made elsewhere, and the state of all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, UploadFile

from cluster.catalog.adapter_folder import CONFIG, MAX_WEIGHTS_BYTES, PICKLES, WEIGHTS
from cluster.errors import InvalidRequest, TooLarge
from cluster.store.schema import Adapter
from cluster.tenancy.principal import Principal, Scope
from deployments.router.services import Services, principal, services

router = APIRouter(tags=["adapters"])

CHUNK = 1 << 20
KEPT = (CONFIG, WEIGHTS, "README.md")


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
    who: Annotated[Principal, Depends(principal)], at: Annotated[Services, Depends(services)]
) -> dict[str, Any]:
    """Your adapters with their states; the failed ones say why."""
    rows = await at.platform.registry.list(who.organization_id)
    return {"object": "list", "data": [render(row) for row in rows]}


@router.post("/v1/adapters", status_code=201)
async def add_adapter(
    name: Annotated[str, Form()],
    base_model: Annotated[str, Form()],
    files: list[UploadFile],
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Register an adapter in PEFT's layout: `adapter_config.json`, `adapter_model.safetensors`."""
    who.require(Scope.TRAIN)
    with tempfile.TemporaryDirectory(prefix="adapter-") as temporary:
        folder = Path(temporary)
        for file in files:
            await _keep(file, folder)
        row = await at.platform.registry.register(
            organization_id=who.organization_id,
            project_id=who.project_id,
            name=name,
            base_model=base_model,
            folder=folder,
        )
    return render(row)


async def _keep(file: UploadFile, folder: Path) -> None:
    name = file.filename or ""
    if Path(name).suffix in PICKLES:
        (folder / "weights.bin").touch()  # its presence suffices for the refusal; unread
        return
    if name not in KEPT:
        raise InvalidRequest(
            f"{name[:100]!r} is not a file of an adapter; taken are {', '.join(KEPT)}.",
            param="files",
        )
    size = 0
    with (folder / name).open("wb") as out:
        while chunk := await file.read(CHUNK):
            size += len(chunk)
            if size > MAX_WEIGHTS_BYTES:
                raise TooLarge(f"{name} has more than {MAX_WEIGHTS_BYTES} bytes.", param="files")
            out.write(chunk)
