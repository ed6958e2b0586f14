"""Errors in OpenAI's shape."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from cluster.errors import (
    ContextTooLong,
    Internal,
    InvalidRequest,
    LorikeetError,
    TooLarge,
    Unavailable,
    UpstreamFailed,
)

_FINDING = re.compile(r"^  (\{'type': .*\})$", re.MULTILINE)
"""One of pydantic's findings, in the text that vLLM makes of them."""
_PARAMETER = re.compile(r" ?\(parameter=\w+, value=.*\)$", re.DOTALL)
MESSAGE_MOST, PARAM_MOST = 4000, 200
"""Characters: a caller's input is named in them and may be as long as a body."""
_LENGTHS = (None, "input_tokens", "input_text")
_NO_PROMPT = re.compile(
    r"You must pass at least one prompt|The decoder prompt cannot be empty"
    r"|Token id -?\d+ is out of vocabulary"
)
_NO_GRAMMAR = re.compile(
    r"Failed to transform |Invalid (JSON )?grammar |Grammar error: |Invalid structural tag "
    r"|The provided JSON schema |The JSON schema is nested |Choice '|structured_outputs\."
    r"|Error parsing regex|Error serializing structured outputs|Regex |Outlines structured outputs "
    r"|No compatible structured output |You (can only|must) use one kind of structured outputs "
    r"|No text satisfies "
)
"""The beginnings of what vLLM and its backends say of a constraint that they can't use."""
_CONSTRAINTS = frozenset({"response_format", "structured_outputs", "text"})


def body(error: LorikeetError) -> dict[str, Any]:
    """The superset that OpenAI's, LangMart's and LLMTune's clients each find their fields in."""
    shown: dict[str, Any] = {
        "message": error.message[:MESSAGE_MOST],
        "type": error.type,
        "param": None if error.param is None else error.param[:PARAM_MOST],
        "code": error.code,
    }
    if error.details is not None:
        shown["details"] = error.details
    return {"error": shown}


def headers(error: LorikeetError) -> dict[str, str]:
    """`Retry-After` in whole seconds, rounded up, where coming again makes sense."""
    if error.retry_after is None:
        return {}
    return {"retry-after": str(max(1, math.ceil(error.retry_after)))}


def render(error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body and the headers of an answer that is this error."""
    return headed(orjson.dumps(body(error)), error)


def headed(content: bytes, error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body `content`, whatever its dialect, and the headers that an error's answer has."""
    sent = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        **headers(error),
    }
    return content, [(name.encode(), value.encode()) for name, value in sent.items()]


def render_event(error: LorikeetError) -> bytes:
    """The event that ends a stream which has failed on its way."""
    return b"data: " + orjson.dumps(body(error)) + b"\n\n"


def status_of(told: bytes) -> int | None:
    """The HTTP status that an error in a stream would have had; None where it names none."""
    try:
        return int(orjson.loads(told)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def from_engine(
    status: int, content: bytes, prompt: str = "prompt", fields: Collection[str] = ()
) -> LorikeetError:
    """The engine's error answer as one of ours.

    `prompt` is the field that holds its input, `fields` are those of the request.
    """
    try:
        told = orjson.loads(content)["error"]
        message, param = str(told["message"]), told.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message, param = content[:200].decode(errors="replace"), None
    if status in (400, 422):
        return _refused(message, param, prompt, fields)
    if status == 404:
        # The catalogue knew the name a moment ago: its replica has just let go of it.
        return Unavailable("The model is being moved to other replicas.", retry_after=1.0)
    if status == 413:
        return TooLarge(message, param=param)
    if status in (424, 503):  # the adapter can't be had there, or nothing can
        return Unavailable(message)
    if status == 500:
        return Internal(message)
    return UpstreamFailed(f"The engine answered {status}: {message}")


def _refused(
    message: str, param: str | None, prompt: str, fields: Collection[str]
) -> InvalidRequest:
    if "maximum context length" in message or "max_model_len" in message:
        message = _PARAMETER.sub("", message)
        return ContextTooLong(message, param=prompt if param in _LENGTHS else param)
    findings = _FINDING.findall(message)
    try:
        if findings:
            return from_validation([ast.literal_eval(finding) for finding in findings])
    except (ValueError, SyntaxError):
        pass  # a finding that the engine cut or that holds more than literals: as it was told
    if message.startswith("Chat template is passed with request"):
        field = "chat_template" if "chat_template" in fields else "chat_template_kwargs"
        return InvalidRequest("A template for chats is not taken: the model's own is.", param=field)
    told = _named(message, prompt, fields) if param is None else param.removeprefix("body.")
    return InvalidRequest(_PARAMETER.sub("", message), param=told)


def _named(message: str, prompt: str, fields: Collection[str]) -> str | None:
    """The field that the engine's sentence is about; most of them begin with it."""
    word = message.partition(" ")[0]
    if word in fields:
        return word
    if _NO_PROMPT.match(message):
        return prompt
    # Tools make grammars too, and of two constraints the sentence does not say which it means.
    given = _CONSTRAINTS.intersection(fields)
    if _NO_GRAMMAR.match(message) and len(given) == 1 and "tools" not in fields:
        return min(given)
    return None


def _path(parts: Sequence[str]) -> str:
    """A field as callers write it: `targets[0].model`."""
    written = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
    return written.removeprefix(".")


def from_validation(errors: Sequence[Any]) -> InvalidRequest:
    """Pydantic's findings as one error: the first field, its value and what is allowed."""
    first = errors[0]
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", first["msg"])
        return InvalidRequest(f"The body is not valid JSON: {why}.", code="invalid_json")
    loc = first["loc"].split(".") if isinstance(first["loc"], str) else first["loc"]
    if loc and (loc[0] == "body" or (loc[0] in ("query", "path") and len(loc) > 1)):
        loc = loc[1:]  # where FastAPI found it; a field may have one of these names too
    path = _path([str(part) for part in loc])
    # The whole body is no answer to what is wrong with it, and may hold a secret.
    silent = first["type"] == "missing" or not path
    given = "" if silent else f" (given: {str(first.get('input'))[:100]!r})"
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        message = f"Unrecognized request argument supplied: {path}"
        return InvalidRequest(message, param=path or None, code="unknown_parameter")
    return InvalidRequest(f"{path or 'body'}: {first['msg']}{given}{more}", param=path or None)
