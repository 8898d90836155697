"""The loss of a student: its teacher's soft labels, and a little of the true ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div, log_softmax, mse_loss

from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, Head, Target
from ftx.finetune.model.objective import Loss, loss_function
from ftx.finetune.recipe import Distillation, Recipe

__all__ = ["distilling_loss", "soft_loss", "taught_rows"]


def taught_rows(targets: list[Target], unlabelled: int, logits: NDArray[np.float32], head: Head) -> NDArray[np.float64]:
    """Put each row's target and its teacher's logits side by side, as the Trainer passes one array of labels.

    Args:
        targets: Those of the labelled rows, which come first.
        unlabelled: How many rows without a target follow; theirs is NaN.
        logits: The teacher's. *Shape:* `(len(targets) + unlabelled, num_labels)`.
        head: The kind of head.

    Returns:
        *Shape:* `(len(logits), 1 + num_labels)`, for multi-label `(len(logits), 2 * num_labels)`.
    """
    known = np.asarray(targets, dtype=np.float64).reshape(len(targets), target_columns(head))
    unknown = np.full((unlabelled, target_columns(head)), np.nan)
    return np.concatenate([np.concatenate([known, unknown]), logits], axis=1)


def target_columns(head: Head) -> int:
    """Return how many numbers a target has."""
    return len(head.labels) if head.problem_type == MULTI_LABEL else 1


def soft_loss(logits: Any, teacher_logits: Any, head: Head, temperature: float) -> Any:
    """Sum the divergence of a student's predictions from its teacher's over the rows.

    Single label: T^2 times the Kullback-Leibler divergence of softmax(logits / T) (Hinton et al. 2015, "Distilling the
    Knowledge in a Neural Network"). Multi-label: the same for each label's sigmoid, averaged over the labels.
    Regression: the squared difference. *Shape of both:* `(num_rows, num_labels)`.
    """
    if head.problem_type == REGRESSION:
        return mse_loss(logits, teacher_logits, reduction="sum")
    ours, theirs = logits / temperature, teacher_logits / temperature
    if head.problem_type == MULTI_LABEL:
        soft = torch.sigmoid(theirs)
        cross, entropy = (binary_cross_entropy_with_logits(one, soft, reduction="sum") for one in (ours, theirs))
        return temperature**2 * (cross - entropy) / logits.shape[1]
    divergence = kl_div(log_softmax(ours, dim=-1), log_softmax(theirs, dim=-1), log_target=True, reduction="sum")
    return temperature**2 * divergence


def distilling_loss(recipe: Recipe, distill: Distillation, targets: list[Target], head: Head) -> Loss:
    """Make the loss of a student; on held-out rows, which no teacher labelled, it is that of the true labels.

    Args:
        recipe: Sets class_weights and label_smoothing, for the true labels.
        distill: Sets the temperature and the share of the true labels.
        targets: The targets of the labelled training rows.
        head: The kind of head.

    Raises:
        RecipeError: Class weights or label smoothing are set for a regression.
    """
    weighted, columns, share = loss_function(recipe, targets, head), target_columns(head), distill.hard_weight

    def hard_loss(logits: Any, truth: Any) -> Any:
        """Average over the labels and sum over the rows."""
        if weighted is not None:
            kept = truth if columns > 1 else truth.reshape(-1).long()
            return weighted(SimpleNamespace(logits=logits), kept, num_items_in_batch=columns)
        if head.problem_type == MULTI_LABEL:
            return binary_cross_entropy_with_logits(logits, truth, reduction="sum") / columns
        if head.problem_type == REGRESSION:
            return mse_loss(logits.reshape(-1), truth.reshape(-1), reduction="sum")
        return cross_entropy(logits, truth.reshape(-1).long(), reduction="sum")

    def loss(outputs: Any, truth: Any, num_items_in_batch: Any = None) -> Any:
        logits, truth = outputs.logits.float(), truth.reshape(len(outputs.logits), -1)
        if truth.shape[1] == columns:
            return hard_loss(logits, truth) / len(truth)
        labelled = ~truth[:, 0].isnan()
        hard = hard_loss(logits[labelled], truth[labelled, :columns])
        soft = soft_loss(logits, truth[:, columns:], head, distill.temperature)
        # With gradient accumulation, the Trainer passes the number of values in all batches of the step.
        rows = len(truth) if num_items_in_batch is None else num_items_in_batch / truth.shape[1]
        return (share * hard + (1 - share) * soft) / rows

    return loss
