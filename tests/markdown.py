"""A Markdown page as its code: the blocks between fences, and the spans in the prose."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"^([^\n]*<<'(\w+)'[^\n]*)\n(.*?)^\2\n", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#]+)")


class Tree(NamedTuple):
    """One entry of an annotated file tree: a path, and whether it is drawn as a folder."""

    path: str
    folder: bool


class Page:
    def __init__(self, path: Path) -> None:
        self._text = path.read_text()
        self._fences = FENCE.findall(self._text)
        self.prose = FENCE.sub("", self._text)

    def blocks(self, language: str) -> list[str]:
        return [content for name, content in self._fences if name == language]

    def spans(self) -> list[str]:
        """The code in the prose, each on one line."""
        return [" ".join(span.split()) for span in SPAN.findall(self.prose)]

    def links(self) -> list[str]:
        """What the prose links to in this repository."""
        return [target for target in LINK.findall(self.prose) if "://" not in target]

    def table(self, heading: str) -> list[list[str]]:
        """The cells of the rows below a table's heading."""
        lines = self.prose[self.prose.index(heading) :].splitlines()[2:]
        rows = takewhile(lambda line: line.startswith("|"), lines)
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]

    def heredocs(self) -> dict[str, str]:
        """The files that the shell commands write, by name."""
        return {
            head.split(">")[1].split()[0]: content
            for block in self.blocks("sh")
            for head, _, content in HEREDOC.findall(block)
        }

    def commands(self) -> Iterator[list[str]]:
        """The words of each shell command in a block."""
        for block in self.blocks("sh"):
            for line in HEREDOC.sub("", block).replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words

    def tree(self) -> Iterator[Tree]:
        """The entries of the blocks that are file trees: names, two spaces, what it is."""
        for block in self.blocks(""):
            if "/ " not in block:
                continue
            folders: list[str] = []
            for line in block.splitlines():
                depth = (len(line) - len(line.lstrip())) // 2
                names = re.split(r"\s{2,}", line.strip())[0].split()
                for name in names:
                    yield Tree("".join([*folders[:depth], name]), name.endswith("/"))
                folders = [*folders[:depth], names[0]]
