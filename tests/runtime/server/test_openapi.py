"""The OpenAPI document says exactly what the server takes and gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.runtime.server.serving import Running, serve

schemathesis: Any = pytest.importorskip("schemathesis", reason="the extra clients is not installed")

PATHS = [
    "/predict", "/", "/classify", "/v1/classify", "/v1/models/{name}:predict", "/v1/models/{name}", "/v1/models",
    "/v2", "/v2/health/live", "/v2/health/ready", "/health", "/health/live", "/health/ready", "/metrics", "/info",
    "/v2/models/{name}", "/v2/models/{name}/ready", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready", "/v2/models/{name}/versions/{version}/infer",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(heads: dict[str, Path]) -> Iterator[Running]:
    with serve(heads["single"]) as running:
        yield running


@pytest.fixture(scope="module")
def schema(server: Running) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_path_is_tested(schema: Any) -> None:
    assert sorted(schema.raw_schema["paths"]) == sorted(PATHS)
    assert schema.raw_schema["openapi"] == "3.1.0"


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize("path", PATHS)
def test_requests_that_are_as_described_and_others(server: Running, schema: Any, path: str, mode: str) -> None:
    [method] = schema.raw_schema["paths"][path].keys() - {"parameters"}
    strategy = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode[mode])
    # What JSON Schema does not say: texts and pairs do not mix, and as many texts come as a shape says.
    excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")] if method == "post" else []

    @hypothesis.settings(max_examples=40, database=None)
    @hypothesis.given(case=strategy)
    def check(case: Any) -> None:
        response = case.call()
        if response.status_code != 504:  # what came of a timeout of some nanoseconds
            case.validate_response(response, excluded_checks=excluded)

    try:
        check()
    except hypothesis.errors.Unsatisfiable:
        assert mode == "NEGATIVE" and method == "get"
    assert not [line for line in server.log if "Traceback" in line]
