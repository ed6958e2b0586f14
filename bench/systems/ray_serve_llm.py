"""ray.serve.llm's OpenAI app, by default or with direct streaming, in a Ray of its own.

The same file is the program (`python -m bench.systems.ray_serve_llm`, the job as JSON in its
first argument) that the system starts.
"""

import json
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import psutil

from bench.chat import Endpoint
from bench.systems.engine import Engine
from bench.systems.family import Family, free_port
from cluster.embedded.haproxy import haproxy_environment
from cluster.embedded.ports import port_block

LOGICAL_CPUS = 16
"""Ray's own count of cores, so that the default deployments fit on a small machine."""
READY = "ready"
"""The file that says that the app runs."""


class RayServeLlm:
    """`build_openai_app` with one model; only what makes it fit on the machine is set."""

    def __init__(self, engine: Engine, folder: Path, *, direct: bool = False) -> None:
        """`direct`: its direct streaming, where HAProxy asks the replicas without an ingress."""
        self.name = "ray-serve-llm-direct" if direct else "ray-serve-llm"
        self.engine = engine
        self.direct = direct
        self.family = Family(self.name, folder)
        self.endpoint = Endpoint("127.0.0.1", free_port(), engine.model)
        self.home: Path | None = None
        self.ports = ExitStack()

    def start(self) -> None:
        """Start Ray and the app."""
        # Not below the result folder: Ray's unix sockets need a short path.
        self.home = Path(tempfile.mkdtemp(prefix="bench-ray-"))
        token = self.home / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        variables = {} if not self.direct else self.direct_streaming()
        engine = {
            **asdict(self.engine),
            "adapters": (),
            "weights": str(self.engine.weights.resolve()),
        }
        job = {"engine": engine, "port": self.endpoint.port, "home": str(self.home)}
        self.family.spawn(
            [sys.executable, "-m", "bench.systems.ray_serve_llm", json.dumps(job)],
            {
                **self.engine.environment(),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(token),
                "RAY_USAGE_STATS_ENABLED": "0",
                # Ray's workers are nice 15; next to a load generator that is not, that would
                # slow this system down for a reason of the benchmark's own.
                "RAY_worker_niceness": "0",
                # Otherwise Ray puts the machine's outer address in the place of 127.0.0.1.
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                **variables,
            },
        )
        # Not /v1/models: the ingress answers that long before the engine is loaded.
        self.family.await_ready((self.home / READY).is_file)

    def direct_streaming(self) -> dict[str, str]:
        """What switches it on; HAProxy is kept to this machine as the product keeps its own."""
        assert self.home is not None, "started"
        ports = self.ports.enter_context(port_block(self.home, besides=self.endpoint.port))
        return {
            "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
            **haproxy_environment(self.home / "h", ports),
        }

    def stop(self) -> None:
        """End it and remove Ray's session folder."""
        self.family.stop()
        self.ports.close()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """Driver, Ray, proxy, replicas, engine."""
        return self.family.processes()


def main() -> None:
    """Serve until SIGTERM."""
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.llm import LLMConfig, ModelLoadingConfig, build_openai_app

    job = json.loads(sys.argv[1])
    engine = Engine(**{**job["engine"], "weights": Path(job["engine"]["weights"])})
    ray.init(
        address="local",
        num_cpus=LOGICAL_CPUS,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=job["home"],
        _node_ip_address="127.0.0.1",
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=job["port"]))
        config = LLMConfig(
            model_loading_config=ModelLoadingConfig(
                model_id=engine.model, model_source=str(engine.weights)
            ),
            engine_kwargs=engine.keywords(),
            accelerator_type=None,
            placement_group_config={"bundles": [{"CPU": 1}]},
        )
        serve.run(build_openai_app({"llm_configs": [config]}), name="llm", route_prefix="/")
        (Path(job["home"]) / READY).touch()
        while True:
            signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
