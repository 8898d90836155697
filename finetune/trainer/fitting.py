"""Run a Trainer, and evaluate its model on the held-out rows."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import expit

from ftx.finetune.model.head import MULTI_LABEL, Head
from ftx.finetune.scoring.metrics import measure_of
from ftx.finetune.scoring.scores import Scores, compute_scores
from ftx.finetune.scoring.thresholds import tune_thresholds

__all__ = ["Fitted", "HeldOutResult", "evaluate_held_out", "fit"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training took; see `TrainingReport` for the fields."""

    steps: int
    train_sec: float
    train_samples_per_sec: float
    train_loss: float


@dataclass(frozen=True, kw_only=True)
class HeldOutResult:
    """How the model does on the held-out rows; see `TrainingReport` for the fields."""

    eval_loss: float
    metrics: dict[str, float]
    scores: Scores
    thresholds: dict[str, float]


def fit(trainer: Any, checkpoint: Path | None) -> Fitted:
    """Train from the start, or resume from a checkpoint.

    Raises:
        RecipeError: Training diverged.
    """
    began = time.perf_counter()
    with closing(trainer.progress):
        outcome = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    return Fitted(
        steps=outcome.global_step,
        train_sec=time.perf_counter() - began,
        train_samples_per_sec=outcome.metrics["train_samples_per_second"],
        train_loss=mean_loss(trainer.state.log_history, outcome.training_loss),
    )


def mean_loss(lines: list[dict[str, Any]], unlogged: float) -> float:
    """Average the losses of a history, each weighted by the number of steps since the previous one.

    Args:
        lines: The Trainer's log history, which a resumed run continues.
        unlogged: The Trainer's own mean, which counts from the resumption; it serves where no loss was logged.
    """
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    if not points:
        return unlogged
    weights = [step - before for (step, _), before in zip(points, [0, *(step for step, _ in points)], strict=False)]
    return float(sum(w * loss for w, (_, loss) in zip(weights, points, strict=True)) / max(1, sum(weights)))


def evaluate_held_out(trainer: Any, rows: Any, head: Head, seed: int) -> HeldOutResult:
    """Evaluate a Trainer's model on the held-out rows, and log the metrics to its history.

    For multi-label, the thresholds are tuned on these rows and stored in the model's config.

    Args:
        trainer: A Hugging Face Trainer.
        rows: A data set made by `tokenise`.
        head: The kind of head.
        seed: Seed of the bootstrap.

    Raises:
        RecipeError: Training diverged: the model computes no finite logits.
    """
    found = trainer.predict(rows, metric_key_prefix="eval")
    thresholds: dict[str, float] = {}
    if head.problem_type == MULTI_LABEL:
        thresholds = tune_thresholds(expit(found.predictions), found.label_ids, head.labels)
        trainer.model.config.thresholds = thresholds
    metrics = measure_of(head, thresholds)(found.predictions, found.label_ids)
    trainer.log({**found.metrics, **{f"eval_{name}": value for name, value in metrics.items()}})
    return HeldOutResult(
        eval_loss=found.metrics["eval_loss"],
        metrics=metrics,
        scores=compute_scores(found.predictions, found.label_ids, head, seed, thresholds),
        thresholds=thresholds,
    )
