"""What Schemathesis sends, so that requests reach the models and are soon answered."""

from __future__ import annotations

from typing import Any

import schemathesis

MODELS = {"/v1/embeddings": "all-MiniLM-L6-v2"}
FEW = 4
"""Tokens of an answer, and answers to one request."""


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    if not isinstance(body, dict) or context.operation is None:
        return body
    if isinstance(body.get("model"), str) and context.operation.path != "/v1/fine_tuning/jobs":
        body["model"] = MODELS.get(context.operation.path, "budgie")
    for field in ("max_tokens", "max_completion_tokens", "min_tokens", "n", "best_of"):
        if isinstance(body.get(field), int) and body[field] > FEW:
            body[field] = FEW
    return body
