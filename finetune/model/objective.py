"""The loss to minimise, and the weights to freeze."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ftx.errors import ModelError, RecipeError
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, Head, Target
from ftx.finetune.recipe import Recipe

__all__ = ["Loss", "balanced_weights", "encoder_layers", "freeze_layers", "loss_function", "positive_weights"]

Loss = Callable[..., Any]


def balanced_weights(label_numbers: list[int], labels: int) -> list[float]:
    """Give all classes the same total weight: n / (k * n_c) per row (King and Zeng, 2001), as scikit-learn does.

    Args:
        label_numbers: The label of each training row.
        labels: Number of labels.
    """
    counts = np.bincount(label_numbers, minlength=labels)
    return [float(len(label_numbers) / (labels * count)) if count else 0.0 for count in counts]


def positive_weights(targets: list[list[float]]) -> list[float]:
    """Weight the positive rows of each label so that they count as much as its negative rows."""
    rows = np.asarray(targets)
    return [float((len(rows) - count) / count) if 0 < count < len(rows) else 1.0 for count in rows.sum(axis=0)]


def loss_function(recipe: Recipe, targets: list[Target], head: Head) -> Loss | None:
    """Make the cross entropy with a recipe's class weights and label smoothing; None where the model's own loss serves.

    Args:
        recipe: Sets class_weights and label_smoothing.
        targets: The targets of the training rows.
        head: For multi-label, the loss is the binary cross entropy of each label.

    Raises:
        RecipeError: They are set for a regression.
    """
    if recipe.class_weights == "none" and not recipe.label_smoothing:
        return None
    if head.problem_type == REGRESSION:
        raise RecipeError("class_weights and label_smoothing need labels, and a regression has none: remove them")
    balanced, smoothing, labels = recipe.class_weights == "balanced", recipe.label_smoothing, len(head.labels)
    multi = head.problem_type == MULTI_LABEL
    weights = [1.0] * labels
    if balanced:
        weights = positive_weights(targets) if multi else balanced_weights(targets, labels)  # type: ignore[arg-type]

    def loss(outputs: Any, truth: Any, num_items_in_batch: Any = None) -> Any:
        logits, weight = outputs.logits.float(), torch.tensor(weights, device=truth.device)
        if multi:
            smooth = truth * (1 - smoothing) + smoothing / 2
            total = binary_cross_entropy_with_logits(logits, smooth, pos_weight=weight, reduction="sum")
        else:
            total = cross_entropy(logits, truth, weight=weight, label_smoothing=smoothing, reduction="sum")
        # With gradient accumulation, the Trainer passes the number of targets in all batches of the step.
        return total / (num_items_in_batch if num_items_in_batch is not None else truth.numel())

    return loss


def freeze_layers(model: Any, count: int) -> None:
    """Freeze the embeddings and the first `count` encoder layers; 0: train everything.

    Raises:
        ModelError: The model has fewer layers, or none where ftx looks for them.
    """
    if not count:
        return
    base, layers = model.base_model, encoder_layers(model)
    if count > len(layers):
        raise ModelError(f"freeze_layers is {count}, but {type(base).__name__} has {len(layers)} layers to freeze")
    for part in (base.embeddings, *layers[:count]):
        part.requires_grad_(False)


def encoder_layers(model: Any) -> Any:
    """Return a model's encoder layers, a `ModuleList`; an empty list where ftx does not find them."""
    base = model.base_model
    return getattr(getattr(base, "encoder", None) or getattr(base, "transformer", None), "layer", [])
