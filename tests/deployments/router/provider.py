"""Another provider on a real socket: what OpenAI's and Anthropic's APIs send, and what breaks."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httptools


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """Pieces are sent one by one, a body at once. `pace` is the seconds before each piece; after
    `die_after` pieces the connection breaks, after `stall_after` nothing comes any more."""

    body: bytes = b""
    pieces: tuple[bytes, ...] | None = None
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    pace: float = 0.0
    die_after: int | None = None
    stall_after: int | None = None


Answering = Callable[[Asked], Reply]


@dataclass
class FakeProvider:
    answering: Answering
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    """Connections that the other side closed while an answer was on its way."""
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        assert self.server is not None
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                if not await self._answer(self.answering(asked), reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _answer(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection may go on."""
        head = [f"HTTP/1.1 {reply.status} X", f"content-type: {reply.kind}"]
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        whole = reply.pieces is None
        head.append(f"content-length: {len(reply.body)}" if whole else "transfer-encoding: chunked")
        writer.write("\r\n".join([*head, "", ""]).encode())
        gone = asyncio.create_task(reader.read(1))
        try:
            for index, piece in enumerate((reply.body,) if reply.pieces is None else reply.pieces):
                if index == reply.die_after:
                    return False
                stalls = index == reply.stall_after
                if stalls or reply.pace:
                    await asyncio.wait({gone}, timeout=None if stalls else reply.pace)
                if gone.done():
                    self.closed += 1
                    return False
                writer.write(piece if whole else b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"" if whole else b"0\r\n\r\n")
            await writer.drain()
            return True
        finally:
            gone.cancel()
            await asyncio.wait({gone})


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    asked = Asked("", "", {}, b"")
    whole = False

    class Parsed:
        def on_url(self, url: bytes) -> None:
            asked.path = url.decode()

        def on_header(self, name: bytes, value: bytes) -> None:
            asked.headers[name.decode().lower()] = value.decode()

        def on_body(self, body: bytes) -> None:
            asked.body += body

        def on_message_complete(self) -> None:
            nonlocal whole
            whole = True

    parser = httptools.HttpRequestParser(Parsed())
    while not whole:
        data = await reader.read(65536)
        if not data:
            return None
        parser.feed_data(data)
    asked.method = parser.get_method().decode()
    return asked


def events(pieces: Iterable[bytes], **more: Any) -> Reply:
    return Reply(pieces=tuple(pieces), kind="text/event-stream", **more)


def document(content: Any, **more: Any) -> Reply:
    return Reply(json.dumps(content).encode(), **more)


# OpenAI's API.

USAGE = {
    "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}  # fmt: skip
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "gpt-x-1"}
    # With spaces, as most servers write it.
    return f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n".encode()


WORDS = ("Hel", "lo", "!")
DONE = b"data: [DONE]\n\n"


def chat_events(asked: dict[str, Any]) -> list[bytes]:
    """As OpenAI streams it: counts only where they are asked for, in an event of their own."""
    made = [chunk({"role": "assistant", "content": ""}, usage=None)]
    if asked.get("tools"):
        made.append(chunk({"tool_calls": [{"index": 0, **CALL}]}))
        for part in ('{"city":', ' "Rome"}'):
            call = {"index": 0, "function": {"arguments": part}}
            made.append(chunk({"tool_calls": [call]}))
        made.append(chunk({}, "tool_calls"))
    else:
        made += [chunk({"content": word}) for word in WORDS]
        made.append(chunk({}, "stop"))
    if (asked.get("stream_options") or {}).get("include_usage"):
        made.append(chunk(usage=USAGE))
    return [*made, DONE]


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS)}
    finish = "stop"
    if asked.get("tools"):
        function = {"name": "weather", "arguments": '{"city": "Rome"}'}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": function}],
        }
        finish = "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "gpt-x-1",
        "choices": [choice], "usage": USAGE,
    }  # fmt: skip


def openai(asked: Asked) -> Reply:
    """An API like OpenAI's, with the key `sk-upstream`."""
    if asked.headers.get("authorization") != "Bearer sk-upstream":
        told = {"message": "Incorrect API key provided: sk-up***", "type": "invalid_request_error",
                "param": None, "code": "invalid_api_key"}  # fmt: skip
        return document({"error": told}, status=401)
    path = asked.path.removeprefix("/v1")
    if path == "/models":
        return document({"object": "list", "data": [{"id": "gpt-x"}, {"id": "o-x"}]})
    if path == "/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return document({"object": "list", "data": data, "model": "e-x", "usage": usage})
    body = asked.json
    if path == "/completions":
        choice = {"index": 0, "text": "Hello!", "finish_reason": "stop"}
        return document({"object": "text_completion", "choices": [choice], "usage": USAGE})
    if path != "/chat/completions":
        return document({"error": {"message": f"No {asked.path}."}}, status=404)
    return events(chat_events(body)) if body.get("stream") else document(completion(body))


# Anthropic's API.


def named(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


TOOL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
SPENT = {"input_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}


def message(asked: dict[str, Any]) -> dict[str, Any]:
    tools = bool(asked.get("tools"))
    text = {"type": "text", "text": "".join(WORDS)}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1",
        "content": [TOOL] if tools else [text],
        "stop_reason": "tool_use" if tools else "end_turn", "stop_sequence": None,
        "usage": {**SPENT, "output_tokens": 3},
    }  # fmt: skip


def message_events(asked: dict[str, Any]) -> list[bytes]:
    whole = message(asked)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**SPENT, "output_tokens": 1}}
    made = [named("message_start", message=begun)]
    if asked.get("tools"):
        made.append(named("content_block_start", index=0, content_block={**TOOL, "input": {}}))
        for part in ("", '{"city":', ' "Rome"}'):
            delta = {"type": "input_json_delta", "partial_json": part}
            made.append(named("content_block_delta", index=0, delta=delta))
    else:
        block = {"type": "text", "text": ""}
        made += [named("content_block_start", index=0, content_block=block), named("ping")]
        for word in WORDS:
            delta = {"type": "text_delta", "text": word}
            made.append(named("content_block_delta", index=0, delta=delta))
    made.append(named("content_block_stop", index=0))
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    made.append(named("message_delta", delta=delta, usage={"output_tokens": 3}))
    return [*made, named("message_stop")]


def anthropic(asked: Asked) -> Reply:
    """An API like Anthropic's, with the key `sk-upstream`."""
    if asked.headers.get("x-api-key") != "sk-upstream":
        told = {"type": "authentication_error", "message": "invalid x-api-key"}
        return document({"type": "error", "error": told}, status=401)
    if not asked.headers.get("anthropic-version"):
        told = {"type": "invalid_request_error", "message": "anthropic-version is required"}
        return document({"type": "error", "error": told}, status=400)
    if asked.path.startswith("/v1/models"):
        return document({"data": [{"id": "claude-x", "type": "model"}], "has_more": False})
    if asked.path == "/v1/messages/count_tokens":
        return document({"input_tokens": 11})
    if asked.path != "/v1/messages":
        return document({"type": "error", "error": {"type": "not_found_error"}}, status=404)
    body = asked.json
    if not isinstance(body.get("max_tokens"), int):
        told = {"type": "invalid_request_error", "message": "max_tokens: Field required"}
        return document({"type": "error", "error": told}, status=400)
    return events(message_events(body)) if body.get("stream") else document(message(body))
