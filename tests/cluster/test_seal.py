"""What tenants keep secret, sealed."""

from __future__ import annotations

import pytest

from cluster.seal import Seal, Unopened, new_key


def test_what_is_sealed_opens_with_its_key_only() -> None:
    first, second = new_key(), new_key()
    sealed = Seal([first]).close("sk-é")
    assert "sk" not in sealed
    assert Seal([first]).open(sealed) == "sk-é"
    assert Seal([second, first]).open(sealed) == "sk-é"
    for wrong in (sealed[:-4] + "AAAA", "", "sk-é"):
        with pytest.raises(Unopened):
            Seal([first]).open(wrong)
    with pytest.raises(Unopened):
        Seal([second]).open(sealed)


def test_a_newer_key_takes_over() -> None:
    old, new = new_key(), new_key()
    sealed = Seal([old]).close("a")
    assert Seal([old, new]).renewed(sealed) is None
    renewed = Seal([new, old]).renewed(sealed)
    assert renewed is not None
    assert Seal([new]).open(renewed) == "a"
    assert Seal([new]).renewed(renewed) is None
    with pytest.raises(Unopened):
        Seal([new]).renewed(sealed)


@pytest.mark.parametrize("keys", [[], ["short"], [new_key(), "sk-secret"]])
def test_wrong_keys_are_not_shown(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        Seal(keys)
    assert "sk-secret" not in str(caught.value)
