"""vLLM's own OpenAI server: the reference."""

import sys
from pathlib import Path

import psutil

from bench.chat import Endpoint
from bench.systems.engine import Engine
from bench.systems.family import Family, answers, free_port


class Vllm:
    """`vllm.entrypoints.openai.api_server`, its access log off as that is its fastest."""

    name = "vllm"

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.family = Family(self.name, folder)
        self.endpoint = Endpoint(
            "127.0.0.1", free_port(), engine.model, adapters=engine.adapter_names
        )

    def start(self) -> None:
        """Start the server."""
        at = self.endpoint
        loaded = [f"{folder.name}={folder}" for folder in self.engine.adapters]
        self.family.spawn(
            [
                *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
                *("--model", str(self.engine.weights), "--served-model-name", at.model),
                *("--host", at.host, "--port", str(at.port), "--disable-uvicorn-access-log"),
                *self.engine.arguments(),
                *(["--lora-modules", *loaded] if loaded else []),
            ],
            self.engine.environment(),
        )
        self.family.await_ready(lambda: answers(f"http://{at.host}:{at.port}/health"))

    def stop(self) -> None:
        """End it."""
        self.family.stop()

    def processes(self) -> list[psutil.Process]:
        """API server and engine."""
        return self.family.processes()
