from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.datasets.measure import Measure


@given(st.lists(st.integers(0, 1 << 20), min_size=1))
def test_against_the_whole_list(values: list[int]) -> None:
    measure = Measure()
    for value in values:
        measure.add(value)
    lengths = measure.lengths()
    exact = sorted(values)[-(-len(values) * 95 // 100) - 1]
    assert lengths.total == sum(values)
    assert lengths.max == max(values)
    assert exact <= lengths.p95 + 1
    assert lengths.p95 <= exact * 1.011 + 1
