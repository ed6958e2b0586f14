"""vLLM inside a replica: the engine, its own OpenAI app on a unix socket, adapters by name.

The app answers only routers: on a unix socket to those of this node, and over TCP, with the
product's internal token, to those of other nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import uvicorn
from anthropic.types.message_count_tokens_params import (
    MessageCountTokensParams as MessageCountParams,
)
from anthropic.types.message_create_params import MessageCreateParamsBase as MessageParams
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponseParams
from safetensors import safe_open
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp
from vllm.config import StructuredOutputsConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
)
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.launchers.launcher import NoSignalServer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.protocol import (
    LoadLoRAAdapterRequest,
    UnloadLoRAAdapterRequest,
)
from vllm.entrypoints.serve.tokenize.protocol import (
    DetokenizeRequest,
    TokenizeChatRequest,
    TokenizeCompletionRequest,
)
from vllm.lora.request import LoRARequest
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from cluster.catalog.adapter_name import public_name
from cluster.embedded.folders import private_folder
from cluster.errors import ConfigurationError
from deployments.adapter_loader import LoadFailed
from deployments.engine_app import EngineApp
from deployments.engine_fields import known_fields
from deployments.engine_process import MARKER
from deployments.guard import guarded

log = logging.getLogger(__name__)

BACKEND = "xgrammar"
"""Of structured outputs: the one that can do tool calls, unless the configuration says another."""
ENDPOINTS: dict[str, tuple[type, ...]] = {
    "/v1/chat/completions": (ChatCompletionRequest, ChatParams),
    "/v1/completions": (CompletionRequest, CompletionParams),
    "/v1/responses": (ResponsesRequest, ResponseParams),
    "/tokenize": (TokenizeCompletionRequest, TokenizeChatRequest),
    "/detokenize": (DetokenizeRequest,),
    "/v1/messages": (AnthropicMessagesRequest, MessageParams),
    "/v1/messages/count_tokens": (AnthropicCountTokensRequest, MessageCountParams),
}


class Load(StatLoggerBase):
    """How many requests the scheduler has not begun, as it last reported."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.waiting = 0

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if scheduler_stats is not None:
            self.waiting = (
                scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            )

    def log_engine_initialized(self) -> None:
        pass


