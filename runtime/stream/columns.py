"""The columns that predictions add to those of the input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ftx.errors import DataError
from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction

__all__ = ["PREFIX", "check_names", "predicted_columns"]

PREFIX = "predicted_"


def predicted_columns(
    predictions: Sequence[Prediction], manifest: Manifest, *, prefix: str = PREFIX, nested: bool = False
) -> dict[str, list[Any]]:
    """Turn predictions into columns: names, with one value per prediction. Without predictions, just the names.

    Args:
        predictions: One for each text.
        manifest: Its labels and head.
        prefix: Prefix of each name.
        nested: Whether the probabilities are one column of dicts, `scores`; else one column of floats per label,
            `score_<label>`.

    Returns:
        Single label: `label`, `score` and the probabilities. Multi-label: `labels` (lists) and the probabilities.
        Regression: `value`. Every head adds `truncated`, whether the text was longer than the model reads and was
        truncated, and `windows`, in how many windows it was read; all but regression the `margin`, and where the file
        says what int8 or fp16 changes, `near_boundary` (with a fallback, these are the texts that it answered). Where
        static int8 was calibrated on shorter texts than the model reads: `beyond_calibration`.
    """
    columns: dict[str, list[Any]] = {}
    if manifest.problem_type == "regression":
        columns[f"{prefix}value"] = [prediction.value for prediction in predictions]
    elif manifest.problem_type == "multi_label_classification":
        columns[f"{prefix}labels"] = [prediction.labels for prediction in predictions]
    else:
        columns[f"{prefix}label"] = [prediction.label for prediction in predictions]
        columns[f"{prefix}score"] = [prediction.score for prediction in predictions]
    if manifest.problem_type != "regression":
        if nested:
            columns[f"{prefix}scores"] = [prediction.scores for prediction in predictions]
        else:
            for label in manifest.labels:
                columns[f"{prefix}score_{label}"] = [prediction.scores[label] for prediction in predictions]
    columns[f"{prefix}truncated"] = [prediction.truncated for prediction in predictions]
    columns[f"{prefix}windows"] = [prediction.windows for prediction in predictions]
    if manifest.problem_type != "regression":
        columns[f"{prefix}margin"] = [prediction.margin for prediction in predictions]
        if manifest.margin_error is not None:
            columns[f"{prefix}near_boundary"] = [prediction.near_boundary for prediction in predictions]
    if manifest.calibrated_tokens is not None:
        columns[f"{prefix}beyond_calibration"] = [prediction.beyond_calibration for prediction in predictions]
    return columns


def check_names(where: str, names: Iterable[str], added: Iterable[str]) -> None:
    """Check that no column of the input has the name of an added one.

    Raises:
        DataError: One has.
    """
    taken = set(added)
    for name in names:
        if name in taken:
            raise DataError(
                f"{where}: there is a column {name!r} already, which is a name for the prediction: "
                "give another --prefix than the one that both begin with"
            )
