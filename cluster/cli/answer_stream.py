"""A chat answer as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cluster.cli.connection import Connection, ConnectionFailed, RequestFailed
from cluster.cli.output import note

PATH = "/v1/chat/completions"


def pieces(connection: Connection, body: dict[str, Any]) -> Iterator[str]:
    """The answer's text, piece by piece. Raises RequestFailed if it breaks off."""
    finish: str | None = None
    with connection.stream("POST", PATH, json={**body, "stream": True}) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                if finish == "length":
                    note("The answer was cut: it reached --max-tokens or the model's context.")
                return
            text, ended = _choice(data)
            finish = ended or finish
            if text:
                yield text
    raise ConnectionFailed("The answer broke off.")


def _choice(data: str) -> tuple[str, str | None]:
    """The text of one event, and why the answer ends with it. Raises RequestFailed for an error."""
    try:
        event = json.loads(data)
        if "error" in event:
            error = event["error"]
            raise RequestFailed(str(error["message"]), code=error.get("code"))
        if not event["choices"]:  # the usage
            return "", None
        (choice,) = event["choices"]
        return choice["delta"].get("content") or "", choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RequestFailed("The endpoint answers, but not with a chat stream.") from None
