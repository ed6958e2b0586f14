"""The contents of a chat's messages as blocks for Anthropic's API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cluster.errors import InvalidRequest

Document = dict[str, Any]

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.+)", re.DOTALL)


def refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param} can't be asked of this provider, which speaks Anthropic's protocol: {why}.",
        param=param,
        code="unsupported_parameter",
    )


def parts(content: object, where: str, read: Callable[[Document, str], Document]) -> list[Document]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} must be a string or a list of parts.", param=where)
    made = []
    for index, each in enumerate(content):
        inside = f"{where}[{index}]"
        if not isinstance(each, dict):
            raise InvalidRequest(f"{inside} must be an object.", param=inside)
        block = read(each, inside)
        if "cache_control" in each:
            block["cache_control"] = each["cache_control"]
        made.append(block)
    # Anthropic refuses texts that are empty.
    return [block for block in made if block.get("text") != ""]


def text_only(part: Document, where: str) -> Document:
    if part.get("type") not in ("text", "refusal"):
        raise refused(f"{where}.type", f"{part.get('type')!r} is no text")
    text = part.get("text", part.get("refusal"))
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}.text must be a string.", param=f"{where}.text")
    return {"type": "text", "text": text}


def user_part(part: Document, where: str) -> Document:
    kind = part.get("type")
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        return {"type": "image", "source": _source(url, f"{where}.image_url.url")}
    if kind == "file":
        file = part.get("file")
        data = file.get("file_data") if isinstance(file, dict) else None
        if not isinstance(data, str):
            raise refused(f"{where}.file", "only files whose file_data is here can be sent on")
        return {"type": "document", "source": _source(data, f"{where}.file.file_data")}
    return text_only(part, where)


def _source(url: object, where: str) -> Document:
    if not isinstance(url, str):
        raise InvalidRequest(f"{where} must be a string.", param=where)
    if match := _DATA.fullmatch(url):
        return {"type": "base64", "media_type": match[1].lower(), "data": match[2]}
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    raise refused(where, "it must be an http(s) URL or a data URL in base64")
