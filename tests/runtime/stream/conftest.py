from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

JOB = Path(__file__).with_name("fake_job.py")
HANG_SEC = 600  # ends a hang; nothing that is tested takes as long on any machine
ROWS = 6000  # a seventh of them bad


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table, some of whose rows are bad."""
    path = tmp_path / "in.csv"
    rows = [f'{number},"text {number}\nof two lines"' if number % 7 else f"{number}" for number in range(ROWS)]
    path.write_text("id,text\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def run_job(fake_job: Path, model: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a job in a process of its own."""

    def run(source: Path, target: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(fake_job), str(source), str(target), str(model), json.dumps(options)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_SEC)

    return run
