"""The contents of Anthropic's messages as parts for OpenAI's API."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest

Document = dict[str, Any]


def refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param} can't be asked of this provider, which speaks OpenAI's protocol: {why}.",
        param=param,
        code="unsupported_parameter",
    )


def blocks_of(content: object, where: str) -> list[Document]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise InvalidRequest(
            f"{where}.content must be a string or a list of blocks.", param=f"{where}.content"
        )
    return content


def text_of(content: object, where: str) -> str:
    """The text of blocks that can only be texts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} must be a string or a list of blocks.", param=where)
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            raise refused(f"{where}[{index}]", "only texts have a place there")
    return "\n\n".join(block["text"] for block in content)


def result_of(content: object, where: str) -> tuple[str, list[Document]]:
    """A tool's texts, and its images as parts: a tool's own message has no place for them."""
    if content is None or isinstance(content, str):
        return content or "", []
    parts = [
        part_of(block, f"{where}.content[{index}]")
        for index, block in enumerate(blocks_of(content, where))
    ]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def part_of(block: Document, where: str) -> Document:
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise InvalidRequest(f"{where}.text must be a string.", param=f"{where}.text")
        return {"type": "text", "text": block["text"]}
    if kind not in ("image", "document") or not isinstance(source, dict):
        raise refused(where, f"blocks of the type {kind!r} have no counterpart there")
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": str(source.get("data") or "")}
    url = _url(source, f"{where}.source", links=kind == "image")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    name = block.get("title") or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def _url(source: Document, where: str, *, links: bool) -> str:
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    if links and source.get("type") == "url" and isinstance(source.get("url"), str):
        url: str = source["url"]
        return url
    raise refused(where, f"a source of the type {source.get('type')!r} has no counterpart there")
