"""What `/v1/embeddings` takes, refuses and asks the embedder for."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.route import Route
from cluster.errors import ConfigurationError, ContextTooLong, InvalidRequest
from deployments.embedding import Embedded, EmbedderArgs, shortened
from deployments.router.asked.embed import MAX_INPUTS, MAX_TOKENS, Text, parse
from tests.deployments.router.caller import Caller

MINI = BaseModel("mini", ModelKind.EMBEDDING, "app", "mini", 8, hidden_size=2)
VECTOR = np.array([1, 0], "<f4").tobytes()


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
    ],
)
def test_texts_come_as_strings_or_as_tokens(given: Any, texts: list[Text]) -> None:
    assert parse({"model": "mini", "input": given}).texts == texts


@pytest.mark.parametrize(
    "given",
    [5, None, {}, [None], ["a", 5], [5, "a"], [True], [-1], [5.0], [[5], "a"], [[["a"]]], [[5], 6]],
)
def test_the_parameter_of_a_wrong_input_is_input(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="must be a string, a list of strings") as refused:
        parse({"model": "mini", "input": given})
    assert refused.value.param == "input"
    assert "more" not in refused.value.message


@pytest.mark.parametrize(
    "given", ["", [], [""], [[]], [[5], []], ["a"] * (MAX_INPUTS + 1), [5] * (MAX_TOKENS + 1)]
)
def test_too_little_and_too_much_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse({"model": "mini", "input": given})
    assert refused.value.param == "input"


def asked(given: Any, **more: Any) -> Any:
    return parse({"model": "mini", "input": given, **more})


def mini(*counts: int, model: BaseModel = MINI) -> Caller:
    """An embedder that knows ten tokens and finds so many in each text."""
    return Caller(model, Embedded([VECTOR] * len(counts), list(counts), 10))


async def test_tokens_reach_the_embedder_and_are_counted() -> None:
    caller = mini(3, 1)
    answer = await caller.post(asked([[1, 2, 3], [9]]))
    assert [(call.method, call.arguments) for call in caller.calls] == [
        ("embed", ([[1, 2, 3], [9]], None))
    ]
    assert caller.exchange.usage.prompt == answer["usage"]["prompt_tokens"] == 4
    assert caller.sent[0]["status"] == 200
    assert [item["embedding"] for item in answer["data"]] == [[1.0, 0.0]] * 2


async def test_vectors_come_as_base64_where_that_is_asked_for() -> None:
    answer = await mini(1).post(asked("a", encoding_format="base64"))
    assert base64.b64decode(answer["data"][0]["embedding"]) == VECTOR


async def test_tokens_of_another_model_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"input\[1\] has the token 10; 'mini' has 0 to 9"):
        await mini(1, 2).post(asked([[1], [2, 10]]))
    with pytest.raises(ContextTooLong):
        await mini(9).post(asked([[1] * 9]))


def test_tokens_are_reserved_as_such() -> None:
    route = Route("mini", MINI, "mini")
    assert asked([[1, 2], [3]]).estimate(route) == 3
    assert asked(["x" * 30]).estimate(route) == 10
    assert asked(["hi"] * 20).estimate(route) == 20, "nothing is for nothing"


BIG = replace(MINI, hidden_size=1024)


@pytest.mark.parametrize(
    ("model", "taken", "refused", "told"),
    [
        (BIG, 1024, 512, "can't be shortened"),
        (replace(BIG, dimensions=(512, 256)), 256, 255, "can be shortened to 256, 512"),
        (replace(BIG, dimensions=(512, 256)), 1024, 2048, "has 1024"),
        (replace(BIG, min_dimensions=32), 33, 31, "can be shortened to 32 or more"),
        (replace(BIG, min_dimensions=32), 1024, 1025, "has 1024"),
    ],
)
async def test_vectors_are_shortened_as_the_model_allows(
    model: BaseModel, taken: int, refused: int, told: str
) -> None:
    caller = mini(1, model=model)
    await caller.post(asked("a", dimensions=taken))
    assert caller.calls[0].arguments == (["a"], taken)
    with pytest.raises(InvalidRequest, match=told) as error:
        await caller.post(asked("a", dimensions=refused))
    assert error.value.param == "dimensions"
    assert len(caller.calls) == 1


def test_what_is_left_of_a_vector_has_length_1() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], np.float32) / np.array([[13], [1]], np.float32)
    short = shortened(vectors, 2)
    np.testing.assert_allclose(short, [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert shortened(vectors, None) is shortened(vectors, 3) is vectors


def test_sizes_that_a_model_does_not_have_are_configured_wrongly() -> None:
    given = {"name": "mini", "source": "mini"}
    EmbedderArgs.read({**given, "dimensions": [64, 128]}).check_size(128)
    with pytest.raises(ConfigurationError, match="to 256 dimensions: it has 128"):
        EmbedderArgs.read({**given, "dimensions": [64, 256]}).check_size(128)
    with pytest.raises(ConfigurationError, match="to 256 dimensions"):
        EmbedderArgs.read({**given, "min_dimensions": 256}).check_size(128)
    with pytest.raises(ConfigurationError, match="either dimensions or min_dimensions"):
        EmbedderArgs.read({**given, "dimensions": [64], "min_dimensions": 8})
