"""LiteLLM's proxy in front of vLLM's server, without a database.

LiteLLM pins packages that the product needs in other versions: it gets a virtual environment of
its own, made on demand from the lock file beside this package.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from bench.chat import Endpoint
from bench.systems.family import Family, answers, free_port
from bench.systems.vllm import Vllm

BENCH = Path(__file__).resolve().parents[1]
LOCK = BENCH / "litellm.txt"
KEY = "sk-bench"


def environment() -> Path:
    """The virtual environment with LiteLLM; made if the lock file has changed or none is there."""
    home = BENCH / ".envs" / "litellm"
    stamp = home / "lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return home
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is not installed: LiteLLM's environment can't be made")
    shutil.rmtree(home, ignore_errors=True)
    print(f"making LiteLLM's environment in {home}", file=sys.stderr)
    python = home / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "-r", LOCK], check=True
    )
    stamp.write_text(digest)
    return home


class Litellm:
    """The proxy, with a key check, in front of the reference server."""

    name = "litellm"

    def __init__(self, upstream: Vllm, folder: Path) -> None:
        self.upstream = upstream
        self.folder = folder
        self.family = Family(self.name, folder)
        self.endpoint = Endpoint("127.0.0.1", free_port(), upstream.endpoint.model, KEY)

    def start(self) -> None:
        """Start the proxy; the server behind it runs already."""
        at = self.endpoint
        config = self.folder / "litellm.json"
        config.write_text(json.dumps(self.config()))
        self.family.spawn(
            [
                *(str(environment() / "bin" / "litellm"), "--config", str(config)),
                *("--host", at.host, "--port", str(at.port), "--num_workers", "1"),
            ],
            {
                "LITELLM_LOG": "ERROR",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_TELEMETRY": "False",
                "NO_PROXY": "127.0.0.1",
            },
        )
        live = f"http://{at.host}:{at.port}/health/liveliness"
        self.family.await_ready(lambda: answers(live, KEY))

    def config(self) -> dict[str, object]:
        """LiteLLM's configuration (JSON is YAML)."""
        upstream = self.upstream.endpoint
        parameters = {
            "model": f"hosted_vllm/{upstream.model}",
            "api_base": upstream.base_url,
            "api_key": "none",
        }
        return {
            "model_list": [{"model_name": upstream.model, "litellm_params": parameters}],
            "litellm_settings": {"telemetry": False, "num_retries": 0},
            "general_settings": {"master_key": KEY},
        }

    def stop(self) -> None:
        """End the proxy; the server behind it is not its own."""
        self.family.stop()

    def processes(self) -> list[psutil.Process]:
        """The proxy and the server behind it."""
        return [*self.family.processes(), *self.upstream.processes()]
