"""The verdict on a student: is it as good as its teacher on held-out text, but for an allowed loss?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ftx.errors import OutputError
from ftx.finetune.distillation.choosing import Candidate
from ftx.finetune.distillation.teaching import Lesson
from ftx.finetune.distillation.vocabulary import Trimmed
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.scoring.measures import measured
from ftx.finetune.scoring.scores import MultiLabelScores, SingleLabelScores, compute_scores
from ftx.lineage import DISTILLATION_FILE, width_of
from ftx.paired import paired_interval, texts_to_decide

__all__ = ["ENOUGH_TEXTS", "DistillationReport", "judge", "loss_interval", "read_report"]

# As for exported files: on fewer texts no student passes, and none fails.
ENOUGH_TEXTS = 100
SAMPLES, SAMPLES_AT_ONCE = 2000, 50
# Values agree within a tenth of the standard deviation of the teacher's, as an exported file's and PyTorch's do.
TOLERANCE = 0.1
MEASURES = {REGRESSION: "pearson", MULTI_LABEL: "f1_macro"}


@dataclass(frozen=True, kw_only=True)
class DistillationReport:
    """A student beside its teacher on held-out text; `RUN/distillation.json`.

    Attributes:
        run: The student's run folder.
        teacher: The teacher's checkpoint.
        problem_type: The kind of head.
        layers: The teacher's layers that the student started from, counted from 0.
        teacher_layers: How many layers the teacher has.
        ffn_share: Share of each layer's feed-forward neurons that the student has.
        heads: How many attention heads each of its layers has; 0: as many as the teacher's.
        candidates: The choices of layers that were tried on the training text.
        temperature: What both models' logits were divided by.
        hard_weight: Share of the labels in the loss.
        train_rows: Labelled training rows.
        unlabelled_rows: Unlabelled texts that were learnt from, too.
        vocabulary: The student's vocabulary beside the teacher's; None: it is the same.
        texts: Held-out texts.
        measure: What is judged: accuracy, for multi-label f1_macro, for regression pearson.
        loss_points: The teacher's minus the student's, in points (hundredths); negative where the student is better.
        loss_interval_points: Its 95 % interval, from both models' results on the same texts. Of accuracy, that of
            Agresti and Min (2005) for paired proportions. Otherwise the 2.5th and 97.5th percentile over 2,000 samples
            of the texts, drawn with replacement (Efron and Tibshirani, 1993); for multi-label with two half texts
            added to each label, so that it does not collapse where both predict the same, see `with_half_texts`.
        max_loss_points: The loss that is allowed.
        verdict: `passes`: the interval does not reach beyond the allowed loss (non-inferior). `near`: the loss on these
            texts is allowed, but the interval reaches beyond. `fails`: the loss is larger. `not enough text`: there
            are fewer than 100 texts.
        texts_to_pass: Where the verdict is `near`: estimated number of held-out texts on which the same loss passes;
            None where it is another, or where more than ten million would be needed.
        agreement: Share of the texts with the teacher's label, or labels; for regression, with a value within a tenth
            of the standard deviation of the teacher's values.
        metrics: The student's, by the names in `metrics.METRICS`.
        teacher_metrics: The teacher's.
        calibration_error: The student's expected calibration error; None except for single label.
        teacher_calibration_error: The teacher's.
        class_f1_losses_points: The teacher's F1 minus the student's, in points, by label; empty for regression.
    """

    run: str
    teacher: str
    problem_type: str
    layers: tuple[int, ...]
    teacher_layers: int
    ffn_share: float = 1.0
    heads: int = 0
    candidates: list[Candidate]
    temperature: float
    hard_weight: float
    train_rows: int
    unlabelled_rows: int
    vocabulary: Trimmed | None
    texts: int
    measure: str
    loss_points: float
    loss_interval_points: tuple[float, float]
    max_loss_points: float
    verdict: str
    texts_to_pass: int | None
    agreement: float
    metrics: dict[str, float]
    teacher_metrics: dict[str, float]
    calibration_error: float | None
    teacher_calibration_error: float | None
    class_f1_losses_points: dict[str, float]

    @property
    def failed(self) -> bool:
        """Whether the student lost more than is allowed."""
        return self.verdict == "fails"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Write the figures for the terminal."""
        low, high = self.loss_interval_points
        name = self.measure
        lines = [
            f"student    {len(self.layers)} of {self.teacher_layers} layers: {', '.join(map(str, self.layers))}"
            f"{width_of(self.ffn_share, self.heads)}",
            f"teacher    {self.teacher}",
            f"{name:<10} {self.metrics[name]:.4f}, the teacher's {self.teacher_metrics[name]:.4f}, on {self.texts} "
            "held-out texts",
            f"loss       {self.loss_points:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}; allowed "
            f"{self.max_loss_points:g}",
            f"agreement  {self.agreement:.4f} with the teacher",
        ]
        if self.vocabulary:
            lines.append(self.vocabulary.to_text())
        if self.calibration_error is not None and self.teacher_calibration_error is not None:
            lines.append(
                f"calibration error {self.calibration_error:.4f}, the teacher's {self.teacher_calibration_error:.4f}"
            )
        if self.class_f1_losses_points:
            label, loss = max(self.class_f1_losses_points.items(), key=lambda one: one[1])
            lines.append(f"worst label {label}: F1 {loss:+.2f} points lost")
        return "\n".join([*lines, f"verdict    {self.said}"])

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.verdict == "near":
            needed = f"about {self.texts_to_pass:,} held-out texts" if self.texts_to_pass else "far more held-out text"
            return (
                f"near: the loss on these {self.texts:,} texts is allowed, but its interval reaches beyond; if as much "
                f"is lost on more text, {needed} would show that it passes"
            )
        if self.verdict == "not enough text":
            return f"not enough text: {self.texts} held-out texts, {ENOUGH_TEXTS} are needed"
        if self.verdict == "fails":
            return f"fails: more than {self.max_loss_points:g} points are lost on these {self.texts:,} texts"
        return f"passes: at most {self.max_loss_points:g} points are lost, with 95 % confidence"


