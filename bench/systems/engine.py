"""The vLLM engine settings, the same for every system: those of `serve_config.yaml`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Engine:
    """A model and how vLLM runs it: on the CPU, with multi-LoRA switched on."""

    weights: Path
    model: str = "budgie"
    max_model_len: int = 2048
    max_loras: int = 4
    max_cpu_loras: int = 64
    max_lora_rank: int = 64
    kv_cache_gib: int = 1
    adapters: tuple[Path, ...] = ()
    """Folders of LoRA adapters, each named by its folder."""

    def __post_init__(self) -> None:
        if not (self.weights / "config.json").is_file():
            raise ValueError(f"--model: {self.weights} holds no config.json")

    def keywords(self) -> dict[str, object]:
        """As keywords of vLLM's engine arguments."""
        return {
            "dtype": "bfloat16",
            "max_model_len": self.max_model_len,
            "enforce_eager": True,
            "distributed_executor_backend": "uni",
            "enable_lora": True,
            "max_loras": self.max_loras,
            "max_cpu_loras": self.max_cpu_loras,
            "max_lora_rank": self.max_lora_rank,
        }

    def arguments(self) -> list[str]:
        """As arguments of vLLM's server."""
        words: list[str] = []
        for name, value in self.keywords().items():
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append(str(value))
        return words

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """What requests call the adapters."""
        return tuple(folder.name for folder in self.adapters)

    def environment(self) -> dict[str, str]:
        """What vLLM reads from the environment; no usage reports, no hub."""
        return {
            "VLLM_CPU_KVCACHE_SPACE": str(self.kv_cache_gib),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": "1",
            "TORCHDYNAMO_DISABLE": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
        }
