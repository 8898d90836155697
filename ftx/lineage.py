"""The first link of a distilled model's chain, `RUN/distillation.json`: what the student lost against its teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftx import typed
from ftx.errors import ModelError

__all__ = ["DISTILLATION_FILE", "FromTeacher", "read_teacher", "width_of"]

DISTILLATION_FILE = "distillation.json"


@dataclass(frozen=True, kw_only=True)
class FromTeacher:
    """A student beside its teacher on held-out text, as its distillation measured both.

    Attributes:
        teacher: The teacher's checkpoint.
        layers: How many layers the student has.
        teacher_layers: How many the teacher has.
        ffn_share: Share of each layer's feed-forward neurons that the student has.
        heads: How many attention heads each of its layers has; 0: as many as the teacher's.
        texts: Held-out texts.
        measure: accuracy, for multi-label f1_macro, for regression pearson.
        value: The student's.
        teacher_value: The teacher's.
        loss_points: The difference in points, with its 95 % interval in `loss_interval_points`.
        loss_interval_points: See there.
        max_loss_points: The loss that was allowed.
        verdict: `passes`, `near`, `fails` or `not enough text`.
        agreement: Share of the texts with the teacher's prediction.
        calibration_error: The student's expected calibration error; None except for single label.
        teacher_calibration_error: The teacher's.
        class_f1_losses_points: The teacher's F1 minus the student's, in points, by label; empty for regression.
    """

    teacher: str
    layers: int
    teacher_layers: int
    texts: int
    measure: str
    value: float
    teacher_value: float
    loss_points: float
    loss_interval_points: tuple[float, float]
    max_loss_points: float
    verdict: str
    agreement: float
    calibration_error: float | None
    teacher_calibration_error: float | None
    class_f1_losses_points: dict[str, float]
    ffn_share: float = 1.0
    heads: int = 0

    @property
    def width(self) -> str:
        """What the student's layers are, if they are narrower; see `width_of`."""
        return width_of(self.ffn_share, self.heads)


def width_of(ffn_share: float, heads: int) -> str:
    """Say how wide a student's layers are, to go on after their number; empty: as wide as its teacher's."""
    neurons = f"{ffn_share:.3g} of the feed-forward neurons" if ffn_share < 1 else ""
    found = " and ".join(filter(None, [f"{heads} attention heads" if heads else "", neurons]))
    return f", each with {found}" if found else ""


def read_teacher(checkpoint: Path) -> FromTeacher | None:
    """Read what the distillation of a run's checkpoint measured; None: it is no student's.

    Raises:
        ModelError: The file can't be used.
    """
    path = checkpoint.absolute().parent / DISTILLATION_FILE
    if not path.is_file():
        return None
    try:
        found = typed.read_object(path.read_bytes())
        measure = typed.string(found.get("measure"), "measure")
        values, theirs = (typed.mapping(found.get(name), name) for name in ("metrics", "teacher_metrics"))
        low, high = typed.listed(found.get("loss_interval_points"), "loss_interval_points")
        errors = (found.get(name) for name in ("calibration_error", "teacher_calibration_error"))
        ours, teachers = (None if one is None else typed.number(one, "calibration_error") for one in errors)
        losses = typed.mapping(found.get("class_f1_losses_points"), "class_f1_losses_points")
        return FromTeacher(
            teacher=typed.string(found.get("teacher"), "teacher"),
            layers=len(typed.listed(found.get("layers"), "layers")),
            teacher_layers=typed.whole(found.get("teacher_layers"), "teacher_layers"),
            texts=typed.whole(found.get("texts"), "texts"),
            measure=measure,
            value=typed.number(values.get(measure), measure),
            teacher_value=typed.number(theirs.get(measure), f"the teacher's {measure}"),
            loss_points=typed.number(found.get("loss_points"), "loss_points"),
            loss_interval_points=(
                typed.number(low, "loss_interval_points"),
                typed.number(high, "loss_interval_points"),
            ),
            max_loss_points=typed.number(found.get("max_loss_points"), "max_loss_points"),
            verdict=typed.string(found.get("verdict"), "verdict"),
            agreement=typed.number(found.get("agreement"), "agreement", least=0, most=1),
            calibration_error=ours,
            teacher_calibration_error=teachers,
            ffn_share=typed.number(found.get("ffn_share", 1.0), "ffn_share", least=0, most=1),
            heads=typed.whole(found.get("heads", 0), "heads"),
            class_f1_losses_points={name: typed.number(one, f"the F1 lost of {name}") for name, one in losses.items()},
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be used: {error!s:.300}; distil again, or move the file away") from error
