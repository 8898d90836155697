"""The programs of docs/other_runtimes.md give the probabilities that ftx gives."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ftx import Predictor

PAGE = (Path(__file__).parents[2] / "docs/other_runtimes.md").read_text(encoding="utf-8")
TEXTS = ["The movie was great!", "The plot was dull!"]
PACKAGES = ("onnxruntime-web@1.30.0", "@huggingface/tokenizers@0.2.0")


def program(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def place(tmp_path: Path, tiny_export: Path) -> Path:
    (tmp_path / "onnx").symlink_to(tiny_export)
    return tmp_path


def check(command: list[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Predictor(place / "onnx/model_quantized.onnx").predict_proba(TEXTS)
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-3)
    assert set(expected.argmax(axis=1)) == {0, 1}


def test_python(place: Path) -> None:
    check([sys.executable, "-c", program("python")], place)


@pytest.mark.slow
def test_javascript(place: Path) -> None:
    required = bool(os.environ.get("FTX_REQUIRE_EXTRAS"))
    npm = shutil.which("npm")
    if npm is None and not required:
        pytest.skip("npm is not installed")
    assert npm is not None
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode and not required:
        pytest.skip(f"npm install {' '.join(PACKAGES)} failed: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    (place / "predict.mjs").write_text(program("javascript"), encoding="utf-8")
    check(["node", "predict.mjs"], place)
