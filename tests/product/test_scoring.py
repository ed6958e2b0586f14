"""Scores, rankings and moderations: by the embedder, and by models that are deployed beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sentence_transformers import CrossEncoder

from cluster.embedded.record import ProductRecord
from cluster.embedded.serve_api import ServeApi
from cluster.embedded.serve_config import at_address, default_config, read_config
from tests.product.product import Product, wait_for
from tests.rag.tiny import make

QUERY = "Which animals can fly?"
DOCUMENTS = [
    "Granite is a hard stone.",
    "Most birds can fly.",
    {"text": "The budget was approved on Monday."},
    "Penguins are birds that swim and cannot fly.",
]


def post(product: Product, path: str, **body: Any) -> httpx.Response:
    with product.http as http:
        return http.post(path, json=body)


def test_the_embedder_ranks_documents_by_their_cosine(product: Product) -> None:
    body: dict[str, Any] = {"model": "all-MiniLM-L6-v2", "query": QUERY, "documents": DOCUMENTS}
    ranked = post(product, "/v1/rerank", **body).raise_for_status().json()
    order = [result["index"] for result in ranked["results"]]
    assert (order[0], set(order[:2])) == (1, {1, 3})
    assert ranked["results"][0]["document"] == {"text": DOCUMENTS[1]}
    few = post(product, "/v2/rerank", **body, top_n=1, return_documents=False).json()
    best = ranked["results"][0]["relevance_score"]
    assert few["results"] == [{"index": 1, "relevance_score": pytest.approx(best, abs=0.01)}]
    texts = [text if isinstance(text, str) else text["text"] for text in DOCUMENTS]
    scored = post(product, "/score", model="all-MiniLM-L6-v2", text_1=QUERY, text_2=texts).json()
    embedded = product.openai().embeddings.create(model="all-MiniLM-L6-v2", input=[QUERY, *texts])
    query, *others = [item.embedding for item in embedded.data]
    cosines = [sum(a * b for a, b in zip(query, other, strict=True)) for other in others]
    assert [one["score"] for one in scored["data"]] == pytest.approx(cosines, abs=0.02)
    assert scored["usage"]["total_tokens"] == embedded.usage.total_tokens
    long = post(product, "/v1/rerank", **{**body, "documents": ["bird " * 2000]})
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    cut = post(
        product, "/v1/rerank", **{**body, "documents": ["bird " * 2000]}, truncate_prompt_tokens=-1
    )
    assert cut.status_code == 200, cut.text


def test_what_no_model_answers_is_told(product: Product) -> None:
    missing = post(product, "/v1/moderations", input="a")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert "No moderation model is deployed" in missing.json()["error"]["message"]
    wrong = post(product, "/v1/rerank", model="budgie", query=QUERY, documents=["a"])
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "unsupported_endpoint")


def application(module: str, name: str, source: Path, **args: Any) -> dict[str, Any]:
    scale = {"resources": {"cpus": 0.1}}
    return {
        "name": name,
        "route_prefix": None,
        "import_path": f"deployments.{module}:app",
        "args": {"name": name, "source": str(source), "scale": scale, **args},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def deployed(product: Product, folder: Path) -> Iterator[None]:
    """A reranker and a classifier, which come and go while the other models stay."""
    record = ProductRecord.load(product.home)
    assert record is not None
    assert record.dashboard is not None
    assert record.ray_token_file is not None
    config = at_address(read_config(default_config()), None, product.port)
    more = [
        application("reranking", "ranker", make(folder / "ranker", ["relevant"])),
        application(
            "sequence_classifier",
            "guard",
            make(folder / "guard", ["ok", "violent"]),
            aliases=["omni-moderation-latest"],
            categories={"violent": "violence"},
            threshold=0.0,
        ),
    ]
    before = product.replica()["pid"]
    api = ServeApi(record.dashboard, Path(record.ray_token_file))
    api.deploy({**config, "applications": [*config["applications"], *more]}, 60)

    def present() -> bool:
        failed = [one for one in api.applications() if one.has_failed]
        assert failed == []
        return {"ranker", "guard"} <= {one.id for one in product.openai().models.list()}

    wait_for(present, "the models to be listed")
    assert product.replica()["pid"] == before
    yield
    api.deploy(config, 60)
    api.close()

    def gone() -> bool:
        return not {"ranker", "guard"} & {one.id for one in product.openai().models.list()}

    wait_for(gone, "the models to leave the list")


@pytest.mark.usefixtures("deployed")
def test_a_reranker_that_was_added_gives_its_own_scores(product: Product, folder: Path) -> None:
    documents = ["a bird", "stone", "bird bird bird"]
    ranked = post(product, "/v1/rerank", model="ranker", query="bird", documents=documents)
    results = ranked.raise_for_status().json()["results"]
    theirs = CrossEncoder(str(folder / "ranker"), device="cpu").predict(
        [("bird", document) for document in documents]
    )
    assert [one["index"] for one in results] == sorted(range(3), key=lambda i: -theirs[i])
    by_index = {one["index"]: one["relevance_score"] for one in results}
    assert [by_index[index] for index in range(3)] == pytest.approx(theirs.tolist(), abs=1e-4)
    wrong = post(product, "/v1/embeddings", model="ranker", input="a")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "unsupported_endpoint")


@pytest.mark.usefixtures("deployed")
def test_openais_client_moderates_unchanged(product: Product) -> None:
    client, began = product.openai(), time.time()
    for more in ({}, {"model": "omni-moderation-latest"}):
        answer = client.moderations.create(input=["a bird", "stone"], **more)
        assert (answer.model, len(answer.results)) == ("guard", 2)
        assert answer.results[0].flagged is True  # the threshold is 0
        assert 0 < answer.results[0].category_scores.violence < 1
        assert answer.results[0].categories.self_harm is False
        assert answer.results[0].category_applied_input_types.violence == ["text"]
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(openai.BadRequestError, match="is an image"):
        client.moderations.create(input=[image])  # type: ignore[list-item]

    def counted() -> bool:
        with product.http as http:
            page = http.get("/v1/organization/usage/moderations", params={"start_time": int(began)})
        results = [one for day in page.json()["data"] for one in day["results"]]
        return any(one["model"] == "guard" and one["input_tokens"] > 0 for one in results)

    wait_for(counted, "the usage to be recorded", 30)
