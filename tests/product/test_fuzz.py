"""Requests that Schemathesis makes from `/openapi.json`: none of them is a fault of the server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cluster.tenancy.principal import Scope
from tests.clients import installed
from tests.product.product import Product, ask
from tests.product.tenants import new_key

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
LIMITS = "/v1/organization/limits"


@pytest.mark.parametrize(
    ("which", "examples"),
    [
        pytest.param(("--exclude-path", LIMITS), 10, id="all"),
        # By itself: what it sets holds for every other request of its organization.
        pytest.param(("--include-path", LIMITS), 40, id="limits"),
    ],
)
def test_generated_requests(
    product: Product, tmp_path: Path, which: tuple[str, ...], examples: int
) -> None:
    report = tmp_path / "report.json"
    # An organization of its own: what is made, changed and removed is nobody else's.
    key = new_key(product, [Scope.ADMIN])
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "PYTHONPATH": str(installed.CLIENTS),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [
            *(installed.python().parent / "schemathesis", "run", f"{product.url}/openapi.json"),
            *("--header", f"authorization: Bearer {key}", *which),
            *("--phases", "fuzzing", "--max-examples", str(examples), "--seed", "1"),
            *("--checks", ",".join(CHECKS), "--continue-on-failure", "--no-shrink"),
            *("--generation-database", "none", "--suppress-health-check", "all"),
            *("--request-timeout", "30", "--workers", "1", "--warnings", "off"),
            *("--report", "json", "--report-json-path", str(report)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    assert json.loads(report.read_text())
    assert ask(product.openai(), "budgie", "Hello!"), "the product is well"