class Engine:
    """A running engine. Build it with `start`."""

    def __init__(self, client: AsyncLLM, app: Any, load: Load, model: Path) -> None:
        self._client = client
        self._app = app
        self._load = load
        self._servers: list[tuple[NoSignalServer, asyncio.Task[None]]] = []
        self.model = model
        """The folder with the weights."""

    @classmethod
    async def start(cls, name: str, source: str, options: Mapping[str, Any]) -> Engine:
        """Load the weights. Blocks the event loop while it does.

        Raises ConfigurationError for an option that vLLM does not have or a value it refuses.
        """
        arguments = _arguments(name, source, options)
        os.environ[MARKER] = "1"
        # VLLM would ask routers for it. Who may ask here is told by the socket and our token.
        os.environ.pop("VLLM_API_KEY", None)
        # Its store is a dictionary that only grows, and every tenant could read it by id.
        os.environ.pop("VLLM_ENABLE_RESPONSES_API_STORE", None)
        try:
            config = AsyncEngineArgs.from_cli_args(arguments).create_engine_config(
                UsageContext.OPENAI_API_SERVER
            )
        except (ValueError, OSError) as error:
            raise ConfigurationError(f"engine of {name!r}: {error}") from error
        loads: list[Load] = []

        def logger(vllm_config: Any, engine_index: int = 0) -> Load:
            loads.append(Load(vllm_config, engine_index))
            return loads[-1]

        client = AsyncLLM.from_vllm_config(
            config, usage_context=UsageContext.OPENAI_API_SERVER, stat_loggers=[logger]
        )
        tasks = await client.get_supported_tasks()
        app = build_app(arguments, tasks, config.model_config)
        app.add_exception_handler(EngineDeadError, _dead)
        await init_app_state(client, app.state, arguments, tasks)
        app.state.openai_serving_models.model_name = _public_model_name(
            app.state.openai_serving_models
        )
        return cls(client, app, loads[0], _folder(config.model_config.model))

    @cached_property
    def app(self) -> EngineApp:
        """What answers requests."""
        return EngineApp(self._app)

    async def listen(self, path: Path, host: str | None, token: str, app: ASGIApp) -> str | None:
        """Serve `app` on the unix socket `path` and, where `host` is given, on a free port of it.

        Returns the `host:port` of the latter.
        """
        self._serve(app, _local(path))
        if host is None:
            return None
        remote = socket.create_server((host, 0))
        self._serve(guarded(app, token.encode()), remote)
        return f"{host}:{remote.getsockname()[1]}"

    def _serve(self, app: ASGIApp, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            # Routers keep their connections; a server that closed first would race with a request.
            timeout_keep_alive=3600,
        )
        config.load()
        server = NoSignalServer(config)
        # VLLM's error handlers look at it, and end it where the engine has.
        self._app.state.server = server
        self._servers.append((server, asyncio.create_task(server.serve(sockets=[sock]))))

    @property
    def load_now(self) -> tuple[int, int]:
        """Requests running and waiting in the engine. Raises what ended it."""
        # An engine that is dead has no requests: by its load it would be the best of all.
        if self._client.errored:
            raise self._client.dead_error
        # The scheduler reports at its steps only: when the last request was aborted it makes no
        # further one, and its report would stay as it was.
        unfinished = int(self._client.output_processor.get_num_unfinished_requests())
        waiting = min(self._load.waiting, unfinished)
        return unfinished - waiting, waiting

    @property
    def context_length(self) -> int:
        return int(self._client.model_config.max_model_len)

    @property
    def hidden_size(self) -> int:
        return int(self._client.model_config.get_hidden_size())

    @property
    def runs_at_once(self) -> int:
        """The most sequences that it works on at the same time."""
        config = self._client.vllm_config
        ranks = int(config.parallel_config.data_parallel_size)
        return int(config.scheduler_config.max_num_seqs) * ranks

    @property
    def vocabulary(self) -> int:
        return int(self._client.model_config.get_vocab_size())

    @property
    def max_rank(self) -> int:
        lora = self._client.vllm_config.lora_config
        return 0 if lora is None else int(lora.max_lora_rank)

    @property
    def adapter_places(self) -> int:
        """Adapters that it keeps; of more it would throw out some by itself."""
        lora = self._client.vllm_config.lora_config
        return 0 if lora is None else int(lora.max_cpu_loras or lora.max_loras)

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """The shapes (out, in) of the weights that an adapter may change, by module name."""
        shapes: dict[str, tuple[int, int]] = {}
        for file in sorted(self.model.glob("*.safetensors")):
            with safe_open(file, framework="numpy") as weights:
                for key in weights.keys():  # noqa: SIM118 - not a mapping
                    shape = weights.get_slice(key).get_shape()
                    module = key.removesuffix(".weight")
                    embedding = module.endswith(("embed_tokens", "lm_head", "wte", "wpe"))
                    if len(shape) == 2 and module != key and not embedding:
                        shapes[module] = (shape[0], shape[1])
        return shapes

    def known_fields(self) -> dict[str, frozenset[str]]:
        """By endpoint, the paths of the body fields that vLLM or OpenAI has."""
        return {path: known_fields(*classes) for path, classes in ENDPOINTS.items()}

    def openapi(self) -> dict[str, Any]:
        """VLLM's own description of its endpoints."""
        document: dict[str, Any] = self._app.openapi()
        return document

    async def load(self, name: str, folder: Path) -> None:
        models: OpenAIServingModels = self._app.state.openai_serving_models
        answer = await models.load_lora_adapter(
            LoadLoRAAdapterRequest(lora_name=name, lora_path=str(folder))
        )
        if isinstance(answer, ErrorResponse):
            raise LoadFailed(answer.error.message)

    async def unload(self, name: str) -> None:
        models: OpenAIServingModels = self._app.state.openai_serving_models
        request = models.lora_requests.get(name)
        if request is None:
            return
        await models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
        await self._client.remove_lora(request.lora_int_id)

    async def check(self) -> None:
        """Raises what ended the engine or one of its servers."""
        await self._client.check_health()
        for _, task in self._servers:
            if task.done():
                raise RuntimeError("the engine's server has ended") from task.exception()

    async def stop(self) -> None:
        """Let the requests in flight end, then stop."""
        for server, task in self._servers:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._client.shutdown()


def _arguments(name: str, source: str, options: Mapping[str, Any]) -> Namespace:
    arguments: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    for option, value in options.items():
        if not hasattr(arguments, option):
            near = get_close_matches(option, vars(arguments), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"engine.{option}={value!r}: vLLM has no such option.{hint}")
        setattr(arguments, option, value)
    try:
        arguments.structured_outputs_config = _constraints(arguments.structured_outputs_config)
    except (TypeError, ValueError) as error:
        given = options["structured_outputs_config"]
        raise ConfigurationError(f"engine.structured_outputs_config={given!r}: {error}") from error
    arguments.model = source
    arguments.served_model_name = [name]
    return arguments


def _constraints(given: Any) -> StructuredOutputsConfig:
    """With one backend for whatever a request may bind its answer to.

    Left to itself vLLM takes the one that suits the first such request, for as long as the engine
    runs: a tenant's odd schema would end the tool calls of all others.
    """
    if isinstance(given, Mapping):
        given = StructuredOutputsConfig(**{"backend": BACKEND, **given})
    return replace(given, backend=BACKEND) if given.backend == "auto" else given


def _folder(model: str) -> Path:
    path = Path(model)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    # vLLM has just loaded it from this cache.
    return Path(snapshot_download(model, local_files_only=True))


async def _dead(request: Request, error: Exception) -> JSONResponse:
    """An engine that has ended is a fault of this replica, which its successor will not have."""
    told = {"message": str(error), "type": "ServiceUnavailableError", "param": None, "code": 503}
    return JSONResponse({"error": told}, status_code=503)


def _local(path: Path) -> socket.socket:
    private_folder(path.parent)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    return listener


def _public_model_name(models: OpenAIServingModels) -> Any:
    base = models.base_model_paths[0].name

    def model_name(lora_request: LoRARequest | None = None) -> str:
        return base if lora_request is None else public_name(lora_request.lora_name)

    return model_name
