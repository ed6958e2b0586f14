"""Counts the tokens that a row comes to in a base model's own format.

Reads `tokenizer.json` with the `tokenizers` library and renders the chat template with jinja2:
importing transformers (and so torch) would cost the supervisor ten seconds before its first job.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from cluster.datasets.rows import ChatRow, Row
from cluster.datasets.validation import TokenCounter

TokenizerLoader = Callable[[str], TokenCounter]
"""From a base model's source to its counter. Raises OSError or ValueError where it can't."""


@lru_cache(maxsize=16)
def load_tokenizer(source: str) -> TokenCounter:
    """The counter of a local folder or of a hub name in the local cache. Opens no connection."""
    folder = _folder(source)
    tokenizer = Tokenizer.from_file(str(_required(folder / "tokenizer.json")))
    # A truncating tokenizer would call every long row just short enough.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special, chat_template = _configuration(folder)
    template = _environment().from_string(chat_template) if chat_template else None

    def count(row: Row) -> int:
        if isinstance(row, ChatRow):
            if template is None:
                raise ValueError("the base model has no chat template")
            text = template.render(
                messages=list(row.messages),
                tools=list(row.tools) or None,
                add_generation_prompt=False,
                **special,
            )
        else:
            text = row.prompt + row.completion
        return len(tokenizer.encode(text, add_special_tokens=not isinstance(row, ChatRow)))

    return count


def _folder(source: str) -> Path:
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    from huggingface_hub import snapshot_download  # slow to import, and local folders are common

    return Path(
        snapshot_download(
            source, local_files_only=True, allow_patterns=["tokenizer*", "*.json", "*.jinja"]
        )
    )


def _required(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}")
    return path


def _configuration(folder: Path) -> tuple[dict[str, Any], str | None]:
    """The special tokens by name, and the chat template."""
    path = folder / "tokenizer_config.json"
    configuration = json.loads(path.read_text()) if path.is_file() else {}
    special = {}
    for key, value in configuration.items():
        if key.endswith("_token"):
            special[key] = value["content"] if isinstance(value, dict) else value
    file = folder / "chat_template.jinja"
    template = file.read_text() if file.is_file() else configuration.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return special, template


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's tokens, renders its content."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body")
        return CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _format: "01 Jan 2026"
    return environment


def _to_json(value: object, indent: int | None = None) -> str:
    # jinja2's own filter escapes for HTML, which a tokenizer would count.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
