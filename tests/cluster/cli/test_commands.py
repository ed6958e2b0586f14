"""Each noun against an endpoint with canned answers: what is asked, printed, and the exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from cluster.cli import adapters
from cluster.cli.keys import expiry

from .conftest import Endpoint, Run

MODEL = {"id": "acme/birds:1", "object": "model", "created": 1, "owned_by": "acme", "parent": "b"}
FILE = {"id": "file-1", "filename": "a.jsonl", "purpose": "fine-tune", "bytes": 2048}
LIMITED = ("requests_per_minute", "requests_per_day", "tokens_per_minute", "max_concurrent")
LIMITS = {**dict.fromkeys(LIMITED), "requests_per_minute": 60, "tokens_per_minute": 0}
KEY = {"id": "key-1", "name": "ci", "prefix": "sk-lk-ab", "scopes": ["inference"]}


def test_models_are_listed(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/models"] = (200, {"data": [MODEL]})
    assert run("models", "list", "--json").json() == [MODEL]
    shown = run("models", "list")
    assert "acme/birds:1" in shown.out
    assert endpoint.asked[0].headers["Authorization"] == "Bearer sk-test"


def test_a_name_may_hold_slashes_and_colons(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/models/acme/birds%3A1"] = (200, MODEL)
    assert run("models", "show", "acme/birds:1", "--json").json() == MODEL
    gone = {"id": "acme/birds:1", "deleted": True}
    endpoint.answers["DELETE /v1/models/acme/birds%3A1"] = (200, gone)
    assert run("adapters", "remove", "acme/birds:1").out == "Removed acme/birds:1.\n"


def test_an_id_cannot_leave_its_path(endpoint: Endpoint, run: Run) -> None:
    run("files", "delete", "../models/budgie?x")
    assert endpoint.asked[0].path == "/v1/files/..%2Fmodels%2Fbudgie%3Fx"


def test_status_of_nothing(run: Run, tmp_path: Path) -> None:
    found = run("status", "--json", "--home", str(tmp_path))
    assert found.code == 1
    assert found.json()["ready"] is False
    assert found.json()["url"] is None


def test_down_of_nothing(run: Run, tmp_path: Path) -> None:
    found = run("down", "--home", str(tmp_path))
    assert found.code == 0
    assert found.err == f"Nothing runs on {tmp_path}.\n"
    found = run("down", "--json", "--home", str(tmp_path))
    assert found.json() == {"home": str(tmp_path), "stopped": False}


def test_a_file_is_uploaded_in_parts(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text('{"messages": []}\n')
    endpoint.answers["POST /v1/files"] = (200, FILE)
    assert run("files", "upload", str(data)).out == "file-1\n"
    asked = endpoint.asked[0]
    assert b'name="purpose"' in asked.body
    assert b'filename="a.jsonl"' in asked.body
    assert data.read_bytes() in asked.body


def test_a_missing_file_is_told(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    found = run("files", "upload", str(tmp_path / "none"))
    assert found.code == 1
    assert found.err.startswith("lorikeet: There is no file")
    found = run("files", "upload", str(tmp_path))
    assert found.err == f"lorikeet: {tmp_path} is not a regular file.\n"
    found = run("adapters", "add", str(tmp_path / "none"), "--name", "x", "--base", "budgie")
    assert found.err == f"lorikeet: There is no folder {tmp_path / 'none'}.\n"
    assert endpoint.asked == []


def test_lists_follow_their_pages(endpoint: Endpoint, run: Run) -> None:
    rows = [{**FILE, "id": f"file-{n}", "created_at": n} for n in range(3)]
    endpoint.answers["GET /v1/files"] = [
        (200, {"data": rows[:2], "has_more": True}),
        (200, {"data": rows[2:], "has_more": False}),
    ]
    assert run("files", "list", "--json").json() == rows
    assert "after=file-1" in endpoint.asked[1].path


def test_a_list_that_is_cut_says_so(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/files"] = (200, {"data": [FILE, FILE], "has_more": True})
    found = run("files", "list", "--limit", "2")
    assert found.out.count("file-1") == 2
    assert found.err == "These are the newest 2; --limit shows more.\n"
    assert len(run("files", "list", "--limit", "3", "--json").json()) == 3


def test_a_files_content_is_bytes(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    endpoint.answers["GET /v1/files/file-1/content"] = (200, "a\nb\n")
    saved = tmp_path / "out"
    assert run("files", "content", "file-1", "-o", str(saved)).code == 0
    assert saved.read_bytes() == b"a\nb\n"


def test_an_adapter_is_two_files(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors", "secret.txt"):
        (tmp_path / name).write_text(f"<{name}>")
    endpoint.answers["POST /v1/adapters"] = (200, {"name": "birds", "state": "stored"})
    found = run("adapters", "add", str(tmp_path), "--name", "birds", "--base", "budgie")
    assert found.out == "birds stored\n"
    body = endpoint.asked[0].body
    assert body.count(b'name="files"') == 2
    assert b"secret" not in body


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The words that add an adapter, which is looked after without a pause."""
    monkeypatch.setattr(adapters, "POLL_SECONDS", 0)
    for name in adapters.FILES:
        (tmp_path / name).touch()
    return ("adapters", "add", str(tmp_path), "--name", "birds", "--base", "budgie")


