from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.datasets.lines import lines


@given(st.lists(st.binary(max_size=30)), st.integers(1, 20))
def test_equals_split_whatever_the_chunks(chunks: list[bytes], bound: int) -> None:
    whole = b"".join(chunks)
    parts = whole.split(b"\n")
    if not parts[-1]:
        parts.pop()
    found = list(lines(chunks, bound))
    assert [line.number for line in found] == list(range(1, len(parts) + 1))
    for line, part in zip(found, parts, strict=True):
        bare = part.removesuffix(b"\r")
        if len(bare) <= bound:
            assert line.content == bare
        else:
            assert line.content is None


def test_a_line_of_ten_megabytes_is_never_held() -> None:
    chunks = (b"x" * 100_000 for _ in range(100))
    (line,) = lines(chunks)
    assert line.content is None
    assert line.bytes == 10_000_000
