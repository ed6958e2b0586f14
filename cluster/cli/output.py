"""Where words go: data to stdout, everything else to stderr.

With --json stdout holds one JSON document and stderr nothing, but for an error: then one JSON
object on one line, so that a program reads both without looking at words.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from rich.console import Console

# Names hold colons and brackets, which Rich would take for emoji and markup.
PLAIN: dict[str, Any] = {
    "highlight": False,
    "markup": False,
    "emoji": False,
    "soft_wrap": True,
}
stdout = Console(**PLAIN)
stderr = Console(stderr=True, **PLAIN)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey. A tenant or a model may have written it; it is not shown."""


def speak_json(asked: bool) -> None:
    """Whether errors are JSON from now on, and notes and progress are left out."""
    stderr.quiet = asked


def complain(message: str, code: str, param: str | None = None) -> None:
    """An error: its first line after the program's name, the rest (a log's end) below it."""
    if stderr.quiet:
        error = {"message": message, "code": code, "param": param}
        sys.stderr.write(json.dumps({"error": error}, ensure_ascii=False) + "\n")
        return
    first, _, rest = visible(message).strip().partition("\n")
    stderr.print(f"lorikeet: {first}", style="bold red")
    if rest:
        stderr.print(rest)


def say(message: str) -> None:
    stdout.print(visible(message))


def note(message: str) -> None:
    """Something for the person, which a pipe does not want."""
    stderr.print(visible(message))


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def visible(text: str) -> str:
    return CONTROL.sub("?", text)