PUBLISHING = {"id": "adapter-1", "name": "birds", "state": "publishing", "error": None}


def test_an_adapter_is_waited_for(endpoint: Endpoint, run: Run, adapter: tuple[str, ...]) -> None:
    endpoint.answers["POST /v1/adapters"] = (201, PUBLISHING)
    published = {**PUBLISHING, "state": "published"}
    states = [
        (200, {"data": [PUBLISHING]}),
        (503, {"error": {"message": "No router."}}),
        (200, {"data": [{**published, "id": "adapter-0"}, published]}),
    ]
    endpoint.answers["GET /v1/adapters"] = states[:]
    found = run(*adapter)
    assert (found.code, found.out, found.err) == (0, "birds published\n", "")
    endpoint.answers["GET /v1/adapters"] = states[:]
    assert run(*adapter, "--json").json() == published


def test_an_adapter_need_not_be_waited_for(
    endpoint: Endpoint, run: Run, adapter: tuple[str, ...]
) -> None:
    endpoint.answers["POST /v1/adapters"] = (201, PUBLISHING)
    found = run(*adapter, "--no-wait")
    assert (found.code, found.out) == (0, "birds publishing\n")
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("rows", "state", "told"),
    [
        (
            [{**PUBLISHING, "state": "failed", "error": "replica r1 could not load it: no room"}],
            "failed",
            "The adapter failed: replica r1 could not load it: no room",
        ),
        ([], "retired", "The adapter was removed meanwhile."),
    ],
)
def test_an_adapter_that_never_answers_is_an_error(
    endpoint: Endpoint, run: Run, adapter: tuple[str, ...],
    rows: list[dict[str, object]], state: str, told: str,
) -> None:  # fmt: skip
    endpoint.answers["POST /v1/adapters"] = (201, PUBLISHING)
    endpoint.answers["GET /v1/adapters"] = (200, {"data": rows})
    found = run(*adapter)
    assert (found.code, found.err) == (1, f"lorikeet: {told}\n")
    found = run(*adapter, "--json")
    assert (found.code, found.json()["state"]) == (1, state)
    assert json.loads(found.err)["error"]["code"] == "adapter_not_published"


def test_an_adapter_is_not_waited_for_without_end(
    endpoint: Endpoint, run: Run, adapter: tuple[str, ...]
) -> None:
    endpoint.answers["POST /v1/adapters"] = (201, PUBLISHING)
    endpoint.answers["GET /v1/adapters"] = (200, {"data": [PUBLISHING]})
    found = run(*adapter, "--timeout", "0")
    assert found.code == 1
    assert found.err.startswith("lorikeet: birds is still publishing after 0 s; ")


