"""Draw a run: `RUN/training.svg`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["draw_run"]

# Above this the numbers in the cells are no longer readable.
MAX_CELLS_WITH_NUMBERS = 15


def draw_run(history_file: Path, labels: list[str], confusion_matrix: list[list[int]], svg_file: Path) -> None:
    """Draw loss, metrics and learning rate over the steps of `history.jsonl`, and the confusion matrix."""
    lines = [json.loads(line) for line in history_file.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(11, 8), layout="constrained")
    (loss, metrics), (rate, confusion) = figure.subplots(2, 2)

    def curve(axes: Any, key: str, mark: str, name: str) -> None:
        points = [(line["step"], line[key]) for line in lines if key in line]
        steps, values = [step for step, _ in points], [value for _, value in points]
        axes.plot(steps, values, mark, label=f"{name} {values[-1]:.3f}" if values else name)

    curve(loss, "loss", "-", "training loss")
    curve(loss, "eval_loss", "o--", "held-out loss")
    for key, name in (("eval_accuracy", "accuracy"), ("eval_f1_macro", "macro F1"), ("eval_mcc", "MCC")):
        curve(metrics, key, "o--", name)
    curve(rate, "learning_rate", "-", "learning rate")
    loss.set(title="loss", xlabel="step", ylim=(0, None))
    metrics.set(title="on held-out rows", xlabel="step", xlim=loss.get_xlim(), ylim=(min(0, metrics.get_ylim()[0]), 1))
    rate.set(title="learning rate", xlabel="step", ylim=(0, None))
    loss.legend(fontsize="small")
    metrics.legend(fontsize="small", loc="lower left")
    for axes in (loss, metrics, rate):
        axes.grid(alpha=0.3)
    draw_confusion(confusion, labels, confusion_matrix)
    figure.savefig(svg_file, metadata={"Date": None})


def draw_confusion(axes: Any, labels: list[str], matrix: list[list[int]]) -> None:
    """Draw who is taken for whom: each row as shares of its true label, with counts in the cells."""
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title="confusion matrix, held-out rows", xlabel="given label", ylabel="true label")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    if len(labels) > MAX_CELLS_WITH_NUMBERS:
        return
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            color = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize="small")
