"""Turn logits into predictions: softmax, sigmoid with thresholds, or the raw value, by problem_type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.manifest import Manifest
from ftx.text import Text

__all__ = ["Prediction", "decode", "decode_probabilities", "margins", "near_boundary", "probabilities"]

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's prediction for one text.

    Attributes:
        text: The text, or the pair.
        label: Single label: the most probable one.
        score: Single label: its probability.
        labels: Multi-label: those whose probability reaches their threshold.
        value: Regression: the value.
        scores: Probability by label name; empty for regression.
        truncated: Whether the text was longer than the model reads, and was truncated.
        windows: In how many windows it was read.
        pooling: How the windows were pooled, `mean` or `max`; None for one window.
        margin: How far the prediction is from another one: the probability of the best label minus that of the next;
            for multi-label, the smallest distance of a probability from its threshold; None for regression.
        near_boundary: Whether that is less than what int8 or fp16 was seen to change at export, so that PyTorch's
            prediction may be another; None where the file does not say how much that is.
        fallback: Whether it was therefore answered by the fallback, the fp32 file; `margin` is then the fallback's.
        beyond_calibration: Whether the text has more tokens than any that static int8 was calibrated on, so that
            activations may have been clipped.
    """

    text: Text
    label: str | None = None
    score: float | None = None
    labels: list[str] | None = None
    value: float | None = None
    scores: dict[str, float]
    truncated: bool = False
    windows: int = 1
    pooling: str | None = None
    margin: float | None = None
    near_boundary: bool | None = None
    fallback: bool = False
    beyond_calibration: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of this kind of prediction, as `ftx predict --json` prints them.

        `truncated`, `windows`, `pooling` and `beyond_calibration` are there only for long texts, `near_boundary` only
        where it is known, `fallback` only where one answered.
        """
        text = {"text": self.text} if isinstance(self.text, str) else {"text": self.text[0], "text_pair": self.text[1]}
        long: dict[str, Any] = {"truncated": True} if self.truncated else {}
        if self.windows > 1:
            long |= {"windows": self.windows, "pooling": self.pooling}
        if self.beyond_calibration:
            long["beyond_calibration"] = True
        if self.value is not None:
            return {**text, "value": self.value, **long}
        if self.margin is not None:
            long["margin"] = self.margin
        if self.near_boundary is not None:
            long["near_boundary"] = self.near_boundary
        if self.fallback:
            long["fallback"] = True
        if self.labels is not None:
            return {**text, "labels": self.labels, "scores": self.scores, **long}
        return {**text, "label": self.label, "score": self.score, "scores": self.scores, **long}


def probabilities(logits: NDArray[np.float32], problem_type: str) -> NDArray[np.float32]:
    """Turn logits into probabilities.

    Args:
        logits: *Shape:* `(num_texts, num_labels)`.
        problem_type: Softmax for `single_label_classification`, sigmoid for `multi_label_classification`, nothing for
            `regression`.

    Returns:
        *Shape:* `(num_texts, num_labels)`. Each row sums to 1 after a softmax.
    """
    if problem_type == "single_label_classification":
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
    if problem_type == "multi_label_classification":
        # The sigmoid, written with tanh so that it does not overflow.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    return logits


def decode(texts: list[Text], logits: NDArray[np.float32], manifest: Manifest) -> list[Prediction]:
    """Turn logits into predictions. *Shape of the logits:* `(num_texts, num_labels)`."""
    return decode_probabilities(texts, probabilities(logits, manifest.problem_type), manifest)


def decode_probabilities(texts: list[Text], rows: NDArray[np.float32], manifest: Manifest) -> list[Prediction]:
    """Turn probabilities into predictions.

    Args:
        texts: The texts, or pairs.
        rows: Probabilities; for regression, values. *Shape:* `(num_texts, num_labels)`.
        manifest: Labels, head and thresholds.
    """
    if manifest.problem_type == "regression":
        return [Prediction(text=text, value=float(row[0]), scores={}) for text, row in zip(texts, rows, strict=True)]
    names, known = manifest.labels, manifest.margin_error is not None
    predictions = []
    found_margins, all_near = margins(rows, manifest).tolist(), near_boundary(rows, manifest).tolist()
    for text, row, margin, is_near in zip(texts, rows, found_margins, all_near, strict=True):
        near = is_near if known else None
        scores = {name: float(score) for name, score in zip(names, row, strict=True)}
        if manifest.problem_type == "multi_label_classification":
            given = [n for n in names if scores[n] >= manifest.thresholds.get(n, DEFAULT_THRESHOLD)]
            found = Prediction(text=text, labels=given, scores=scores, margin=margin, near_boundary=near)
        else:
            best = int(row.argmax())
            found = Prediction(
                text=text,
                label=names[best],
                score=float(row[best]),
                scores=scores,
                margin=margin,
                near_boundary=near,
            )
        predictions.append(found)
    return predictions


def near_boundary(rows: NDArray[np.float32], manifest: Manifest) -> NDArray[np.bool_]:
    """Tell which predictions int8 or fp16 may have changed; none where the file does not say how much margins change.

    Arguments and shape are those of `margins`.
    """
    return np.asarray(margins(rows, manifest) < (manifest.margin_error or 0))


def margins(rows: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Compute how far each prediction is from another one; see `Prediction.margin`.

    Args:
        rows: Probabilities. *Shape:* `(num_texts, num_labels)`.
        manifest: The head, not regression, and the thresholds.

    Returns:
        *Shape:* `(num_texts,)`.
    """
    if manifest.problem_type == "multi_label_classification":
        limits = [manifest.thresholds.get(name, DEFAULT_THRESHOLD) for name in manifest.labels]
        return np.asarray(np.abs(rows - np.array(limits, dtype=rows.dtype)).min(axis=1))
    if rows.shape[1] < 2:
        return rows[:, 0]
    highest = np.partition(rows, -2, axis=1)
    return np.asarray(highest[:, -1] - highest[:, -2])
