"""Metrics through `evaluate`, computed by scikit-learn, without the hub that `evaluate.load` would ask."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import sklearn.metrics

__all__ = ["ClassificationMetrics"]


class ClassificationMetrics(evaluate.Metric):  # type: ignore[misc]
    """Accuracy, macro F1 and Matthews correlation of predicted label numbers."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description="Accuracy, macro F1 and Matthews correlation coefficient.",
            citation="Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011.",
            inputs_description="predictions and references: label numbers",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {
            "accuracy": float(sklearn.metrics.accuracy_score(references, predictions)),
            "f1_macro": float(sklearn.metrics.f1_score(references, predictions, average="macro")),
            "mcc": float(sklearn.metrics.matthews_corrcoef(references, predictions)),
        }
