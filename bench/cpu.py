"""CPU time and memory of a system's processes, grouped by what they do."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil

ROLES: tuple[tuple[str, str], ...] = (
    (r"EngineCore|VLLM::Worker", "engine"),
    (r"haproxy|ProxyActor", "proxy"),
    (r"ServeReplica:.*[Rr]outer", "router"),
    (r"ServeReplica:.*Ingress", "ingress"),
    (r"ServeReplica:.*LLM", "llm replica"),
    (r"ServeReplica:.*[Ss]upervisor", "supervisor"),
    (r"ServeReplica:paced", "paced engine"),
    (r"ServeReplica:", "other replicas"),
    (r"ServeController", "serve controller"),
    (r"redis-server", "redis"),
    (r"raylet/raylet|gcs_server", "raylet, gcs"),
    (r"DashboardAgent|RuntimeEnvAgent|ray/dashboard|ray\.dashboard|monitor\.py", "ray agents"),
    (r"ray::", "other ray workers"),
    (r"default_worker\.py", "other ray workers"),
    (r"cluster\.cli\.app|ray\.scripts|bench\.systems\.", "driver"),
    (r"vllm\.entrypoints", "api server"),
    (r"bin/litellm", "litellm"),
    (r"bench\.load", "load"),
)
"""The first pattern found in a command line names the role."""

SETTLE_S = 3.0
"""How long after its last request a system counts as idle."""


def role(command: str) -> str:
    """The role of a process with this command line."""
    return next((name for pattern, name in ROLES if re.search(pattern, command)), "other")


@dataclass(frozen=True)
class Clock:
    """CPU seconds by process, at one moment."""

    at: float
    spent: dict[tuple[int, float], tuple[str, float]]


def read(processes: Iterable[psutil.Process]) -> Clock:
    """Read the CPU clocks of processes; those that have gone are left out."""
    spent: dict[tuple[int, float], tuple[str, float]] = {}
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                name = role(" ".join(process.cmdline()))
                spent[process.pid, process.create_time()] = name, times.user + times.system
        except psutil.Error:
            continue
    return Clock(time.monotonic(), spent)


def shares(before: Clock, after: Clock) -> dict[str, float]:
    """CPU seconds per second by role between two readings, the largest first."""
    seconds = after.at - before.at
    by_role: defaultdict[str, float] = defaultdict(float)
    for key, (name, spent) in after.spent.items():
        by_role[name] += spent - before.spent.get(key, (name, 0.0))[1]
    ranked = sorted(by_role.items(), key=lambda item: -item[1])
    return {name: round(spent / seconds, 3) for name, spent in ranked}


@dataclass(frozen=True)
class Rest:
    """What a system uses while nobody calls it."""

    memory_mib: int
    processes: int
    cpu: dict[str, float]


def rest(processes: Sequence[psutil.Process], seconds: float) -> Rest:
    """Watch idle processes; memory is their proportional share (PSS), which adds up."""
    time.sleep(SETTLE_S)
    before = read(processes)
    time.sleep(seconds)
    cpu = shares(before, read(processes))
    memory = 0
    for process in processes:
        try:
            memory += process.memory_full_info().pss
        except psutil.Error:
            continue
    return Rest(memory_mib=round(memory / 2**20), processes=len(processes), cpu=cpu)
