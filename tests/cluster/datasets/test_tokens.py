from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from cluster.datasets.rows import ChatRow, CompletionRow
from cluster.datasets.tokens import load_tokenizer

TEMPLATE = """{% for m in messages %}{% if m.role == 'bad' %}{{ raise_exception('no') }}{% endif %}
{%- generation %}{{ m.content }} {% endgeneration %}{% endfor %}{{ tools | tojson if tools }}"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "chat_template": TEMPLATE})
    )
    return str(tmp_path)


def test_counts_what_the_template_makes_of_a_row(source: str) -> None:
    count = load_tokenizer(source)
    row = ChatRow(({"role": "user", "content": "a a a"}, {"role": "assistant", "content": "a"}))
    assert count(row) == 4
    assert count(CompletionRow("a a", " a a a")) == 5
    with pytest.raises(Exception, match="no"):
        count(ChatRow(({"role": "bad", "content": ""},)))


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        load_tokenizer(str(tmp_path))
