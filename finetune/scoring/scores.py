"""The details behind the metrics: confidence intervals, scores per class, confusion matrix and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import expit, softmax

from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, Head

__all__ = [
    "ClassScores",
    "LabelScores",
    "MultiLabelScores",
    "RegressionScores",
    "Scores",
    "SingleLabelScores",
    "compute_scores",
    "scores_from",
]

# Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, use 15 bins.
CALIBRATION_BINS = 15
BOOTSTRAP_SAMPLES = 1000
MAX_POINTS = 1000


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class.

    Attributes:
        precision: Share of the rows predicted as this class that belong to it; 0 where there are none.
        recall: Share of the rows of this class that are predicted as it; 0 where there are none.
        f1: Harmonic mean of precision and recall.
        support: Rows of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class LabelScores(ClassScores):
    """Scores of one label of a multi-label classifier.

    Attributes:
        threshold: The probability from which it is predicted.
        average_precision: Average precision; 0 where no row has the label.
    """

    threshold: float
    average_precision: float


@dataclass(frozen=True, kw_only=True)
class SingleLabelScores:
    """Scores of a single-label classifier on labelled rows.

    Attributes:
        accuracy_interval: 95 % bootstrap interval of the accuracy: 2.5th and 97.5th percentile over 1,000 samples of
            the rows, drawn with replacement (Efron, 1979).
        f1_weighted: F1 weighted by support.
        expected_calibration_error: Mean |accuracy - confidence| over 15 equal bins of confidence, weighted by rows.
        brier: Mean over the rows of the squared distance between probabilities and truth (Brier, 1950); 0 to 2.
        classes: Scores per class.
        confusion_matrix: Number of rows by true class (first index) and predicted class (second).
    """

    accuracy_interval: tuple[float, float]
    f1_weighted: float
    expected_calibration_error: float
    brier: float
    classes: dict[str, ClassScores]
    confusion_matrix: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class MultiLabelScores:
    """Scores of a multi-label classifier on labelled rows.

    Attributes:
        accuracy_interval: As in `SingleLabelScores`, for the share of rows whose set of labels is exactly right.
        f1_weighted: F1 weighted by support.
        brier: Mean over rows and labels of the squared distance between probability and truth; 0 to 1.
        classes: Scores per label.
    """

    accuracy_interval: tuple[float, float]
    f1_weighted: float
    brier: float
    classes: dict[str, LabelScores]


@dataclass(frozen=True, kw_only=True)
class RegressionScores:
    """Scores of a regression on labelled rows.

    Attributes:
        mae_interval: 95 % bootstrap interval of the mean absolute error.
        bias: Mean of predicted minus true value.
        p90_abs_error: 90th percentile of the absolute error.
        points: (true value, predicted value) of at most 1,000 rows, evenly spaced, for a plot.
    """

    mae_interval: tuple[float, float]
    bias: float
    p90_abs_error: float
    points: list[tuple[float, float]]


Scores = SingleLabelScores | MultiLabelScores | RegressionScores


def scores_from(values: dict[str, Any], problem_type: str) -> Scores:
    """Restore scores from JSON values, as `dataclasses.asdict` returns them.

    Raises:
        ValueError: They are not the scores of this problem type.
    """
    import msgspec  # not needed to compute scores

    kinds: dict[str, type[Scores]] = {REGRESSION: RegressionScores, MULTI_LABEL: MultiLabelScores}
    try:
        return msgspec.convert(values, kinds.get(problem_type, SingleLabelScores))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def compute_scores(
    logits: NDArray[np.float32], references: NDArray[Any], head: Head, seed: int, thresholds: dict[str, float]
) -> Scores:
    """Compute the scores of logits.

    Args:
        logits: *Shape:* `(num_rows, num_labels)`.
        references: Targets: label ids or values, *shape:* `(num_rows,)`; for multi-label 0 or 1 for each label,
            *shape:* `(num_rows, num_labels)`.
        head: The kind of head, and the label names.
        seed: Seed of the bootstrap.
        thresholds: For multi-label: the probability from which a label is predicted, by name; 0.5 where not named.
    """
    if head.problem_type == REGRESSION:
        return regression_scores(logits.reshape(-1).astype(np.float64), references.reshape(-1).astype(np.float64), seed)
    if head.problem_type == MULTI_LABEL:
        limits = [thresholds.get(name, 0.5) for name in head.labels]
        return multi_label_scores(logits, references.astype(np.int64), head.labels, limits, seed)
    return single_label_scores(logits, references, head.labels, seed)


def single_label_scores(
    logits: NDArray[np.float32], references: NDArray[np.int64], labels: list[str], seed: int
) -> SingleLabelScores:
    """Compute the scores of a single-label classifier."""
    probabilities = softmax(logits.astype(np.float64), axis=1)
    predictions = logits.argmax(axis=1)
    right = predictions == references
    classes = class_scores(references, predictions, labels)
    confusion = sklearn.metrics.confusion_matrix(references, predictions, labels=range(len(labels)))
    return SingleLabelScores(
        accuracy_interval=bootstrap_interval(right, seed),
        f1_weighted=weighted_f1(classes),
        expected_calibration_error=calibration_error(probabilities.max(axis=1), right),
        brier=float(np.square(probabilities - np.eye(len(labels))[references]).sum(axis=1).mean()),
        classes=classes,
        confusion_matrix=confusion.tolist(),
    )


def multi_label_scores(
    logits: NDArray[np.float32], references: NDArray[np.int64], labels: list[str], limits: list[float], seed: int
) -> MultiLabelScores:
    """Compute the scores of a multi-label classifier."""
    probabilities = expit(logits.astype(np.float64))
    predictions = probabilities >= np.asarray(limits)
    classes = class_scores(references, predictions, labels)
    precisions = [
        float(sklearn.metrics.average_precision_score(references[:, n], probabilities[:, n])) if one.support else 0.0
        for n, one in enumerate(classes.values())
    ]
    return MultiLabelScores(
        accuracy_interval=bootstrap_interval((predictions == references).all(axis=1), seed),
        f1_weighted=weighted_f1(classes),
        brier=float(np.square(probabilities - references).mean()),
        classes={
            name: LabelScores(**vars(one), threshold=threshold, average_precision=precision)
            for (name, one), threshold, precision in zip(classes.items(), limits, precisions, strict=True)
        },
    )


def class_scores(references: NDArray[Any], predictions: NDArray[Any], labels: list[str]) -> dict[str, ClassScores]:
    """Compute the scores of each class, by name."""
    columns = sklearn.metrics.precision_recall_fscore_support(
        references, predictions, labels=range(len(labels)), zero_division=0
    )
    return {
        name: ClassScores(precision=float(precision), recall=float(recall), f1=float(f1), support=int(support))
        for name, precision, recall, f1, support in zip(labels, *columns, strict=True)
    }


def weighted_f1(classes: dict[str, ClassScores]) -> float:
    """Average the F1 of classes, weighted by support."""
    support = [one.support for one in classes.values()]
    return float(np.average([one.f1 for one in classes.values()], weights=support)) if any(support) else 0.0


def regression_scores(values: NDArray[np.float64], references: NDArray[np.float64], seed: int) -> RegressionScores:
    """Compute the scores of a regression. *Shape of both:* `(num_rows,)`."""
    errors = np.abs(values - references)
    chance = np.random.default_rng(seed)
    means = [chance.choice(errors, len(errors)).mean() for _ in range(BOOTSTRAP_SAMPLES)]
    shown = np.linspace(0, len(values) - 1, min(MAX_POINTS, len(values))).astype(int)
    return RegressionScores(
        mae_interval=(float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))),
        bias=float((values - references).mean()),
        p90_abs_error=float(np.percentile(errors, 90)),
        points=[(float(references[n]), float(values[n])) for n in shown],
    )


def bootstrap_interval(right: NDArray[np.bool_], seed: int) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of a share; the number of correct rows in a sample is binomial."""
    draws = np.random.default_rng(seed).binomial(len(right), right.mean(), size=BOOTSTRAP_SAMPLES) / len(right)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Compute the expected calibration error. *Shape of both:* `(num_rows,)`."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(float(right[bins == b].mean() - confidence[bins == b].mean())) * (bins == b).mean() for b in set(bins)]
    return float(sum(gaps))
