"""The report of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ftx.baseline import weakness, weakness_of_values
from ftx.finetune.data.profile import DataProfile
from ftx.finetune.scoring.scores import MultiLabelScores, RegressionScores, Scores, scores_from

__all__ = ["TrainingReport"]


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The result of a run; `RUN/metrics.json`.

    Attributes:
        run: The run folder.
        problem_type: The kind of head.
        labels: Label names.
        train_rows: Training rows.
        eval_rows: Held-out rows.
        steps: Optimiser steps.
        train_sec: Seconds of training, without loading, since the start or the resumption.
        train_samples_per_sec: Training rows per second.
        device: `cpu`, or the GPU's name.
        processes: Number of processes that trained together.
        precision: fp32, fp16 or bf16.
        precision_reason: Why it was chosen.
        train_loss: Mean loss over the logged steps.
        eval_loss: Loss on the held-out rows.
        metrics: On the held-out rows, by the names in `metrics.METRICS`; top-level fields in metrics.json.
        scores: The details behind the metrics.
        thresholds: For multi-label: the probability from which each label is predicted, tuned on the held-out rows.
        data: Statistics of the data.
    """

    run: str
    problem_type: str
    labels: list[str]
    train_rows: int
    eval_rows: int
    steps: int
    train_sec: float
    train_samples_per_sec: float
    device: str
    processes: int
    precision: str
    precision_reason: str
    train_loss: float
    eval_loss: float
    metrics: dict[str, float]
    scores: Scores
    thresholds: dict[str, float]
    data: DataProfile

    @property
    def weakness(self) -> str:
        """How the model is no better than a constant on the held-out rows; empty where it is better."""
        scores = self.scores
        if isinstance(scores, RegressionScores):
            true, predicted = zip(*scores.points, strict=True)
            return weakness_of_values(true, predicted)
        if isinstance(scores, MultiLabelScores):
            right = any(one.recall for one in scores.classes.values())
            return "" if right else f"the model gives none of {self.eval_rows} held-out texts any label that it has"
        cells = enumerate(scores.confusion_matrix)
        return weakness(
            {(self.labels[true], self.labels[given]): n for true, row in cells for given, n in enumerate(row)}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, with the metrics as top-level fields."""
        values = asdict(self)
        return {**values, "weakness": self.weakness, **values.pop("metrics")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingReport:
        """Restore a report from the values of `to_dict`."""
        names = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in names}
        return cls(
            **{
                **given,
                "metrics": {name: value for name, value in values.items() if name not in names | {"weakness"}},
                "scores": scores_from(values["scores"], values["problem_type"]),
                "data": DataProfile(**values["data"]),
            }
        )
