from __future__ import annotations

import pytest

from cluster.catalog.adapter_name import check_name
from cluster.errors import InvalidRequest


@pytest.mark.parametrize("name", ["a", "support-bot", "ft:budgie/acme.bot_2", "9" * 200])
def test_a_name_is_letters_digits_and_a_few_marks(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a@b", "é", "9" * 201, "support-bot\n", "a\nb"])
def test_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_name(name)
    assert refused.value.param == "name"
