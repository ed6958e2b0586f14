"""What an export looks like to those who load it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.catalog.adapter_folder import inspect
from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.jobs.spec import Method
from cluster.jobs.states import JobState
from cluster.store.artifacts import Artifacts
from tests.train.doubles import ASSIGNMENT, FolderJournal, FolderPublisher, assignment
from train.card import Outcome, model_card
from train.export import CONFIG, WEIGHTS, write_adapter
from train.publish import hand_over, model_name
from train.reporter import Reporter
from train.stop import StopMarker

OUTCOME = Outcome(
    step=80, last_step=82, training_loss=0.097, held_out_loss=None, trained_tokens=26322, rows=20,
    held_out_rows=0, truncated_rows=0, data_sha256="e408",
)  # fmt: skip


@pytest.mark.slow
def test_an_adapter_folder_is_peft_s_and_the_same_each_time(tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = get_peft_model(
        LlamaForCausalLM(shape), LoraConfig(r=4, target_modules=["v_proj", "q_proj"])
    )
    state = get_peft_model_state_dict(model)
    folders = (tmp_path / "one", tmp_path / "two")
    for folder in folders:
        folder.mkdir()
        write_adapter(folder, model, state, "budgie")
    one, two = folders
    assert sorted(path.name for path in one.iterdir()) == [CONFIG, WEIGHTS]
    for name in (CONFIG, WEIGHTS):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    config = json.loads((one / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "budgie"
    assert config["inference_mode"] is True
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["r"] == 4
    layers = {f"model.layers.0.self_attn.{name}": (out, 16)
              for name, out in (("q_proj", 16), ("v_proj", 8))}  # fmt: skip
    served = BaseModel("budgie", ModelKind.LLM, "budgie", "budgie", 64, max_rank=4, modules=layers)
    assert inspect(one, served).target_modules == ("q_proj", "v_proj")
    loaded = PeftModel.from_pretrained(LlamaForCausalLM(shape), one)
    reloaded = get_peft_model_state_dict(loaded)
    assert reloaded.keys() == state.keys() != set()
    assert all(bool((reloaded[name] == state[name]).all()) for name in state)


def test_the_name_is_in_openai_s_form() -> None:
    assert model_name(ASSIGNMENT) == "ft:budgie:acme:facts:89abcdef"
    assert model_name(assignment(suffix=None)) == "ft:budgie:acme::89abcdef"


def test_the_card_says_what_it_was_made_of() -> None:
    card = model_card("ft:budgie:acme::1", ASSIGNMENT, OUTCOME)
    assert card.startswith("---\nbase_model: budgie\n")
    for fact in ("e408", "0.0970", "not measured", "80 of 82", "| learning_rate | 0.0025 |"):
        assert fact in card
    assert card == model_card("ft:budgie:acme::1", ASSIGNMENT, OUTCOME)


def test_an_adapter_goes_to_the_catalogue(tmp_path: Path) -> None:
    journal = handed_over(tmp_path, Method.LORA)
    (line,) = journal.lines("registering")
    assert (line["id"], line["name"]) == ("adapter-1", "ft:budgie:acme:facts:89abcdef")
    assert line["tokens"] == 26322
    assert (tmp_path / "adapter" / "README.md").is_file()


def test_a_whole_model_goes_to_the_store(tmp_path: Path) -> None:
    journal = handed_over(tmp_path, Method.FULL)
    assert [line["state"] for line in journal.lines("move")][-2:] == ["registering", "succeeded"]
    (note,) = journal.lines("note")
    uri = note["data"]["uri"]
    assert uri in note["message"]
    assert (tmp_path / "store" / uri / "README.md").is_file()


def test_a_whole_model_s_last_two_moves_are_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may die after any write: none may leave the job where nobody would end it."""
    writes: list[tuple[JobState, ...]] = []
    move = FolderJournal.move

    def record(journal: FolderJournal, *states: JobState) -> None:
        writes.append(states)
        move(journal, *states)

    monkeypatch.setattr(FolderJournal, "move", record)
    handed_over(tmp_path, Method.FULL)
    assert writes[-1] == (JobState.REGISTERING, JobState.SUCCEEDED)


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
def test_a_job_that_was_cancelled_while_it_saved_publishes_nothing(
    tmp_path: Path, method: Method
) -> None:
    journal = handed_over(tmp_path, method, superseded=True)
    assert not journal.lines("registering")
    assert not (tmp_path / "adapter").exists()
    assert not (tmp_path / "store").exists()


def handed_over(tmp_path: Path, method: Method, *, superseded: bool = False) -> FolderJournal:
    job = assignment(method=method)
    journal = FolderJournal(tmp_path, job)
    for state in (JobState.TRAINING, JobState.SAVING):
        journal.move(state)
    if superseded:
        (tmp_path / "superseded").touch()
    artifacts = Artifacts((tmp_path / "store").as_uri())
    folder = tmp_path / "weights"
    folder.mkdir()
    reporter = Reporter(journal, StopMarker(artifacts, job.job_id, 1))
    hand_over(job, OUTCOME, folder, artifacts, FolderPublisher(tmp_path), reporter)
    return journal
