"""Draw a run's curves: `RUN/training.svg`."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(history_file: Path, svg_file: Path) -> None:
    """Draw training loss, learning rate and held-out metrics over the steps of `history.jsonl`."""
    lines = [json.loads(line) for line in history_file.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)

    def curve(key: str) -> tuple[list[int], list[float]]:
        points = [(line["step"], line[key]) for line in lines if key in line]
        return [step for step, _ in points], [value for _, value in points]

    left.plot(*curve("loss"), color="tab:blue", label="training loss")
    left.plot(*curve("eval_loss"), "o", color="tab:orange", label="held-out loss")
    for key, name, mark in (("eval_accuracy", "accuracy", "s"), ("eval_f1_macro", "macro F1", "+")):
        steps, values = curve(key)
        if values:
            left.plot(steps, values, mark, color="black", fillstyle="none", label=f"held-out {name} {values[-1]:.3f}")
    left.set(xlabel="step", title="loss and held-out metrics", ylim=(0, None))
    left.legend(fontsize="small")
    right.plot(*curve("learning_rate"), color="tab:green")
    right.set(xlabel="step", title="learning rate", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(svg_file, metadata={"Date": None})
