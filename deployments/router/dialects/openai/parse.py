"""Step 3 for OpenAI's inference endpoints: a body into what the engine is sent.

The engine checks the body with vLLM's own request classes. Only what the router itself decides by
is read here, and what those classes would let pass unseen is refused.
"""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import boolean, kind
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.schema import check_schemas
from deployments.router.exchange import Exchange

OBJECTS = ("metadata", "response_format", "stream_options", "structured_outputs")
"""Fields that are objects; vLLM takes other values for some of them, or breaks at them."""
UNSERVED = {
    "audio": "answers are text",
    "functions": "give them as tools",
    "web_search_options": "nothing is searched for",
}
"""Fields of OpenAI's that our engines take and leave without effect."""
DEFAULT_COMPLETION = 256
"""Tokens reserved for an answer whose length the caller did not bound."""
MAX_ANSWERS = 128
"""As many as OpenAI makes of one prompt."""
MAX_PROMPTS = 128
"""In one text completion: each is a sequence of its own in the engine."""
MAX_BAD_WORDS, MAX_BAD_WORD = 128, 256
"""How many for all prompts, and the characters of each. The engine encodes them anew for every
prompt, where the requests of all its callers wait."""
MAX_STOP = 1024
"""Characters of each text."""
MAX_SALT = 1024
BYTES_PER_TOKEN = 3
"""About as in most texts: what a caller is charged who leaves before the engine's counts have come.
What is reserved until then is more."""


class ParseInference:
    """Chat and text completions."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    async def __call__(self, exchange: Exchange) -> None:
        body = self._fields.check(exchange)
        exchange.stream = boolean(body, "stream")
        if exchange.endpoint == "/v1/chat/completions":
            check_messages(body)
        else:
            exchange.prompts = _prompts(body)
        for field in OBJECTS:
            if not isinstance(body.get(field), dict | None):
                raise InvalidRequest(
                    f"{field} must be an object, not {kind(body[field])}.", param=field
                )
        if not exchange.remote:
            _served(body)
        check_schemas(body)
        _bad_words(body, exchange.prompts)
        check_texts(body, "stop")
        check_salt(body)
        for field in ("max_completion_tokens", "max_tokens"):
            check_whole(body, field)
        at_least(body, "max_completion_tokens", 1)
        check_whole(body, "top_logprobs")
        at_least(body, "top_logprobs", 0)
        options = body.get("stream_options")
        if exchange.stream:
            # Accounting needs the counts; who did not ask for them is not shown them.
            exchange.usage_wanted = bool((options or {}).get("include_usage"))
            body["stream_options"] = {**(options or {}), "include_usage": True}
        bound = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_COMPLETION
        answers = _answers(body)
        exchange.prompt_estimate = len(exchange.body) // BYTES_PER_TOKEN
        exchange.reserve = exchange.prompt_estimate + max(0, bound) * answers * exchange.prompts


def check_messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list):
        given = "it is missing" if messages is None else f"given: {kind(messages)}"
        raise InvalidRequest(f"messages must be a list ({given}).", param="messages")
    if not messages:
        raise InvalidRequest(
            "messages is empty: it must hold at least one message.", param="messages"
        )


def _served(body: dict[str, Any]) -> None:
    """Raises InvalidRequest for what OpenAI does beside: the answer would be another."""
    for field, why in UNSERVED.items():
        if body.get(field) is not None:
            raise InvalidRequest(
                f"{field} is not served: {why}.", param=field, code="unsupported_parameter"
            )
    if body.get("modalities") not in (None, ["text"]):
        raise InvalidRequest(
            f'modalities must be ["text"], not {kind(body["modalities"])}.', param="modalities"
        )


def _prompts(body: dict[str, Any]) -> int:
    """How many prompts a text completion has. A list of numbers is one, made of tokens."""
    if "prompt" not in body:
        raise InvalidRequest("prompt is required: a string or a list.", param="prompt")
    prompt = body["prompt"]
    if not isinstance(prompt, list) or (prompt and isinstance(prompt[0], int)):
        return 1
    if len(prompt) > MAX_PROMPTS:
        raise InvalidRequest(
            f"prompt has {len(prompt)} members; at most {MAX_PROMPTS} are taken.", param="prompt"
        )
    return max(1, len(prompt))


def _answers(body: dict[str, Any]) -> int:
    """How many answers to each prompt."""
    check_whole(body, "n")
    answers: int | None = body.get("n")
    if answers is None:
        return 1
    if answers > MAX_ANSWERS:
        raise InvalidRequest(f"n is {answers}; at most {MAX_ANSWERS} are made.", param="n")
    return max(1, answers)


def _bad_words(body: dict[str, Any], prompts: int) -> None:
    """The engine itself bounds only their number, and after it has encoded them."""
    words = body.get("bad_words")
    if not isinstance(words, list):
        return  # the engine refuses what is not a list of strings
    if len(words) * prompts > MAX_BAD_WORDS:
        each = f" for each of {prompts} prompts" if prompts > 1 else ""
        raise InvalidRequest(
            f"bad_words has {len(words)} members{each}; at most {MAX_BAD_WORDS} are taken in all.",
            param="bad_words",
        )
    _lengths("bad_words", words, MAX_BAD_WORD)


def check_texts(body: dict[str, Any], field: str) -> None:
    """Of one or several texts at which an answer stops."""
    stop = body.get(field)
    _lengths(field, stop if isinstance(stop, list) else [stop], MAX_STOP)


def _lengths(field: str, texts: list[Any], most: int) -> None:
    longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
    if longest > most:
        raise InvalidRequest(
            f"{field} has a text of {longest} characters; at most {most} are taken.", param=field
        )


def check_salt(body: dict[str, Any]) -> None:
    salt = body.get("cache_salt")
    if salt is None:
        return
    if not isinstance(salt, str):
        raise InvalidRequest(f"cache_salt must be a string, not {kind(salt)}.", param="cache_salt")
    if not 1 <= len(salt) <= MAX_SALT:
        raise InvalidRequest(
            f"cache_salt has {len(salt)} characters; it must have 1 to {MAX_SALT}.",
            param="cache_salt",
        )


def check_whole(body: dict[str, Any], field: str) -> None:
    """The engine would also read a number in a string, of which nothing would be reserved."""
    value = body.get(field)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidRequest(f"{field} must be a whole number, not {kind(value)}.", param=field)


def at_least(body: dict[str, Any], field: str, least: int) -> None:
    """The engine's own words would be about the field that it makes of this one."""
    value = body.get(field)
    if isinstance(value, int) and value < least:
        raise InvalidRequest(f"{field} is {value}; it must be at least {least}.", param=field)
