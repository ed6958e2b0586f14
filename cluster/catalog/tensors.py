"""The tensors of a safetensors file, read through a memory map: the whole is never in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

LENGTH = 8
"""Bytes at the file's beginning that say how long its header is."""
CHUNK = 1 << 20
# The bits of a float's exponent: all set means NaN or infinity (IEEE 754; bfloat16 likewise).
_EXPONENT = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
FLOATS = tuple(_EXPONENT)


class Unreadable(Exception):
    """Not a whole safetensors file; the text says why."""


@dataclass(frozen=True)
class Tensor:
    """One tensor; `dtype` is one of FLOATS or another name of the format's."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def is_finite(self) -> bool:
        """Whether it holds neither NaN nor infinity. Asked of FLOATS only."""
        width, mask = _EXPONENT[self.dtype]
        bits = self.data.view(width)
        chunks = (bits[start : start + CHUNK] for start in range(0, len(bits), CHUNK))
        return not any(bool(np.any((chunk & mask) == mask)) for chunk in chunks)


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
