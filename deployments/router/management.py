"""All routes but those of inference: models, names, files, jobs, keys, limits, usage, health."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cluster.errors import Internal, InvalidRequest, LorikeetError, MethodNotAllowed, NotFound
from deployments.router import health
from deployments.router.dialects.openai import (
    adapters,
    aliases,
    budget,
    completions,
    connections,
    errors,
    files,
    fine_tuning,
    keys,
    limits,
    models,
    prices,
    responses,
    usage,
    virtual_models,
)
from deployments.router.gate import Gate
from deployments.router.openapi import describe


def management(lifespan: Any) -> FastAPI:
    """Everything but inference: models, files, jobs, keys, limits, usage, health."""
    app = FastAPI(
        title="Lorikeet",
        description="Serve and make your own fine-tuned models.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for module in (
        models,
        adapters,
        aliases,
        virtual_models,
        responses,
        completions,
        connections,
        keys,
        limits,
        budget,
        prices,
        usage,
        files,
        fine_tuning,
    ):
        app.include_router(module.router)
    app.include_router(health.router)
    describe(app)

    def answer(error: LorikeetError) -> JSONResponse:
        return JSONResponse(errors.body(error), error.status, errors.headers(error))

    @app.exception_handler(LorikeetError)
    async def known(request: Request, error: LorikeetError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(errors.from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        if error.status_code == 404:
            return answer(NotFound(f"There is no {where}.", code="unknown_url"))
        if error.status_code == 405:
            return answer(MethodNotAllowed(f"There is no {where}."))
        if isinstance(error.__cause__, LorikeetError):  # what the gate said while FastAPI read
            return answer(error.__cause__)
        return answer(InvalidRequest(str(error.detail)))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return answer(Internal("The server failed to handle the request."))

    app.add_middleware(Gate)

    return app
