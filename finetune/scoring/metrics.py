"""Metrics per problem type as `evaluate` modules; `evaluate.load` would need the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ftx.errors import RecipeError
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.scoring.measures import classification_metrics, multi_label_metrics, regression_metrics

__all__ = ["METRICS", "SMALLER_IS_BETTER", "Measure", "check_best_metric", "measure_of"]

CITATION = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
METRICS = {
    SINGLE_LABEL: ("accuracy", "f1_macro", "mcc"),
    MULTI_LABEL: ("f1_micro", "f1_macro", "map", "accuracy"),
    REGRESSION: ("mae", "rmse", "pearson", "spearman"),
}
SMALLER_IS_BETTER = ("loss", "mae", "rmse")

Measure = Callable[[NDArray[np.float32], NDArray[Any]], dict[str, float]]


class ClassificationMetrics(evaluate.Metric):  # type: ignore[misc]
    """Accuracy, macro F1 and Matthews correlation of predicted label ids."""

    def _info(self) -> Any:
        return info("label ids", datasets.Value("int64"), datasets.Value("int64"))

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return classification_metrics(predictions, references)


class MultiLabelMetrics(evaluate.Metric):  # type: ignore[misc]
    """Micro and macro F1, mean average precision over the labels that occur, and subset accuracy."""

    def _info(self) -> Any:
        return info("a probability, and a 0 or 1, for each label", per_label("float32"), per_label("int64"))

    def _compute(
        self, predictions: list[list[float]], references: list[list[int]], thresholds: list[float]
    ) -> dict[str, float]:
        return multi_label_metrics(predictions, references, thresholds)


class RegressionMetrics(evaluate.Metric):  # type: ignore[misc]
    """Mean absolute and root mean squared error, Pearson and Spearman correlation."""

    def _info(self) -> Any:
        return info("values", datasets.Value("float64"), datasets.Value("float64"))

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return regression_metrics(predictions, references)


def info(what: str, predictions: Any, references: Any) -> Any:
    """Make the description that `evaluate` requires of a metric."""
    return evaluate.MetricInfo(
        description=f"Predictions and references: {what}.",
        citation=CITATION,
        inputs_description=what,
        features=datasets.Features({"predictions": predictions, "references": references}),
    )


def per_label(kind: str) -> Any:
    """Make the feature of a row with one value per label."""
    return datasets.Sequence(datasets.Value(kind))


def measure_of(head: Head, thresholds: dict[str, float] | None = None) -> Measure:
    """Make the function that computes the metrics of a head.

    Args:
        head: The kind of head.
        thresholds: For multi-label: the probability from which a label is predicted, by name; 0.5 where not named.

    Returns:
        A function of logits, *shape:* `(num_rows, num_labels)`, and targets, *shape:* `(num_rows,)`, or
        `(num_rows, num_labels)` for multi-label. It returns the metrics that `METRICS` lists for the head.
    """
    if head.problem_type == REGRESSION:
        values = RegressionMetrics(keep_in_memory=True)
        return lambda logits, targets: values.compute(predictions=logits.reshape(-1), references=targets.reshape(-1))
    if head.problem_type == MULTI_LABEL:
        limits = [(thresholds or {}).get(name, 0.5) for name in head.labels]
        sets = MultiLabelMetrics(keep_in_memory=True)
        return lambda logits, targets: sets.compute(
            predictions=expit(logits), references=targets.astype(np.int64), thresholds=limits
        )
    classes = ClassificationMetrics(keep_in_memory=True)
    return lambda logits, targets: classes.compute(predictions=logits.argmax(axis=-1), references=targets)


def check_best_metric(name: str, head: Head) -> None:
    """Check that a recipe's best_metric suits its head.

    Raises:
        RecipeError: It does not.
    """
    known = (*METRICS[head.problem_type], "loss")
    if name and name not in known:
        raise RecipeError(f"best_metric is {name!r}, expected one of {', '.join(known)} for {head.problem_type}")
