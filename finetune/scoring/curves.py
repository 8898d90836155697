"""Plot a run: `RUN/training.svg`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ftx.finetune.scoring.scores import MultiLabelScores, RegressionScores, Scores, SingleLabelScores

__all__ = ["draw_run"]

METRIC_NAMES = {
    "accuracy": "accuracy", "f1_macro": "macro F1", "f1_micro": "micro F1", "mcc": "MCC", "map": "mAP",
    "mae": "MAE", "rmse": "RMSE", "pearson": "Pearson", "spearman": "Spearman",
}  # fmt: skip
# The numbers in the cells of a larger matrix would not be readable.
MAX_CELLS_WITH_NUMBERS = 15


def draw_run(history_file: Path, labels: list[str], scores: Scores, svg_file: Path) -> None:
    """Plot loss, metrics and learning rate over the steps of `history.jsonl`, and the predictions on the held-out rows.

    The predictions are shown as a confusion matrix, F1 per label (multi-label), or predicted against true values
    (regression).
    """
    lines = [json.loads(line) for line in history_file.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(11, 8), layout="constrained")
    (loss, metrics), (rate, predictions) = figure.subplots(2, 2)

    def curve(axes: Any, key: str, mark: str, name: str) -> None:
        points = [(line["step"], line[key]) for line in lines if key in line]
        steps, values = [step for step, _ in points], [value for _, value in points]
        axes.plot(steps, values, mark, label=f"{name} {values[-1]:.3f}" if values else name)

    curve(loss, "loss", "-", "training loss")
    curve(loss, "eval_loss", "o--", "held-out loss")
    for key, name in METRIC_NAMES.items():
        if any(f"eval_{key}" in line for line in lines):
            curve(metrics, f"eval_{key}", "o--", name)
    curve(rate, "learning_rate", "-", "learning rate")
    loss.set(title="loss", xlabel="step", ylim=(0, None))
    metrics.set(
        title="on held-out rows",
        xlabel="step",
        xlim=loss.get_xlim(),
        ylim=(min(0, metrics.get_ylim()[0]), max(1, metrics.get_ylim()[1])),
    )
    rate.set(title="learning rate", xlabel="step", ylim=(0, None))
    loss.legend(fontsize="small")
    metrics.legend(fontsize="small", loc="lower left")
    for axes in (loss, metrics, rate):
        axes.grid(alpha=0.3)
    if isinstance(scores, SingleLabelScores):
        draw_confusion(predictions, labels, scores.confusion_matrix)
    elif isinstance(scores, MultiLabelScores):
        draw_labels(predictions, scores)
    else:
        draw_values(predictions, scores)
    figure.savefig(svg_file, metadata={"Date": None})


def draw_confusion(axes: Any, labels: list[str], matrix: list[list[int]]) -> None:
    """Plot a confusion matrix, coloured by share of the true label, with counts in the cells."""
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title="confusion matrix, held-out rows", xlabel="predicted label", ylabel="true label")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    if len(labels) > MAX_CELLS_WITH_NUMBERS:
        return
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            color = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize="small")


def draw_labels(axes: Any, scores: MultiLabelScores) -> None:
    """Plot the F1 of each label, with its number of rows and its threshold."""
    names = list(scores.classes)
    axes.barh(names, [scores.classes[name].f1 for name in names], color="lightsteelblue")
    for place, name in enumerate(names):
        one = scores.classes[name]
        caption = f" {one.f1:.2f}, {one.support} rows, threshold {one.threshold:.2f}"
        axes.text(0.01, place, caption, va="center", fontsize="small")
    axes.invert_yaxis()
    axes.set(title="F1 per label, held-out rows", xlim=(0, 1))


def draw_values(axes: Any, scores: RegressionScores) -> None:
    """Plot predicted against true values, with the line where they are equal."""
    true, predicted = zip(*scores.points, strict=True)
    axes.plot(true, predicted, ".", alpha=0.5)
    axes.axline((min(true), min(true)), slope=1, color="black", linewidth=0.8)
    axes.set(title="held-out rows", xlabel="true value", ylabel="predicted value")