def judge(
    lesson: Lesson,
    logits: NDArray[np.float32],
    targets: NDArray[Any],
    thresholds: dict[str, float],
    *,
    run: str,
    train_rows: int,
) -> DistillationReport:
    """Compare a student with its teacher.

    Args:
        lesson: What it was trained with; also the teacher's logits on the held-out rows.
        logits: The student's logits on them. *Shape:* `(num_rows, num_labels)`.
        targets: Their targets.
        thresholds: For multi-label: the student's thresholds, by label.
        run: The student's run folder.
        train_rows: Labelled training rows.
    """
    recipe, distill, head = lesson.recipe, lesson.distill, lesson.student.head
    sides = ((logits, thresholds), (lesson.teacher_logits, lesson.teacher_thresholds))
    ours, theirs = (predicted(one, head, limits) for one, limits in sides)
    metrics, teacher_metrics = (measured(one, targets, head, limits) for one, limits in sides)
    scores, teacher_scores = (compute_scores(one, targets, head, recipe.seed, limits) for one, limits in sides)
    measure = MEASURES.get(head.problem_type, "accuracy")
    loss = 100 * (teacher_metrics[measure] - metrics[measure])
    interval = loss_interval(ours, theirs, targets, head, recipe.seed)
    found = verdict(loss, interval, distill.max_loss, len(targets))
    classes: dict[str, float] = {}
    errors: tuple[float | None, float | None] = (None, None)
    if isinstance(scores, SingleLabelScores) and isinstance(teacher_scores, SingleLabelScores):
        errors = (scores.expected_calibration_error, teacher_scores.expected_calibration_error)
    if isinstance(scores, (SingleLabelScores, MultiLabelScores)) and isinstance(
        teacher_scores, (SingleLabelScores, MultiLabelScores)
    ):
        classes = {
            name: 100 * (teacher_scores.classes[name].f1 - one.f1)
            for name, one in scores.classes.items()
            if one.support
        }
    return DistillationReport(
        run=run,
        teacher=recipe.model,
        problem_type=head.problem_type,
        layers=distill.keep,
        ffn_share=distill.ffn_share,
        heads=distill.heads,
        teacher_layers=lesson.teacher_layers,
        candidates=lesson.candidates,
        temperature=distill.temperature,
        hard_weight=distill.hard_weight,
        train_rows=train_rows,
        unlabelled_rows=lesson.unlabelled_rows,
        vocabulary=lesson.trimmed,
        texts=len(targets),
        measure=measure,
        loss_points=loss,
        loss_interval_points=interval,
        max_loss_points=distill.max_loss,
        verdict=found,
        texts_to_pass=texts_to_decide(loss, interval[1], distill.max_loss, len(targets)) if found == "near" else None,
        agreement=agreement(ours, theirs, head),
        metrics=metrics,
        teacher_metrics=teacher_metrics,
        calibration_error=errors[0],
        teacher_calibration_error=errors[1],
        class_f1_losses_points=classes,
    )


def verdict(loss: float, interval: tuple[float, float], allowed: float, texts: int) -> str:
    """Name the verdict; see `DistillationReport.verdict`. NaN does not pass."""
    if texts < ENOUGH_TEXTS:
        return "not enough text"
    if not loss <= allowed:
        return "fails"
    return "passes" if interval[1] <= allowed else "near"


