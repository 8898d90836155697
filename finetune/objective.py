"""What training minimises, and which weights it may move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ftx.errors import ModelError
from ftx.finetune.recipe import Recipe

__all__ = ["balanced_weights", "freeze_layers", "loss_function"]

Loss = Callable[..., Any]


def balanced_weights(label_numbers: list[int], labels: int) -> list[float]:
    """Weigh each class so that all count the same in sum: n / (k * n_c) (King and Zeng, 2001), as scikit-learn does.

    Args:
        label_numbers: The label of each training row.
        labels: How many labels there are.
    """
    counts = np.bincount(label_numbers, minlength=labels)
    return [float(len(label_numbers) / (labels * count)) if count else 0.0 for count in counts]


def loss_function(recipe: Recipe, label_numbers: list[int], labels: int) -> Loss | None:
    """Make the cross entropy with the recipe's class weights and label smoothing; None: the model's own will do."""
    if recipe.class_weights == "none" and not recipe.label_smoothing:
        return None
    weights = balanced_weights(label_numbers, labels) if recipe.class_weights == "balanced" else [1.0] * labels

    def loss(outputs: Any, targets: Any, num_items_in_batch: Any = None) -> Any:
        total = torch.nn.functional.cross_entropy(
            outputs.logits.float(),
            targets,
            weight=torch.tensor(weights, device=targets.device),
            label_smoothing=recipe.label_smoothing,
            reduction="sum",
        )
        # With gradient accumulation the Trainer gives the rows of all parts of the step.
        return total / (num_items_in_batch if num_items_in_batch is not None else len(targets))

    return loss


def freeze_layers(model: Any, count: int) -> None:
    """Keep the embeddings and the first `count` encoder layers as they are; 0: train everything.

    Raises:
        ModelError: The model has fewer layers, or none that ftx finds.
    """
    if not count:
        return
    base = model.base_model
    layers = getattr(getattr(base, "encoder", None) or getattr(base, "transformer", None), "layer", [])
    if count > len(layers):
        raise ModelError(f"freeze_layers is {count}, but {type(base).__name__} has {len(layers)} layers to freeze")
    for part in (base.embeddings, *layers[:count]):
        part.requires_grad_(False)
