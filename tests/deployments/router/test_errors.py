"""vLLM's answers in our shape."""

from __future__ import annotations

import json

import pytest

from cluster.errors import (
    Internal,
    InvalidRequest,
    LorikeetError,
    ModelNotFound,
    Unavailable,
    UpstreamFailed,
)
from deployments.router.dialects.openai.errors import body, from_engine, headers, render_event

FINDING = (
    "1 validation error:\n  {'type': 'int_parsing', 'loc': 'body.max_tokens', "
    "'msg': 'Input should be a valid integer', 'input': 'x'}"
)
LONG = "This model's maximum context length is 2048 tokens. (parameter=input_tokens, value=2049)"


def _told(message: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "param": param, "code": 400}}).encode()


@pytest.mark.parametrize(
    ("message", "param", "shown"),
    [
        (FINDING, "body.max_tokens", ("max_tokens", "invalid_request", "given: 'x'")),
        (LONG, "input_tokens", ("messages", "context_length_exceeded", "2048 tokens.")),
        ("bad (parameter=top_p, value=2)", "top_p", ("top_p", "invalid_request", "bad")),
    ],
)
def test_a_refusal_names_the_callers_field(
    message: str, param: str, shown: tuple[str, str, str]
) -> None:
    error = from_engine(400, _told(message, param), "messages")
    assert (error.param, error.code) == shown[:2]
    assert shown[2] in error.message
    assert "parameter=" not in error.message
    assert error.status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, Internal), (503, Unavailable), (404, Unavailable), (418, UpstreamFailed)],
)
def test_other_answers_keep_their_meaning(status: int, kind: type[LorikeetError]) -> None:
    assert type(from_engine(status, _told("told"), "messages")) is kind
    assert type(from_engine(status, b"<html>", "messages")) is kind


def test_the_field_that_a_sentence_begins_with_is_named() -> None:
    fields = {"n", "model", "messages"}
    found = from_engine(400, _told("n must be at least 1, got 0.", None), "messages", fields)
    assert found.param == "n"
    other = from_engine(400, _told("the model says no", None), "messages", fields)
    assert other.param is None


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_too_many_output_tokens_are_not_the_prompts_fault(field: str) -> None:
    message = (
        f"{field}=100000 cannot be greater than max_model_len=1024. Please request fewer output "
        f"tokens. (parameter={field}, value=100000)"
    )
    error = from_engine(400, _told(message, field), "messages", {"messages", field})
    assert (error.param, error.code) == (field, "context_length_exceeded")


@pytest.mark.parametrize(
    ("message", "fields", "param"),
    [
        ("You must pass at least one prompt", {"prompt"}, "prompt"),
        ("The decoder prompt cannot be empty", {"prompt"}, "prompt"),
        ("Token id 999999999 is out of vocabulary", {"prompt"}, "prompt"),
        ("Grammar error: no such type: bogus", {"response_format"}, "response_format"),
        ("Failed to transform regex into a grammar: x", {"structured_outputs"},
         "structured_outputs"),
        ("Choice '[]' cannot be an empty list", {"structured_outputs"}, "structured_outputs"),
        ("structured_outputs.grammar cannot be an empty string", {"structured_outputs"},
         "structured_outputs"),
        ("Grammar error: x", {"response_format", "structured_outputs"}, None),
        ("Grammar error: x", {"response_format", "tools"}, None),
        ("Grammar error: x", set(), None),
        ("Something else", {"response_format"}, None),
    ],
)  # fmt: skip
def test_a_sentence_that_names_no_field(message: str, fields: set[str], param: str | None) -> None:
    assert from_engine(400, _told(message), "prompt", fields).param == param


@pytest.mark.parametrize("field", ["chat_template", "chat_template_kwargs"])
def test_a_template_is_refused_without_the_engines_switches(field: str) -> None:
    message = (
        "Chat template is passed with request, but --trust-request-chat-template is not set. "
        "Refused request with untrusted chat template."
    )
    error = from_engine(400, _told(message), "messages", {"messages", field})
    assert error.param == field
    assert "--" not in error.message


def test_a_time_to_come_again_is_rounded_up() -> None:
    assert headers(Unavailable("x", retry_after=0.2)) == {"retry-after": "1"}
    assert headers(Unavailable("x", retry_after=1.2)) == {"retry-after": "2"}
    assert headers(Internal("x")) == {}


def test_a_callers_input_does_not_come_back_at_length() -> None:
    long = "x" * 1_000_000
    assert len(json.dumps(body(ModelNotFound(long)))) < 400
    field = InvalidRequest(f"Unrecognized request argument supplied: {long}", param=long)
    assert len(render_event(field)) < 5000


def test_an_event_holds_the_whole_error() -> None:
    error = Internal("x", details={"a": 1})
    event = render_event(error)
    assert event.endswith(b"\n\n")
    assert json.loads(event.removeprefix(b"data: ")) == body(error)
    assert body(error)["error"]["details"] == {"a": 1}
