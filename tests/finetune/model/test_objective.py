from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.utils.class_weight
import torch

from ftx.errors import ModelError, RecipeError
from ftx.finetune import Recipe, train
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.model.hub import load_model
from ftx.finetune.model.objective import balanced_weights, freeze_layers, loss_function, positive_weights
from tests.conftest import tiny_recipe

NUMBERS = [0] * 70 + [1] * 20 + [2] * 10
LOGITS = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
HEAD = Head(problem_type=SINGLE_LABEL, labels=["a", "b", "c"])
TARGETS = torch.arange(16) % 3


def test_balanced_weights_are_scikit_learns() -> None:
    expected = sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.arange(3), y=np.array(NUMBERS))
    assert balanced_weights(NUMBERS, 3) == pytest.approx(list(expected))
    assert balanced_weights([0, 0, 1], 3)[2] == 0


def test_the_default_loss_is_the_models_own() -> None:
    assert loss_function(Recipe(model="m", dataset="d"), [*NUMBERS], HEAD) is None


def test_the_loss_with_class_weights_and_label_smoothing() -> None:
    recipe = Recipe(model="m", dataset="d", class_weights="balanced", label_smoothing=0.1)
    loss = loss_function(recipe, [*NUMBERS], HEAD)
    assert loss is not None
    weight = torch.tensor(balanced_weights(NUMBERS, 3))
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS, weight=weight, label_smoothing=0.1, reduction="sum")
    assert loss(SimpleNamespace(logits=LOGITS), TARGETS).item() == pytest.approx(expected.item() / 16)
    assert loss(SimpleNamespace(logits=LOGITS), TARGETS, num_items_in_batch=32).item() == pytest.approx(
        expected.item() / 32
    )


def test_the_multi_label_loss_with_weights_and_smoothing() -> None:
    recipe = Recipe(model="m", dataset="d", class_weights="balanced", label_smoothing=0.2)
    rows = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    assert positive_weights(rows) == [3.0, 3.0, 1.0]  # all rows have the last one: nothing to balance
    loss = loss_function(recipe, [*rows], Head(problem_type=MULTI_LABEL, labels=["a", "b", "c"]))
    assert loss is not None
    truth, weight = torch.tensor(rows), torch.tensor([3.0, 3.0, 1.0])
    smooth = torch.where(truth == 1, 0.9, 0.1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS[:4], smooth, pos_weight=weight)
    assert loss(SimpleNamespace(logits=LOGITS[:4]), truth).item() == pytest.approx(expected.item())


def test_class_weights_are_refused_for_a_regression() -> None:
    recipe = Recipe(model="m", dataset="d", class_weights="balanced")
    with pytest.raises(RecipeError, match="a regression has none"):
        loss_function(recipe, [0.5, 1.5], Head(problem_type=REGRESSION, labels=["stars"]))


def test_frozen_layers_keep_their_weights(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = tiny_model("single_label_classification")
    train(tiny_recipe(checkpoint, reviews, Recipe, freeze_layers=1, max_steps=3), tmp_path / "run")
    before, after = (
        load_file(checkpoint / "model.safetensors"),
        load_file(tmp_path / "run/checkpoint/model.safetensors"),
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if "embeddings" in name or "encoder.layer.0" in name]
    assert [name for name in moved if "encoder.layer.1" in name]
    model = load_model(str(checkpoint), Head(problem_type=SINGLE_LABEL, labels=["a", "b"]))
    with pytest.raises(ModelError, match="freeze_layers is 9, but BertModel has 2 layers"):
        freeze_layers(model, 9)


def test_gradient_accumulation_equals_the_larger_batch(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    checkpoint = tiny_model("single_label_classification")
    values: dict[str, Any] = {"epochs": 1.0, "gradient_accumulation_steps": 2, "train_batch_size": 4, "save_steps": 0}
    report = train(tiny_recipe(checkpoint, reviews, Recipe, **values), tmp_path / "run")
    assert report.steps == 9  # 72 rows in steps of 8


def test_the_best_checkpoint_is_kept_and_training_stops_early(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "epochs": 50.0, "eval_steps": 5, "logging_steps": 5, "best_metric": "loss", "early_stopping": 2,
        "learning_rate": 2e-2, "class_weights": "balanced", "gradient_checkpointing": True, "schedule": "constant",
    }  # fmt: skip
    recipe = tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe, **values)
    report = train(recipe, tmp_path / "run")
    assert report.steps < 450
    history = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    losses = [line["eval_loss"] for line in history if "eval_loss" in line]
    # The last line is the evaluation of the model that was kept; two evaluations after the best were no better.
    assert report.eval_loss == losses[-1] == pytest.approx(min(losses), abs=1e-6)
    assert losses[:-1].index(min(losses[:-1])) == len(losses[:-1]) - 3


@pytest.mark.parametrize(
    "values",
    [
        {"best_metric": "accuracy"},
        {"early_stopping": 2, "eval_steps": 5},
        {"best_metric": "luck", "eval_steps": 5},
        {"class_weights": "heavy"},
        {"label_smoothing": 1.0},
        {"schedule": "never"},
    ],
)
def test_conflicting_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Recipe(model="m", dataset="d", **values)
