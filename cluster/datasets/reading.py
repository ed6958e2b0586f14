"""One line of JSONL to one row, whichever shape it has."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from cluster.datasets.chat import read_chat
from cluster.datasets.completion import read_completion
from cluster.datasets.lines import MAX_LINE_BYTES, Line
from cluster.datasets.problem import Faulty
from cluster.datasets.rows import Row

BOM = b"\xef\xbb\xbf"


def read_row(line: Line) -> Row:
    """The row on `line`. Raises Faulty for anything but a good one."""
    if line.content is None:
        raise Faulty(
            None, f"the line has {line.bytes} bytes; at most {MAX_LINE_BYTES} are allowed."
        )
    row = _object(line)
    chat, completion = "messages" in row, "prompt" in row or "completion" in row
    if chat and completion:
        raise Faulty(None, "the row has both messages and prompt or completion; choose one shape.")
    if chat:
        return read_chat(row)
    if completion:
        return read_completion(row)
    raise Faulty(
        None,
        f"the row has the keys {_names(row)}; it needs messages, or prompt and completion.",
    )


def _object(line: Line) -> dict[str, Any]:
    assert line.content is not None
    content = line.content
    if line.number == 1:
        content = content.removeprefix(BOM)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Faulty(
            None, f"byte {error.start + 1} is 0x{content[error.start]:02x}; text must be UTF-8."
        ) from None
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise Faulty(None, "the JSON is nested too deeply.") from None
    except ValueError as error:
        reason = str(error).partition(": line ")[0]
        column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Faulty(None, f"not JSON ({reason}{column}); a line is one JSON object.") from None
    if not isinstance(row, dict):
        raise Faulty(None, "a line must be a JSON object.", value=row)
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _names(row: dict[str, Any]) -> str:
    names = [name[:20] for name in list(row)[:5]]
    return ", ".join(map(json.dumps, names)) + (", ..." if len(row) > 5 else "") or "none"
