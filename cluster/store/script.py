"""A Lua script of which the calls of one moment share a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

Word = str | int


@dataclass(frozen=True, slots=True)
class Call:
    keys: Sequence[str]
    args: Sequence[Word]
    answer: asyncio.Future[Any]


class Script:
    """Calls that come while others are on their way wait for those, and then go together.

    A round trip costs this process more than the script costs Redis. One that is alone goes at
    once. Each call answers within `timeout` seconds or raises TimeoutError; it raises
    RedisError or OSError where Redis is away or refuses.
    """

    def __init__(self, redis: Redis, source: str, *, timeout: float) -> None:
        self._redis = redis
        self._source = source
        self._sha = redis.register_script(source).sha
        self._timeout = timeout
        self._waiting: list[Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, keys: Sequence[str], args: Sequence[Word]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Call(keys, args, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        async with asyncio.timeout(self._timeout):
            return await answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                # Whoever has stopped waiting has not been heard of, and need not be.
                calls = [call for call in self._waiting if not call.answer.done()]
                self._waiting = []
                try:
                    # The client's own timeouts add up: a connection, connecting, retrying.
                    async with asyncio.timeout(self._timeout):
                        answers = await self._run(calls)
                except (RedisError, OSError) as error:
                    answers = [error] * len(calls)
                for call, answer in zip(calls, answers, strict=True):
                    if call.answer.done():
                        continue
                    if isinstance(answer, Exception):
                        call.answer.set_exception(answer)
                    else:
                        call.answer.set_result(answer)
        finally:
            self._sending = None

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Every call's answer, or the error that Redis gave to it."""
        answers = await self._evaluate(calls)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:  # Redis has been restarted, or never heard it
            await self._redis.script_load(self._source)
            again = await self._evaluate([calls[i] for i in unknown])
            for i, answer in zip(unknown, again, strict=True):
                answers[i] = answer
        return answers

    async def _evaluate(self, calls: Sequence[Call]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(self._sha, len(call.keys), *call.keys, *call.args)
            return list(await pipeline.execute(raise_on_error=False))
