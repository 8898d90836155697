"""The OpenAPI document says exactly what the server takes and gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.server.conftest import Running, serve

schemathesis: Any = pytest.importorskip("schemathesis", reason="the extra clients is not installed")


@pytest.fixture(scope="module")
def server(heads: dict[str, Path]) -> Iterator[Running]:
    with serve(heads["single"]) as running:
        yield running


@pytest.fixture(scope="module")
def schema(server: Running) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
def test_requests_that_are_described_and_such_that_are_not(case: Any) -> None:
    case.call_and_validate()
