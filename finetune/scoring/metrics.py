"""Metrics per problem type as `evaluate` modules; `evaluate.load` would need the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from ftx.errors import RecipeError
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.scoring.measures import measured

__all__ = ["METRICS", "SMALLER_IS_BETTER", "Measure", "check_best_metric", "measure_of"]

CITATION = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
METRICS = {
    SINGLE_LABEL: ("accuracy", "f1_macro", "mcc"),
    MULTI_LABEL: ("f1_micro", "f1_macro", "map", "accuracy"),
    REGRESSION: ("mae", "rmse", "pearson", "spearman"),
}
SMALLER_IS_BETTER = ("loss", "mae", "rmse")

Measure = Callable[[NDArray[np.float32], NDArray[Any]], dict[str, float]]


class HeadMetrics(evaluate.Metric):  # type: ignore[misc]
    """The metrics of a head, from logits and targets."""

    def __init__(self, head: Head, thresholds: dict[str, float]) -> None:
        self.head, self.thresholds = head, thresholds
        super().__init__(keep_in_memory=True)

    def _info(self) -> Any:
        kind = datasets.Value("float64" if self.head.problem_type == REGRESSION else "int64")
        targets = datasets.Sequence(kind) if self.head.problem_type == MULTI_LABEL else kind
        return evaluate.MetricInfo(
            description=f"Of a {self.head.problem_type} head.",
            citation=CITATION,
            inputs_description="Predictions: a row of logits each. References: targets.",
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float32")), "references": targets}
            ),
        )

    def _compute(self, predictions: list[list[float]], references: list[Any]) -> dict[str, float]:
        logits = np.asarray(predictions, dtype=np.float32)
        return measured(logits, np.asarray(references), self.head, self.thresholds)


def measure_of(head: Head, thresholds: dict[str, float] | None = None) -> Measure:
    """Make the function that computes the metrics of a head.

    Args:
        head: The kind of head.
        thresholds: For multi-label: the probability from which a label is predicted, by name; 0.5 where not named.

    Returns:
        A function of logits, *shape:* `(num_rows, num_labels)`, and targets, *shape:* `(num_rows,)`, or
        `(num_rows, num_labels)` for multi-label. It returns the metrics that `METRICS` lists for the head.
    """
    metrics = HeadMetrics(head, thresholds or {})
    rows = (-1,) if head.problem_type != MULTI_LABEL else (-1, len(head.labels))
    return lambda logits, targets: metrics.compute(predictions=logits, references=targets.reshape(rows))


def check_best_metric(name: str, head: Head) -> None:
    """Check that a recipe's best_metric suits its head.

    Raises:
        RecipeError: It does not.
    """
    known = (*METRICS[head.problem_type], "loss")
    if name and name not in known:
        raise RecipeError(f"best_metric is {name!r}, expected one of {', '.join(known)} for {head.problem_type}")
