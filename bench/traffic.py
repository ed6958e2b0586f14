"""Traffic of every kind, for as long as one likes: what callers do, and what they must be told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from bench.chat import Endpoint, body

ALIAS = "soak"
EMBEDDER = "all-MiniLM-L6-v2"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Visit:
    """One kind of request. `weight` says how often it is made."""

    name: str
    weight: int
    make: Callable[["Traffic", random.Random], Awaitable[str | None]]
    """Returns what is wrong with the answer, or None."""


class Traffic:
    """Several callers at once, each making one request after the other."""

    def __init__(self, endpoint: Endpoint, callers: int, seed: int) -> None:
        self.model = endpoint.model
        self.callers = callers
        self.seed = seed
        self.made: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.http = httpx.AsyncClient(
            base_url=f"http://{endpoint.host}:{endpoint.port}",
            headers={"authorization": f"Bearer {endpoint.key}"},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    async def prepare(self) -> None:
        """Make the alias that some of the requests name."""
        targets = [{"model": self.model, "weight": 1}]
        answer = await self.http.post("/v1/aliases", json={"name": ALIAS, "targets": targets})
        if answer.status_code not in (201, 409):
            raise RuntimeError(f"the alias was not made: {answer.text}")

    async def run(self, seconds: float) -> None:
        """Make requests for so long."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(self.callers):
                group.create_task(self._call(random.Random(self.seed + number), end))

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def _call(self, choice: random.Random, end: float) -> None:
        weights = [visit.weight for visit in VISITS]
        while time.monotonic() < end:
            (visit,) = choice.choices(VISITS, weights)
            try:
                wrong = await visit.make(self, choice)
            except httpx.HTTPError as error:
                wrong = f"{type(error).__name__}: {error}"
            self.made[visit.name] += 1
            if wrong is not None:
                self.wrong[f"{visit.name}: {wrong[:200]}"] += 1

    def chat(self, choice: random.Random, *, stream: bool, tokens: int) -> dict[str, object]:
        """A chat request with a prompt of its own."""
        content = body(self.model, choice.randrange(8), stream=stream, tokens=tokens)
        prompt = " ".join(str(choice.randrange(1000)) for _ in range(choice.randrange(1, 40)))
        return {**content, "messages": [{"role": "user", "content": prompt}], "user": "soak"}


async def _expect(
    traffic: Traffic, path: str, content: object, status: int, code: str | None = None
) -> str | None:
    answer = await traffic.http.post(path, json=content)
    if answer.status_code != status:
        return f"HTTP {answer.status_code}: {answer.text}"
    if code is not None and answer.json()["error"]["code"] != code:
        return answer.text
    return None


async def _plain(traffic: Traffic, choice: random.Random) -> str | None:
    return await _expect(traffic, CHAT, traffic.chat(choice, stream=False, tokens=24), 200)


async def _stream(traffic: Traffic, choice: random.Random, *, alias: bool = False) -> str | None:
    content = traffic.chat(choice, stream=True, tokens=24)
    if alias:
        content["model"] = ALIAS
    async with traffic.http.stream("POST", CHAT, json=content) as answer:
        text = await answer.aread()
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {text!r}"
    return None if text.endswith(b"data: [DONE]\n\n") else f"it ends with {text[-80:]!r}"


async def _alias(traffic: Traffic, choice: random.Random) -> str | None:
    return await _stream(traffic, choice, alias=True)


async def _abort(traffic: Traffic, choice: random.Random) -> str | None:
    content = traffic.chat(choice, stream=True, tokens=500)
    pieces = choice.randrange(1, 20)
    async with traffic.http.stream("POST", CHAT, json=content) as answer:
        async for _ in answer.aiter_bytes():
            pieces -= 1
            if not pieces:
                break
    return None if answer.status_code == 200 else f"HTTP {answer.status_code}"


async def _leave(traffic: Traffic, choice: random.Random) -> str | None:
    """Nobody waits for the answer."""
    content = traffic.chat(choice, stream=False, tokens=500)
    try:
        await traffic.http.post(CHAT, json=content, timeout=choice.uniform(0.01, 0.2))
    except httpx.TimeoutException:
        return None
    return "it was answered at once"


async def _no_model(traffic: Traffic, choice: random.Random) -> str | None:
    content = traffic.chat(choice, stream=False, tokens=1) | {"model": f"no-{choice.random()}"}
    return await _expect(traffic, CHAT, content, 404, "model_not_found")


async def _bad_field(traffic: Traffic, choice: random.Random) -> str | None:
    content = traffic.chat(choice, stream=False, tokens=1) | {"temperature": -1}
    return await _expect(traffic, CHAT, content, 400)


async def _too_long(traffic: Traffic, choice: random.Random) -> str | None:
    content = traffic.chat(choice, stream=True, tokens=1)
    content["messages"] = [{"role": "user", "content": "word " * 9000}]
    return await _expect(traffic, CHAT, content, 400, "context_length_exceeded")


async def _bad_key(traffic: Traffic, choice: random.Random) -> str | None:
    key = "lk-" + "".join(choice.choices("abcdefgh", k=43))
    answer = await traffic.http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    return None if answer.status_code == 401 else f"HTTP {answer.status_code}"


async def _embed(traffic: Traffic, choice: random.Random) -> str | None:
    texts = [f"The number {choice.random()}." for _ in range(choice.randrange(1, 8))]
    return await _expect(traffic, "/v1/embeddings", {"model": EMBEDDER, "input": texts}, 200)


async def _move(traffic: Traffic, choice: random.Random) -> str | None:
    """The alias gets a new version, while others ask by it."""
    targets = [{"model": traffic.model, "weight": choice.randrange(1, 10)}]
    return await _expect(traffic, f"/v1/aliases/{ALIAS}", {"targets": targets}, 200)


VISITS = (
    Visit("stream", 30, _stream),
    Visit("plain", 20, _plain),
    Visit("by an alias", 10, _alias),
    Visit("stream, left", 10, _abort),
    Visit("plain, left", 4, _leave),
    Visit("unknown model", 5, _no_model),
    Visit("bad field", 5, _bad_field),
    Visit("prompt too long", 2, _too_long),
    Visit("unknown key", 4, _bad_key),
    Visit("embeddings", 9, _embed),
    Visit("alias moved", 1, _move),
)
