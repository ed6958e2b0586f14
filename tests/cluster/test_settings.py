"""The settings: names, defaults, and errors that say which variable is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import ConfigurationError
from cluster.seal import Seal, new_key
from cluster.settings import Settings, settings, write_secret


@pytest.fixture(autouse=True)
def fresh():
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_nothing_set_means_one_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LORIKEET_HOME", str(tmp_path / "here"))
    made = settings()
    assert made.sql_url == f"sqlite+aiosqlite:///{tmp_path}/here/lorikeet.db"
    assert made.redis == f"unix://{tmp_path}/here/redis/redis.sock"
    assert made.artifacts == f"file://{tmp_path}/here/artifacts"
    assert settings() is made


def test_the_home_is_absolute(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert Settings(home=Path("~/x")).home == Path("/home/me/x")


def test_an_empty_variable_is_an_unset_one(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LORIKEET_HOME", "")
    monkeypatch.setenv("LORIKEET_REDIS_URL", "")
    assert Settings().home == Path("/home/me/.lorikeet")
    assert Settings().redis_url is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LORIKEET_DATABASE_URL", "postgresql://u@h/d"),
        ("LORIKEET_REDIS_FAULT", "panic"),
        ("LORIKEET_REQUEST_TIMEOUT", "-1"),
        ("LORIKEET_TRAIN_WORKERS", "many"),
        ("LORIKEET_OUTGOING_ALLOW", "10.0.0.0/8,1.2.3"),
    ],
)
def test_an_error_names_the_variable_and_the_value(monkeypatch, variable, value) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        settings()
    assert variable in raised.value.message
    assert "LORIKEET_=" not in raised.value.message


def test_a_wrong_url_does_not_show_its_password(monkeypatch) -> None:
    monkeypatch.setenv("LORIKEET_DATABASE_URL", "postgresql://user:hunter2@host/db")
    with pytest.raises(ConfigurationError) as raised:
        settings()
    assert "hunter2" not in raised.value.message


def test_the_token_is_made_once(tmp_path) -> None:
    made = Settings(home=tmp_path)
    assert made.token() == made.token() == Settings(home=tmp_path).token()
    assert (tmp_path / "internal.token").stat().st_mode & 0o777 == 0o600
    assert Settings(home=tmp_path, internal_token="given").token() == "given"
    assert "given" not in repr(Settings(home=tmp_path, internal_token="given"))


def test_the_first_secret_wins(tmp_path) -> None:
    path = tmp_path / "deep" / "secret"
    write_secret(path, "one")
    write_secret(path, "two")
    assert path.read_text() == "one\n"
    assert list(path.parent.iterdir()) == [path]


def test_lists_are_written_with_commas(monkeypatch) -> None:
    keys = [new_key(), new_key()]
    monkeypatch.setenv("LORIKEET_OUTGOING_ALLOW", "10.0.0.0/8, vllm.internal:8000,")
    monkeypatch.setenv("LORIKEET_SECRET_KEYS", ",".join(keys))
    read = Settings()
    assert read.outgoing_allow == ("10.0.0.0/8", "vllm.internal:8000")
    assert read.seal().open(Seal(keys[1:]).close("a")) == "a"
    assert Seal(keys[:1]).open(read.seal().close("a")) == "a"
    assert keys[0] not in repr(read)


def test_a_wrong_key_for_secrets_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("LORIKEET_SECRET_KEYS", "hunter2")
    with pytest.raises(ConfigurationError, match="LORIKEET_SECRET_KEYS") as raised:
        settings()
    assert "hunter2" not in raised.value.message


def test_the_key_for_secrets_is_made_once(tmp_path) -> None:
    sealed = Settings(home=tmp_path).seal().close("a")
    path = tmp_path / "secrets.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Settings(home=tmp_path).seal().open(sealed) == "a"
    path.write_text(f"{new_key()}\n{path.read_text()}")
    assert Settings(home=tmp_path).seal().renewed(sealed) is not None
    path.write_text("hunter2")
    with pytest.raises(ConfigurationError, match=r"secrets\.key") as raised:
        Settings(home=tmp_path).seal()
    assert "hunter2" not in raised.value.message
