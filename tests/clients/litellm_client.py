"""LiteLLM's SDK against a running product; what it saw goes to standard output as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import litellm
import openai

URL, KEY, LIMITED = (os.environ[name] for name in ("BASE_URL", "API_KEY", "LIMITED_KEY"))
AT: dict[str, Any] = {"api_base": URL, "api_key": KEY, "max_retries": 0}
BUDGIE: dict[str, Any] = {"model": "openai/budgie", "temperature": 0, "max_tokens": 64, **AT}
PERSON = "Extract name and age as JSON: Mia is 7 years old."
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def asking(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def tool(name: str, parameter: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": "string"}},
        "required": [parameter],
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def calls(answer: Any) -> list[dict[str, Any]]:
    found = answer.choices[0].message.tool_calls or []
    return [{"name": c.function.name, "args": json.loads(c.function.arguments)} for c in found]


def refused(**asked: Any) -> dict[str, Any]:
    try:
        litellm.completion(**{**BUDGIE, "messages": asking("a"), **asked})
    except openai.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code}
    return {"class": "no error"}


WEATHER: dict[str, Any] = {
    **BUDGIE,
    "messages": asking("What is the weather in Oslo?"),
    "tools": [tool("get_weather", "city"), tool("get_order", "order_id")],
}
whole = litellm.completion(**BUDGIE, messages=asking("Count from 1 to 9."))
chunks = list(
    litellm.completion(
        **BUDGIE,
        messages=asking("Count from 1 to 9."),
        stream=True,
        stream_options={"include_usage": True},
    )
)
named = {"type": "function", "function": {"name": "get_order"}}
pieces = list(litellm.completion(**WEATHER, stream=True))
person = litellm.completion(
    **BUDGIE,
    messages=asking(PERSON),
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
    },
)
many = litellm.completion(
    **{**BUDGIE, "temperature": 0.5}, messages=asking("Hello!"), n=2, logprobs=True, top_logprobs=2
)
bound = litellm.completion(
    **BUDGIE,
    messages=asking("Hello!"),
    extra_body={"structured_outputs": {"grammar": 'root ::= "left" | "right"'}},
)
legacy = litellm.text_completion(
    **{**BUDGIE, "model": "text-completion-openai/budgie"}, prompt="One two", echo=True
)
embedded = litellm.embedding(model="openai/all-MiniLM-L6-v2", input=["one", "two"], **AT)
messages = litellm.completion(
    **{**BUDGIE, "model": "anthropic/budgie", "api_base": URL.removesuffix("/v1")},
    messages=asking("Count from 1 to 9."),
)
endless = litellm.completion(
    **{**BUDGIE, "max_tokens": 1900},
    messages=asking("Hello!"),
    stream=True,
    extra_body={"min_tokens": 1900, "ignore_eos": True},
)
begun = [next(endless) for _ in range(3)]

print(
    json.dumps(
        {
            "chat": {"text": whole.choices[0].message.content, "usage": whole.usage.model_dump()},
            "stream": {
                "text": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
                "usage": next(
                    c.usage.model_dump() for c in reversed(chunks) if getattr(c, "usage", None)
                ),
            },
            "tools": {
                "auto": calls(litellm.completion(**WEATHER)),
                "forced": calls(litellm.completion(**WEATHER, tool_choice=named)),
                "streamed": calls(litellm.stream_chunk_builder(pieces)),
            },
            "parsed": json.loads(person.choices[0].message.content),
            "many": {
                "choices": len(many.choices),
                "top": len(many.choices[0].logprobs.content[0].top_logprobs),
            },
            "bound": bound.choices[0].message.content,
            "legacy": legacy.choices[0].text,
            "embedded": [item["embedding"] for item in embedded.data],
            "anthropic": messages.choices[0].message.content,
            "pieces": len(begun),
            "errors": {
                "key": refused(api_key="sk-wrong"),
                "model": refused(model="openai/nobody"),
                "field": refused(temperature=-1),
                "limit": refused(api_key=LIMITED),
            },
        }
    )
)
