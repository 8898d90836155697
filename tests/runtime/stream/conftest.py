from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

JOB = Path(__file__).with_name("fake_job.py")


@pytest.fixture(scope="session")
def fake_job() -> Path:
    """The script that runs a job in a process of its own."""
    return JOB


@pytest.fixture(scope="session")
def make_fake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Make a stand-in for a model, by head."""
    spec = importlib.util.spec_from_file_location("fake_job", JOB)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(b"a model")

    def make(*args: Any, model: Path = path, **values: Any) -> Any:
        return module.Fake(model, *args, **values)

    return make


@pytest.fixture(scope="session")
def fake(make_fake: Callable[..., Any]) -> Any:
    return make_fake()
