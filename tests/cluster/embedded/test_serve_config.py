from __future__ import annotations

from pathlib import Path

import pytest

from cluster.embedded.serve_config import at_address, chat_model, default_config, read_config
from cluster.errors import ConfigurationError


def test_the_address_is_overridden_where_it_is_given() -> None:
    config = read_config(default_config())
    assert at_address(config, None, None)["http_options"] == config["http_options"]
    moved = at_address(config, "0.0.0.0", 9000)
    assert moved["http_options"] == {**config["http_options"], "host": "0.0.0.0", "port": 9000}
    assert config["http_options"]["port"] == 8000, "the original is left alone"


def test_the_example_names_a_model_that_chats() -> None:
    assert chat_model(read_config(default_config())) == "budgie"
    assert chat_model({"applications": [{"name": "x", "import_path": "a:b"}]}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("", "applications must be a list"),
        ("applications: []", "applications must be a list"),
        ("applications: [{import_path: 'a:b'}]", r"applications\[0\].name is missing"),
        ("applications: [{name: a}]\nhttp_options: 3", "http_options must be a mapping"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_config(path)
    assert str(path) in caught.value.message


def test_a_binary_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\x80\x81\x82")
    with pytest.raises(ConfigurationError, match="is not YAML") as caught:
        read_config(path)
    assert str(path) in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Cannot read"):
        read_config(tmp_path / "none.yaml")
