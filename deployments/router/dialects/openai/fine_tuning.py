"""`/v1/fine_tuning/jobs`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from cluster.store.page import Order
from deployments.router.dialects.openai.fine_tuning_request import CreateJob
from deployments.router.dialects.openai.fine_tuning_shapes import (
    render_checkpoint,
    render_event,
    render_job,
)
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import jobs, reader, trainer

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"])


@router.post("")
async def create(request: Request, body: CreateJob) -> dict[str, Any]:
    caller = trainer(request)
    key = request.headers.get("idempotency-key")
    with body.named_as_sent():
        return render_job(await jobs(request).create(caller, body.job_request(key)))


@router.get("")
async def list_jobs(request: Request, after: str | None = None, limit: int = 20) -> dict[str, Any]:
    page = await jobs(request).list(reader(request), after=after, limit=limit)
    return listing(page, render_job)


@router.get("/{job_id}")
async def retrieve(request: Request, job_id: str) -> dict[str, Any]:
    return render_job(await jobs(request).get(reader(request), job_id))


@router.post("/{job_id}/cancel")
async def cancel(request: Request, job_id: str) -> dict[str, Any]:
    return render_job(await jobs(request).cancel(trainer(request), job_id))


@router.post("/{job_id}/pause")
async def pause(request: Request, job_id: str) -> dict[str, Any]:
    return render_job(await jobs(request).pause(trainer(request), job_id))


@router.post("/{job_id}/resume")
async def resume(request: Request, job_id: str) -> dict[str, Any]:
    return render_job(await jobs(request).resume(trainer(request), job_id))


@router.get("/{job_id}/events")
async def events(
    request: Request,
    job_id: str,
    after: str | None = None,
    limit: int = 20,
    order: Order = Order.DESCENDING,
) -> dict[str, Any]:
    """`order=asc` is this product's own: it lets a watcher follow by cursor."""
    page = await jobs(request).events(
        reader(request), job_id, after=after, limit=limit, order=order
    )
    return listing(page, render_event)


@router.get("/{job_id}/checkpoints")
async def checkpoints(
    request: Request, job_id: str, after: str | None = None, limit: int = 10
) -> dict[str, Any]:
    page = await jobs(request).checkpoints(reader(request), job_id, after=after, limit=limit)
    return listing(page, render_checkpoint)
