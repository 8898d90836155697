from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx import Predictor
from ftx.cli import ftx
from ftx.manifest import Manifest, write_manifest
from ftx.quantization import Quantization
from ftx.runtime.model_file import describe

TEXT = "The movie was great!"
MATES = ["The plot was awful! " * 4, "a", "", "good", TEXT, "The music was lovely, the ending was not at all"]
DYNAMIC = {"scheme": "dynamic int8: weights s8 per channel, activations u8 per tensor", "activations": "dynamic"}
STATIC = {"scheme": "static int8", "activations": "static"}
BLOCKS = {"scheme": "static int8", "activations": "static", "rescue": "blockwise"}
FP32 = {"scheme": "none: fp32"}
PER_TOKEN = {"scheme": "dynamic int8: activations per token", "kind": "dynamic", "activations": "per-token"}
FREE = "--invariant: only texts of the same length share a batch\n"
ALONE = "--invariant: each text runs alone"


def told(source: Path, folder: Path, quantization: dict[str, Any], parity: dict[str, Any] | None = None) -> Path:
    """The file with a manifest."""
    path = Path(shutil.copy(source, folder / "model.onnx"))
    manifest, tokenizer_json = describe(source)
    values = {**vars(manifest), "quantization": Quantization.from_dict(quantization), "parity": parity or {}}
    write_manifest(path, Manifest(**values), tokenizer_json)
    return path


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--json", *arguments])


def test_batch_mates_move_the_answers_of_a_dynamic_file(dynamic: Path) -> None:
    alone = Predictor(dynamic, batch_size=1).logits([TEXT])
    assert not np.array_equal(Predictor(dynamic).logits([TEXT, *MATES])[:1], alone)


@given(mates=st.lists(st.sampled_from(MATES) | st.text(max_size=40), max_size=40), place=st.integers(0, 40))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_invariant_they_do_not(dynamic: Path, mates: list[str], place: int) -> None:
    alone = Predictor(dynamic, batch_size=1).logits([TEXT])
    place = min(place, len(mates))
    found = Predictor(dynamic, invariant=True).logits([*mates[:place], TEXT, *mates[place:]])
    np.testing.assert_array_equal(found[place : place + 1], alone)


@pytest.mark.parametrize(
    ("quantization", "batch_size"),
    [
        (DYNAMIC, 1),
        ({"scheme": DYNAMIC["scheme"]}, 1),
        ({"scheme": "unknown"}, 1),
        (BLOCKS, 1),
        (PER_TOKEN, 8),
        ({**PER_TOKEN, "rescue": "blockwise"}, 1),
        (STATIC, 8),
        (FP32, 8),
    ],
)
def test_only_a_file_that_needs_it_runs_text_by_text(
    dynamic: Path, tmp_path: Path, quantization: dict[str, Any], batch_size: int
) -> None:
    path = told(dynamic, tmp_path, quantization)
    predictor = Predictor(path, batch_size=8, invariant=True)
    assert predictor.batch_size == batch_size
    assert predictor.alone is (batch_size == 1)
    assert Predictor(path, batch_size=8).batch_size == 8
    assert Predictor(path).alone is False


def test_predict_invariant_answers_each_text_as_alone(dynamic: Path) -> None:
    together = run(dynamic, "--invariant", TEXT, *MATES)
    assert together.exit_code == 0
    assert together.stderr == f"{ALONE}\n"
    alone = run(dynamic, TEXT)
    assert together.stdout.splitlines()[0] == alone.stdout.strip()
    assert alone.stderr == ""


@pytest.mark.parametrize(
    ("quantization", "parity", "line"),
    [
        (
            DYNAMIC,
            {"batch_invariance": {"batched_speedup": 2.04}},
            f"{ALONE}, batches would have 2.0 times the throughput (measured at export)\n",
        ),
        (DYNAMIC, {"batch_invariance": {"batched_speedup": None}}, f"{ALONE}\n"),
        (DYNAMIC, {"batch_invariance": None}, f"{ALONE}\n"),
        (STATIC, {"batch_invariance": {"batched_speedup": 2.04}}, FREE),
        (FP32, {}, FREE),
    ],
)
def test_predict_invariant_says_what_it_costs(
    dynamic: Path, tmp_path: Path, quantization: dict[str, Any], parity: dict[str, Any], line: str
) -> None:
    path = told(dynamic, tmp_path, {**quantization, "safe_on": ["any"]}, parity)
    assert run(path, "--invariant", TEXT).stderr == line
    assert run(path, TEXT).stderr == ""