def test_a_pickled_adapter_stays_here(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").touch()
    (tmp_path / "adapter_model.bin").touch()
    found = run("adapters", "add", str(tmp_path), "--name", "birds", "--base", "budgie")
    assert found.code == 1
    assert "lacks adapter_model.safetensors; pickled weights (.bin) are not taken." in found.err
    assert endpoint.asked == []


def test_an_empty_folder_is_no_adapter(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    found = run("adapters", "add", str(tmp_path), "--name", "birds", "--base", "budgie")
    assert (found.code, endpoint.asked) == (1, [])
    assert found.err.replace("\n", "").endswith("lacks adapter_config.json.")


def test_a_key_is_printed_alone(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/organization/keys"] = (200, {**KEY, "key": "sk-lk-secret"})
    words = ["--name", "ci", "--scope", "train", "--scope", "read", "--expires", "1d"]
    found = run("keys", "create", *words)
    assert found.out == "sk-lk-secret\n"
    asked = endpoint.asked[0].json()
    assert asked["scopes"] == ["train", "read"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert abs(datetime.fromisoformat(asked["expires_at"]) - tomorrow) < timedelta(minutes=1)


def test_a_far_expiry_is_sent_as_a_date(endpoint: Endpoint, run: Run) -> None:
    """The endpoint would read so large a number as milliseconds, and a day of 1970."""
    endpoint.answers["POST /v1/organization/keys"] = (200, {**KEY, "key": "sk-lk-secret"})
    assert run("keys", "create", "--name", "ci", "--expires", "2700-01-01").code == 0
    assert endpoint.asked[0].json()["expires_at"] == "2700-01-01T00:00:00+00:00"


def test_keys_are_listed_without_their_secret(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/organization/keys"] = (200, {"data": [KEY]})
    assert "sk-lk-ab…" in run("keys", "list").out


def test_keys_follow_their_pages(endpoint: Endpoint, run: Run) -> None:
    rows = [{**KEY, "id": f"key-{n}"} for n in range(3)]
    endpoint.answers["GET /v1/organization/keys"] = [
        (200, {"data": rows[:2], "has_more": True}),
        (200, {"data": rows[2:], "has_more": False}),
    ]
    assert run("keys", "list", "--json").json() == rows
    assert "after=key-1" in endpoint.asked[1].path


def test_limits_are_shown(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/organization/limits"] = (200, LIMITS)
    assert run("limits", "show", "--json").json() == LIMITS
    rows = [line.split() for line in run("limits", "show").out.splitlines()[1:]]
    assert rows == [
        ["requests_per_minute", "60"],
        ["requests_per_day", "unlimited"],
        ["tokens_per_minute", "0"],
        ["max_concurrent", "unlimited"],
    ]


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["--requests-per-minute", "60"], {"requests_per_minute": 60}),
        (["--requests-per-day=9", "--tokens-per-minute=0", "--max-concurrent=4"],
         {"requests_per_day": 9, "tokens_per_minute": 0, "max_concurrent": 4}),
        (["--unlimited"], dict.fromkeys(LIMITED)),
        (["--unlimited", "--max-concurrent=4"], {**dict.fromkeys(LIMITED), "max_concurrent": 4}),
    ],
)  # fmt: skip
def test_limits_are_set(
    endpoint: Endpoint, run: Run, words: list[str], sent: dict[str, int | None]
) -> None:
    endpoint.answers["POST /v1/organization/limits"] = (200, LIMITS)
    assert run("limits", "set", *words, "--json").json() == LIMITS
    assert endpoint.asked[0].json() == sent


@pytest.mark.parametrize("words", [[], ["--max-concurrent", "-1"], ["--max-concurrent", "many"]])
def test_wrong_limits_are_not_sent(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    assert run("limits", "set", *words).code == 2
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["--model", "budgie", "--model", "ft:*"], {"models": ["budgie", "ft:*"]}),
        (["--requests-per-minute=5", "--budget-usd", "12.50"],
         {"limits": {"requests_per_minute": 5},
          "budget": {"period": "month", "usd": "12.50", "tokens": None}}),
        (["--all-models", "--no-budget", "--never-expires"],
         {"models": None, "budget": None, "expires_at": None}),
        (["--unlimited", "--max-concurrent=2"],
         {"limits": {**dict.fromkeys(LIMITED), "max_concurrent": 2}}),
        (["--name", "b", "--budget-tokens=9", "--budget-per=day"],
         {"name": "b", "budget": {"period": "day", "usd": None, "tokens": 9}}),
    ],
)  # fmt: skip
def test_a_key_is_changed(
    endpoint: Endpoint, run: Run, words: list[str], sent: dict[str, object]
) -> None:
    endpoint.answers["POST /v1/organization/keys/key-1"] = (200, KEY)
    assert run("keys", "change", "key-1", *words).out == "Changed key-1.\n"
    assert endpoint.asked[0].json() == sent


@pytest.mark.parametrize(
    "words",
    [[], ["--model=a", "--all-models"], ["--budget-per=day"], ["--budget-usd=much"],
     ["--budget-usd=-1"]],
)  # fmt: skip
def test_a_wrong_change_is_not_sent(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    assert run("keys", "change", "key-1", *words).code == 2
    assert endpoint.asked == []


def test_a_key_is_shown_with_what_it_spent(endpoint: Endpoint, run: Run) -> None:
    budget = {"period": "day", "usd": "2", "spent_usd": "0.5", "resets_at": 86400}
    limits = {**dict.fromkeys(LIMITED), "max_concurrent": 4}
    endpoint.answers["GET /v1/organization/keys/key-1"] = (
        200, {**KEY, "limits": limits, "budget": budget},
    )  # fmt: skip
    rows = dict(
        line.split(maxsplit=1) for line in run("keys", "show", "key-1").out.splitlines()[1:]
    )
    assert (rows["budget_usd"], rows["spent_usd"], rows["max_concurrent"]) == ("2", "0.5", "4")
    assert rows["budget_resets_at"].startswith("1970-01-0")


def test_the_organizations_budget(endpoint: Endpoint, run: Run) -> None:
    path = "/v1/organization/budget"
    endpoint.answers[f"GET {path}"] = (200, {"budget": None})
    assert run("budget", "show").out == "There is no budget.\n"
    kept = {"period": "month", "usd": "5", "spent_usd": "1", "resets_at": None}
    endpoint.answers[f"POST {path}"] = (200, {"budget": kept})
    assert "spent_usd" in run("budget", "set", "--usd", "5").out
    assert run("budget", "lift").code == 0
    sent = {"period": "month", "usd": "5", "tokens": None}
    assert [asked.json() for asked in endpoint.asked[1:]] == [{"budget": sent}, {"budget": None}]
    assert run("budget", "set").code == 2


def test_prices(endpoint: Endpoint, run: Run) -> None:
    path = "/v1/organization/prices"
    price = {"id": "price-1", "model": "budgie", "input": "0.1", "cached_input": "0.1",
             "output": "0.2", "valid_from": 0}  # fmt: skip
    endpoint.answers[f"POST {path}"] = (201, price)
    endpoint.answers[f"GET {path}"] = (200, {"data": [price]})
    endpoint.answers[f"DELETE {path}/price-1"] = (200, {"id": "price-1"})
    words = ["--input", "0.1", "--output", "0.2", "--valid-from", "2700-01-01"]
    assert run("prices", "set", "budgie", *words).out.startswith("budgie: 0.1 in")
    assert endpoint.asked[0].json() == {
        "model": "budgie", "input": "0.1", "output": "0.2",
        "valid_from": "2700-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert "budgie" in run("prices", "list").out
    assert run("prices", "remove", "price-1").out == "Removed price-1.\n"
    assert run("prices", "set", "budgie", "--input", "free").code == 2


def test_expiry_is_understood() -> None:
    assert expiry("2030-01-02") == datetime(2030, 1, 2, tzinfo=UTC)
    assert expiry("2030-01-02T03:00:00+01:00") == datetime(2030, 1, 2, 2, tzinfo=UTC)
    for wrong in ("soon", "10x", "-1d"):
        with pytest.raises(typer.BadParameter):
            expiry(wrong)
