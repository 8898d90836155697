"""A training that diverges is an error, and leaves no run with NaN in it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from ftx.cli import ftx
from ftx.errors import ModelError, RecipeError
from ftx.finetune import Recipe, evaluate, train
from ftx.finetune.trainer.divergence import stop_if_diverged
from tests.conftest import review_rows, tiny_recipe, write_jsonl


def strictly(text: str) -> Any:
    """Parse standard JSON, without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_command_fails_with_one_line_and_leaves_nothing_behind(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    given = ["train", "--model", str(tiny_model("single_label_classification")), "--dataset", str(reviews)]
    given += ["--max-length", "16", "--precision", "fp32", "--epochs", "3", "--output", str(output)]
    said = CliRunner().invoke(ftx, [*given, "--learning-rate", "1e30", "--json"])
    assert said.exit_code == 1
    assert said.stdout == ""
    assert "Error: Training diverged after 9 steps: the train loss is nan; " in said.stderr
    assert said.stderr.endswith("lower --learning-rate, which is 1e+30\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("problem_type", "values", "what"),
    [
        (
            "single_label_classification",
            {"logging_steps": 1, "save_steps": 1},
            "after [2-4] steps: the (loss|grad norm)",
        ),
        ("single_label_classification", {"max_steps": 1}, "after 1 steps: the logit on held-out rows"),
        (
            "multi_label_classification",
            {"logging_steps": 50, "eval_steps": 1, "train_batch_size": 32},
            "after [1-4] steps: the logit on held-out rows is nan",
        ),
        ("regression", {"learning_rate": 1e18, "max_steps": 3}, "the (train loss|loss|logit on held-out rows) is"),
    ],
)
def test_divergence_is_detected_at_the_next_log_or_evaluation(
    tiny_model: Callable[[str], Path], tmp_path: Path, problem_type: str, values: dict[str, Any], what: str
) -> None:
    labels: dict[str, Any] = {
        "single_label_classification": lambda number: "ab"[number % 2],
        "multi_label_classification": lambda number: [["funny"], ["sad", "long"], ["funny", "sad"]][number % 3],
        "regression": lambda number: number / 4,
    }
    data = write_jsonl(
        tmp_path / "data.jsonl", [(text, labels[problem_type](n)) for n, (text, _) in enumerate(review_rows())]
    )
    recipe = tiny_recipe(
        tiny_model(problem_type), data, Recipe, **{"learning_rate": 1e30, "warmup_ratio": 0.0, **values}
    )
    with pytest.raises(RecipeError, match=what):
        train(recipe, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
    # No unfinished run blocks the next one.
    train(tiny_recipe(tiny_model(problem_type), data, Recipe, max_steps=1), tmp_path / "run")


def test_only_the_gradient_norm_of_fp16_may_be_infinite() -> None:
    logs = {"loss": 0.5, "grad_norm": math.inf, "epoch": 1}
    stop_if_diverged(logs, SimpleNamespace(fp16=True), 3)
    for figures, fp16 in ((logs, False), ({"loss": math.nan}, True), ({"eval_rmse": math.inf}, False)):
        args = SimpleNamespace(fp16=fp16, should_save=False, learning_rate=1.0)
        with pytest.raises(
            RecipeError, match=r"^Training diverged after 3 steps: the (grad norm|loss|rmse) is (inf|nan);"
        ):
            stop_if_diverged(figures, args, 3)


def test_a_run_writes_standard_json(tiny_run: Path) -> None:
    strictly((tiny_run / "metrics.json").read_text())
    for line in (tiny_run / "history.jsonl").read_text().splitlines():
        strictly(line)


def test_evaluating_a_checkpoint_with_nan_logits_is_an_error(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    weights = load_file(run / "checkpoint/model.safetensors")
    weights["classifier.bias"][1] = math.nan
    save_file(weights, run / "checkpoint/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="gives no number for 24 of 24 rows: its weights are damaged"):
        evaluate(run)
    said = CliRunner().invoke(ftx, ["evaluate", "--run", str(run), "--json"])
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.count("Error: ") == 1
