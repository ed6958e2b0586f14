"""A product started as a user starts it, for tests to use and to hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil

ROOT = Path(__file__).parents[2]
START_SECONDS = 420
PATIENCE = 240.0


def wait_for(what: Callable[[], Any], why: str, seconds: float = PATIENCE) -> Any:
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = what()
        except (httpx.HTTPError, openai.APIError):
            value = None
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{why} did not happen within {seconds:g} s")


@dataclass
class Product:
    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `lorikeet`; its standard output and error are in the result."""
        done = subprocess.run(
            [sys.executable, "-m", "cluster.cli.app", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "LORIKEET_HOME": str(self.home)},
            timeout=START_SECONDS + 60,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"lorikeet {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def up(self) -> None:
        self.cli("up", "--detach", "--port", str(self.port), "--timeout", str(START_SECONDS))

    def down(self) -> None:
        self.cli("down")

    @property
    def http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def openai(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", **{"api_key": self.key, "max_retries": 0, **more}
        )

    def aopenai(self, **more: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", **{"api_key": self.key, "max_retries": 0, **more}
        )

    def status(self) -> dict[str, Any]:
        with self.http as http:
            document: dict[str, Any] = http.get("/status").raise_for_status().json()
            return document

    def replica(self, model: str = "budgie") -> dict[str, Any]:
        """The one replica of `model`."""
        (found,) = [r for r in self.status()["replicas"] if r["model"] == model]
        return dict(found)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def processes(self, word: str) -> list[psutil.Process]:
        """This product's own processes whose command line holds `word`."""
        instance = json.loads((self.home / "run" / "product.json").read_text())["instance"]
        return [p for p in psutil.process_iter() if _belongs(p, instance) and _says(p, word)]


def _belongs(process: psutil.Process, instance: str) -> bool:
    try:
        return process.environ().get("LORIKEET_INSTANCE") == instance
    except psutil.Error:
        return False


def _says(process: psutil.Process, word: str) -> bool:
    try:
        return word in " ".join(process.cmdline())
    except psutil.Error:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def ask(client: openai.OpenAI, model: str, question: str, **more: Any) -> str:
    """The greedy answer to one question."""
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=48,
        **more,
    )
    return answer.choices[0].message.content or ""
