"""The metrics of each head, by scikit-learn and SciPy: what `metrics` wraps, and what models without PyTorch use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, Head

__all__ = ["classification_metrics", "measured", "multi_label_metrics", "regression_metrics"]


def measured(
    logits: NDArray[np.float32], targets: NDArray[Any], head: Head, thresholds: dict[str, float]
) -> dict[str, float]:
    """Compute the metrics of a head, as `metrics.measure_of` does through `evaluate`.

    Args:
        logits: *Shape:* `(num_rows, num_labels)`.
        targets: *Shape:* `(num_rows,)`; for multi-label `(num_rows, num_labels)`.
        head: The kind of head.
        thresholds: For multi-label: the probability from which a label is predicted, by name; 0.5 where not named.
    """
    if head.problem_type == REGRESSION:
        return regression_metrics(logits.reshape(-1), targets.reshape(-1))
    if head.problem_type == MULTI_LABEL:
        limits = [thresholds.get(name, 0.5) for name in head.labels]
        return multi_label_metrics(expit(logits), targets.astype(np.int64), limits)
    return classification_metrics(logits.argmax(axis=-1), targets)


def classification_metrics(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Compute accuracy, macro F1 and Matthews correlation of label ids. *Shape of both:* `(num_rows,)`."""
    varied = len(np.unique(np.concatenate([predictions, references]))) > 1  # otherwise scikit-learn warns
    return {
        "accuracy": float(sklearn.metrics.accuracy_score(references, predictions)),
        "f1_macro": float(sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=0)),
        "mcc": float(sklearn.metrics.matthews_corrcoef(references, predictions)) if varied else 0.0,
    }


def multi_label_metrics(predictions: ArrayLike, references: ArrayLike, thresholds: list[float]) -> dict[str, float]:
    """Compute micro and macro F1, mean average precision over the labels that occur, and subset accuracy.

    *Shape of both:* `(num_rows, num_labels)`, of probabilities and of 0 or 1.
    """
    probabilities, truth = np.asarray(predictions), np.asarray(references)
    predicted = probabilities >= np.asarray(thresholds, dtype=probabilities.dtype)
    precisions = [
        sklearn.metrics.average_precision_score(truth[:, n], probabilities[:, n])
        for n in np.flatnonzero(truth.any(axis=0))
    ]
    return {
        "f1_micro": float(sklearn.metrics.f1_score(truth, predicted, average="micro", zero_division=0)),
        "f1_macro": float(sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0)),
        "map": float(np.mean(precisions)) if precisions else 0.0,
        "accuracy": float((predicted == truth).all(axis=1).mean()),
    }


def regression_metrics(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Compute MAE, RMSE, Pearson and Spearman correlation. *Shape of both:* `(num_rows,)`."""
    values, truth = (np.asarray(side, dtype=np.float64) for side in (predictions, references))
    return {
        "mae": float(sklearn.metrics.mean_absolute_error(truth, values)),
        "rmse": float(sklearn.metrics.root_mean_squared_error(truth, values)),
        "pearson": correlation(scipy.stats.pearsonr, truth, values),
        "spearman": correlation(scipy.stats.spearmanr, truth, values),
    }


def correlation(of: Any, references: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """Compute a correlation; 0 where predictions or references are constant."""
    if len(set(predictions.tolist())) < 2 or len(set(references.tolist())) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that are nearly constant
        return float(of(references, predictions).statistic)