def predicted(logits: NDArray[np.float32], head: Head, thresholds: dict[str, float]) -> NDArray[Any]:
    """Return what logits say, in the form of targets: label ids, values, or 0 or 1 for each label."""
    if head.problem_type == REGRESSION:
        return np.asarray(logits.reshape(-1), dtype=np.float64)
    if head.problem_type == MULTI_LABEL:
        limits = np.asarray([thresholds.get(name, 0.5) for name in head.labels])
        return np.asarray(expit(logits) >= limits.astype(logits.dtype), dtype=np.float64)
    return np.asarray(logits.argmax(axis=-1))


def agreement(ours: NDArray[Any], theirs: NDArray[Any], head: Head) -> float:
    """Return the share of the texts with the same prediction."""
    if head.problem_type == REGRESSION:
        return float((np.abs(ours - theirs) <= TOLERANCE * theirs.std()).mean())
    return float((ours == theirs).reshape(len(ours), -1).all(axis=1).mean())


def loss_interval(
    ours: NDArray[Any], theirs: NDArray[Any], targets: NDArray[Any], head: Head, seed: int
) -> tuple[float, float]:
    """Compute the 95 % interval of the loss, in points; see `DistillationReport.loss_interval_points`."""
    if head.problem_type == SINGLE_LABEL:
        low, high = paired_interval(ours == targets, theirs == targets)
        return 100 * low, 100 * high
    chance = np.random.default_rng(seed)
    texts, weights = len(targets), np.ones(len(targets))
    if head.problem_type == MULTI_LABEL:
        ours, theirs, targets, weights = with_half_texts(ours, theirs, targets)
    shares = weights / weights.sum()
    losses: list[NDArray[np.float64]] = []
    for _ in range(SAMPLES // SAMPLES_AT_ONCE):
        counts = chance.multinomial(texts, shares, size=SAMPLES_AT_ONCE).astype(np.float64)
        losses.append(weighed(theirs, targets, counts, head) - weighed(ours, targets, counts, head))
    low, high = (float(end) for end in 100 * np.percentile(np.concatenate(losses), [2.5, 97.5]))
    return low, high


def with_half_texts(
    ours: NDArray[Any], theirs: NDArray[Any], targets: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Add half a text on which the teacher alone finds a label, and half a one on which the student alone does.

    Two models that predict the same on all texts may differ on others, which no sample of these texts shows. Agresti
    and Min (2005) add as much to each cell of a table of paired proportions. A label that no text has is left out: its
    F1 would be decided by these halves alone.

    Args:
        ours: The student's predictions. *Shape:* `(num_rows, num_labels)`.
        theirs: The teacher's.
        targets: The targets.

    Returns:
        The three with more rows, and the weight of each row.
    """
    label = np.eye(targets.shape[1])[targets.any(axis=0)]
    nothing = np.zeros_like(label)
    weights = np.concatenate([np.ones(len(targets)), np.full(2 * len(label), 0.5)])
    return (
        np.concatenate([ours, nothing, label]),
        np.concatenate([theirs, label, nothing]),
        np.concatenate([targets, label, label]),
        weights,
    )


def weighed(
    predictions: NDArray[Any], targets: NDArray[Any], counts: NDArray[np.float64], head: Head
) -> NDArray[np.float64]:
    """Compute macro F1, or the correlation of a regression, of many samples at once.

    Args:
        predictions: As `predicted` returns them.
        targets: As many.
        counts: How often each sample has each row. *Shape:* `(num_samples, num_rows)`.
        head: The kind of head.

    Returns:
        The measure of each sample. *Shape:* `(num_samples,)`.
    """
    if head.problem_type == MULTI_LABEL:
        hits, given, true = (counts @ one for one in (predictions * targets, predictions, targets.astype(np.float64)))
        f1 = np.divide(2 * hits, given + true, out=np.zeros_like(hits), where=given + true > 0)
        return np.asarray(f1.mean(axis=1))
    rows = counts.sum(axis=1)
    # Centred first, so that the differences below lose no digits.
    x, y = predictions - predictions.mean(), targets.reshape(-1) - targets.mean()
    mean_x, mean_y = counts @ x / rows, counts @ y / rows
    covariance = counts @ (x * y) / rows - mean_x * mean_y
    spread = np.sqrt((counts @ x**2 / rows - mean_x**2) * (counts @ y**2 / rows - mean_y**2))
    return np.asarray(np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0))


def read_report(run: Path) -> DistillationReport:
    """Read the report of a finished run.

    Raises:
        OutputError: It can't be read.
    """
    try:
        return msgspec.json.decode((run / DISTILLATION_FILE).read_bytes(), type=DistillationReport)
    except (OSError, msgspec.DecodeError) as error:
        raise OutputError(f"{run / DISTILLATION_FILE} can't be read: {error}; start over with --overwrite") from error
