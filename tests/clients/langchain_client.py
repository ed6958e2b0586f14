"""langchain-openai against a running product; what it saw goes to standard output as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

URL, KEY, LIMITED = (os.environ[name] for name in ("BASE_URL", "API_KEY", "LIMITED_KEY"))
AT: dict[str, Any] = {"base_url": URL, "api_key": KEY, "max_retries": 0}
PERSON = "Extract name and age as JSON: Mia is 7 years old."


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return city


@tool
def get_order(order_id: str) -> str:
    """Look up an order."""
    return order_id


def refused(ask: Any) -> dict[str, Any]:
    try:
        ask()
    except openai.APIStatusError as error:
        of = type(error).__mro__
        # LangChain raises its own classes, which are the SDK's too.
        name = next(c.__name__ for c in of if c.__module__.startswith("openai"))
        return {
            "class": name,
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
        }
    return {"class": "no error"}


chat = ChatOpenAI(model="budgie", temperature=0, max_tokens=64, **AT)
whole = chat.invoke("Count from 1 to 9.")
chunks = list(chat.stream("Count from 1 to 9.", stream_usage=True))
tools = chat.bind_tools([get_weather, get_order])
called = tools.invoke("What is the weather in Oslo?")
forced = chat.bind_tools([get_weather, get_order], tool_choice="get_order").invoke(
    "What is the weather in Oslo?"
)
streamed = None
for chunk in tools.stream("What is the weather in Oslo?"):
    streamed = chunk if streamed is None else streamed + chunk
assert streamed is not None
person = chat.with_structured_output(Person, method="json_schema").invoke(PERSON)
many = ChatOpenAI(
    model="budgie", temperature=0.5, n=2, max_tokens=8, logprobs=True, top_logprobs=2, **AT
).generate([[HumanMessage("Hello!")]])
bound = chat.bind(extra_body={"structured_outputs": {"regex": "[ab]{3}"}}).invoke("Hello!")
legacy = OpenAI(model="budgie", temperature=0, max_tokens=4, **AT)
# Other providers' tokens are not OpenAI's: LangChain is told to send the texts.
embeddings = OpenAIEmbeddings(model="all-MiniLM-L6-v2", check_embedding_ctx_length=False, **AT)
endless = ChatOpenAI(
    model="budgie", max_tokens=1900, extra_body={"min_tokens": 1900, "ignore_eos": True}, **AT
).stream("Hello!")
pieces = [next(endless) for _ in range(3)]
endless.close()  # type: ignore[attr-defined]

generation = many.generations[0][0]
print(
    json.dumps(
        {
            "chat": {"text": whole.content, "usage": whole.usage_metadata},
            "stream": {
                "text": "".join(str(c.content) for c in chunks),
                "usage": next(c.usage_metadata for c in reversed(chunks) if c.usage_metadata),
            },
            "tools": {
                "auto": called.tool_calls,
                "forced": forced.tool_calls,
                "streamed": streamed.tool_calls,  # type: ignore[attr-defined]
            },
            "parsed": person.model_dump() if isinstance(person, Person) else None,
            "many": {
                "choices": len(many.generations[0]),
                "top": len(generation.generation_info["logprobs"]["content"][0]["top_logprobs"]),
            },
            "bound": bound.content,
            "legacy": legacy.invoke("One two"),
            "embedded": embeddings.embed_documents(["one", "two"]),
            "pieces": len(pieces),
            "errors": {
                "key": refused(lambda: ChatOpenAI(**{**AT, "api_key": "sk-wrong"}).invoke("a")),
                "model": refused(lambda: ChatOpenAI(model="nobody", **AT).invoke("a")),
                "field": refused(
                    lambda: ChatOpenAI(model="budgie", temperature=-1, **AT).invoke("a")
                ),
                "limit": refused(
                    lambda: ChatOpenAI(**{**AT, "api_key": LIMITED}, model="budgie").invoke("a")
                ),
            },
        }
    )
)
