"""Two processes over gloo, started by `torchrun`: one writer, and the result of one process with the whole batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import POSITIVE, build_tiny, review_rows, write_jsonl

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def launch(launcher: list[str], *arguments: str) -> tuple[int, str, str]:
    """Run `ftx train` under a launcher: status, stdout, stderr."""
    process = subprocess.Popen(
        [*launcher, "-m", "ftx", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=1800)  # ends a hang
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("processes")
    model = build_tiny(folder / "model", "single_label_classification", ["negative", "positive"])
    config = json.loads((model / "config.json").read_text())
    # Each process draws its own dropout.
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    # 64 training rows and 32 held-out rows: full batches.
    rows = review_rows()
    held_out = [row for row in rows if any(word in row[0] for word in (POSITIVE[0], POSITIVE[1], "bad", "awful"))]
    write_jsonl(folder / "validation.jsonl", held_out)
    write_jsonl(folder / "train.jsonl", [row for row in rows if row not in held_out])
    given = ["--model", str(model), "--dataset", str(folder / "train.jsonl"), "--seed", "3", "--epochs", "3"]
    given += ["--validation", str(folder / "validation.jsonl"), "--max-length", "32", "--learning-rate", "5e-3"]
    return [*given, "--eval-steps", "10", "--best-metric", "loss"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    output = tmp_path_factory.mktemp("alone") / "run"
    status, _, errors = launch([sys.executable], *arguments, "--batch-size", "16", "--output", str(output))
    assert status == 0, errors
    return output


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path, arguments: list[str], alone: Path) -> None:
    output = tmp_path / "run"
    status, said, errors = launch(TORCHRUN, *arguments, "--batch-size", "8", "--output", str(output), "--json")
    assert status == 0, errors
    one, two = metrics_of(alone), metrics_of(output)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["steps"] == two["steps"] == 12
    assert one["train_rows"] == two["train_rows"] == 64
    assert two["eval_loss"] == pytest.approx(one["eval_loss"], abs=1e-4)
    assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
    assert two["accuracy"] == one["accuracy"]
    before, after = (load_file(run / "checkpoint/model.safetensors") for run in (alone, output))
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-3
    # Only one process writes files and messages.
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in output.iterdir()} == {path.name for path in alone.iterdir()}
    assert json.loads(said)["processes"] == 2
    assert errors.count("training rows, ") == 1
    steps = [json.loads(line)["step"] for line in (output / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert len(steps) == len((alone / "history.jsonl").read_text().splitlines())
