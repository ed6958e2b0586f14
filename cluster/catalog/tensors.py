"""The tensors of a safetensors file, read through a memory map: the whole is never in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

LENGTH = 8
"""Bytes at the file's beginning that say how long its header is."""
CHUNK = 1 << 18
"""Numbers that are looked at together."""
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
FLOATS = tuple(_TYPES)


class Unreadable(Exception):
    """Not a whole safetensors file; the text says why."""


@dataclass(frozen=True)
class Tensor:
    """One tensor; `dtype` is one of FLOATS or another name of the format's."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def norm(self) -> float:
        """The root of the sum of the squares; not finite where a number is not. Of FLOATS only."""
        numbers = self.data.view(_TYPES[self.dtype])
        total = 0.0
        with np.errstate(invalid="ignore"):  # NaN is an answer
            for start in range(0, len(numbers), CHUNK):
                chunk = numbers[start : start + CHUNK]
                if self.dtype == "BF16":  # the upper half of a float32
                    chunk = (chunk.astype("<u4") << 16).view("<f4")
                wide = chunk.astype(np.float64)  # holds the square of every float32
                total += float(wide @ wide)
        return math.sqrt(total)


def tensors(path: Path) -> Iterator[Tensor]:
    """The file's tensors; their data is read when it is looked at. Raises Unreadable."""
    try:
        with safe_open(path, framework="numpy"):  # checks the header, all offsets and the length
            pass
    except (SafetensorError, OSError) as error:
        raise Unreadable(str(error)) from error
    content = np.memmap(path, dtype=np.uint8, mode="r")
    begin = LENGTH + int.from_bytes(content[:LENGTH].tobytes(), "little")
    header = json.loads(content[LENGTH:begin].tobytes())
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            data = content[begin + first : begin + last]
            yield Tensor(name, entry["dtype"], tuple(entry["shape"]), data)
