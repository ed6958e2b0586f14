"""What HAProxy itself answers, in the shape of the API's other errors."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from pathlib import Path

from cluster.errors import Internal, InvalidRequest, LorikeetError, TimedOut, TooLarge, Unavailable

MAX_HEADERS = 15 * 1024
ANSWERS: dict[int, LorikeetError] = {
    400: InvalidRequest("The request is not valid HTTP."),
    408: InvalidRequest("The request did not arrive in time.", code="request_timeout"),
    413: TooLarge("The body is too large."),
    431: TooLarge(f"The headers are too large; at most {MAX_HEADERS} bytes are taken."),
    500: Internal("The server failed to handle the request."),
    502: Unavailable("The server was lost before it answered.", retry_after=1.0),
    503: Unavailable("The service is starting or overloaded.", retry_after=2.0),
    504: TimedOut("The request took too long."),
}
"""By the status that HAProxy means. To what is no HTTP at all it says its own words, whatever it
is told; a header that does not fit into its buffer is such."""
SENT = {408: 408, 431: 431, 502: 503}
"""Where what is sent is not both HAProxy's status and that of the error's class."""


def write_errors(folder: Path) -> dict[int, Path]:
    """Write a file for each status, whole answers as HAProxy reads them."""
    written = {}
    for status, error in ANSWERS.items():
        path = folder / f"{status}.http"
        path.write_bytes(_answer(SENT.get(status, status), error))
        written[status] = path
    return written


def _answer(status: int, error: LorikeetError) -> bytes:
    shown = {"message": error.message, "type": error.type, "param": None, "code": error.code}
    body = json.dumps({"error": shown}).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "cache-control: no-cache",
    ]
    if error.retry_after is not None:
        head.append(f"retry-after: {math.ceil(error.retry_after)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
