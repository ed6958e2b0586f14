"""`/v1/virtual_models`: a project's own names for models, with a prompt, parameters and
fallbacks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from cluster.catalog.targets import MAX_TARGETS
from cluster.catalog.virtual_model import Strategy, VirtualModel
from cluster.catalog.virtual_models import MAX_LIST, Project, Wish
from cluster.store.page import Order
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.fields import ENGINE_ONLY
from deployments.router.dialects.openai.listing import listing
from deployments.router.dialects.openai.target import TargetBody, targets_of
from deployments.router.services import Services, reader, services, trainer

router = APIRouter(tags=["virtual models"])

Reading = Annotated[Principal, Depends(reader)]
Changing = Annotated[Principal, Depends(trainer)]
At = Annotated[Services, Depends(services)]

MAX_PARAMETERS = 64
REQUESTS_OWN = ENGINE_ONLY | {
    "cache_salt", "echo", "input", "messages", "metadata", "model", "prompt", "safety_identifier",
    "store", "stream", "stream_options", "suffix", "system", "instructions", "timeout", "user",
}  # fmt: skip
"""What a request says for itself."""


class Parameters(Body):
    """Parameters of the inference endpoints by their names there. The values of those that most
    models share are checked here, all others by the engine."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=128)
    seed: int | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)


def _allowed(given: Parameters) -> Parameters:
    names = given.model_fields_set
    if own := sorted(REQUESTS_OWN & names):
        raise ValueError(f"{own[0]!r} can't be preset: each request says it for itself")
    if len(names) > MAX_PARAMETERS:
        raise ValueError(f"it has {len(names)} members; at most {MAX_PARAMETERS} are taken")
    return given


Presets = Annotated[Parameters, AfterValidator(_allowed)]


class Change(Body):
    """What is not given stays as it is."""

    targets: list[TargetBody] = Field(default=[], min_length=1, max_length=MAX_TARGETS)
    strategy: Strategy = Strategy.FALLBACK
    parameters: Presets = Parameters()
    """Hold where a request says nothing."""
    fixed: Presets = Parameters()
    """Hold whatever a request says."""
    system_prompt: str | None = Field(None, max_length=100_000)
    first_token_timeout: float | None = Field(None, gt=0, le=3600)
    """Seconds after which the next target is asked."""
    version: int | None = Field(None, ge=1)
    """Refused where another one holds meanwhile."""


class NewVirtualModel(Change):
    name: str
    targets: list[TargetBody] = Field(min_length=1, max_length=MAX_TARGETS)
    version: None = None


@router.post("/v1/virtual_models", status_code=201)
async def create_virtual_model(body: NewVirtualModel, who: Changing, at: At) -> dict[str, Any]:
    """Name models to be asked in turn or by weight, with what is added to each request."""
    wish = Wish(**_given(body))
    return await _changed(await at.virtual_models.create(_project(who), body.name, wish), at)


@router.get("/v1/virtual_models")
async def list_virtual_models(
    who: Reading,
    at: At,
    after: str | None = None,
    limit: int = MAX_LIST,
    order: Order = Order.ASCENDING,
) -> dict[str, Any]:
    """Those of the key's project."""
    page = await at.virtual_models.page(_project(who), after=after, limit=limit, order=order)
    return listing(page, _render)


@router.get("/v1/virtual_models/{name}")
async def retrieve_virtual_model(name: str, who: Reading, at: At) -> dict[str, Any]:
    return _render(await at.virtual_models.get(_project(who), name))


@router.post("/v1/virtual_models/{name}")
async def change_virtual_model(name: str, body: Change, who: Changing, at: At) -> dict[str, Any]:
    """Change what is given: a new version, from the next request on."""
    made = await at.virtual_models.change(_project(who), name, _given(body), version=body.version)
    return await _changed(made, at)


@router.delete("/v1/virtual_models/{name}")
async def delete_virtual_model(name: str, who: Changing, at: At) -> dict[str, Any]:
    """The name is unknown from the next request on."""
    await at.virtual_models.remove(_project(who), name)
    await at.catalog.catch_up()
    return {"id": name, "object": "virtual_model", "deleted": True}


async def _changed(model: VirtualModel, at: Services) -> dict[str, Any]:
    # Here at once; the other routers hear of it in milliseconds.
    await at.catalog.catch_up()
    return _render(model)


def _project(who: Principal) -> Project:
    return Project(who.organization_id, who.project_id)


def _given(body: Change) -> dict[str, Any]:
    """Those fields of a `Wish` that the body has."""
    values = {
        "targets": targets_of(body.targets),
        "strategy": body.strategy,
        "defaults": body.parameters.model_dump(exclude_unset=True),
        "fixed": body.fixed.model_dump(exclude_unset=True),
        "system_prompt": body.system_prompt,
        "patience": body.first_token_timeout,
    }
    names = {"defaults": "parameters", "patience": "first_token_timeout"}
    return {
        field: value
        for field, value in values.items()
        if names.get(field, field) in body.model_fields_set
    }


def _render(model: VirtualModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "virtual_model",
        "name": model.name,
        "version": model.version,
        "strategy": model.strategy.value,
        "targets": [{"model": t.model, "weight": t.weight} for t in model.targets],
        "parameters": dict(model.preset.defaults),
        "fixed": dict(model.preset.fixed),
        "system_prompt": model.preset.system_prompt,
        "first_token_timeout": model.patience,
        "created_at": model.created,
    }
