"""What a search among students found: `OUTPUT/students.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ftx.bench.statistics import Interval
from ftx.lineage import width_of

__all__ = ["StudentFigures", "StudentSearch", "TeacherFigures"]

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class TeacherFigures:
    """The teacher's smaller file.

    Attributes:
        file: Its path; the fp32 file, if int8 failed.
        layers: Of the teacher.
        value: PyTorch's accuracy on the held-out text; for multi-label macro F1, for regression Pearson's correlation.
        texts_per_sec: In batches of 32 held-out texts: the median of the rounds.
        latency_ms: Median of single texts.
        size_bytes: Of the file.
    """

    file: str
    layers: int
    value: float
    texts_per_sec: float
    latency_ms: float
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StudentFigures:
    """A student and its smaller file.

    Attributes:
        run: Its run folder.
        layers: The teacher's layers that it started from, counted from 0.
        ffn_share: Share of each layer's feed-forward neurons that it has.
        heads: Attention heads of each layer; 0: as many as the teacher's.
        value: PyTorch's, in the teacher's measure.
        loss_points: What it lost on the held-out text, in points.
        loss_interval_points: The 95 % interval of that, see `DistillationReport`.
        verdict: On that loss: `passes`, `near`, `fails` or `not enough text`.
        file: The path of its smaller file; the fp32 file, if int8 failed.
        failed: Why its int8 failed; empty if it did not.
        label_agreement: Share of the reporting texts with the label of the student's PyTorch; None for an fp32 file.
        texts_per_sec: In batches of 32 held-out texts: the median of the rounds.
        speedup: Times the teacher's file: the median of the rounds' ratios.
        speedup_interval: Its 95 % interval, see `ratio_interval`.
        latency_ms: Median of single texts.
        size_bytes: Of the file.
        on_front: Whether no other file, the teacher's included, is both faster and more accurate.
    """

    run: str
    layers: tuple[int, ...]
    ffn_share: float
    heads: int
    value: float
    loss_points: float
    loss_interval_points: tuple[float, float]
    verdict: str
    file: str
    failed: str
    label_agreement: float | None
    texts_per_sec: float
    speedup: float
    speedup_interval: Interval
    latency_ms: float
    size_bytes: int
    on_front: bool


@dataclass(frozen=True, kw_only=True)
class StudentSearch:
    """Students beside their teacher.

    Attributes:
        folder: Where the students' runs are.
        teacher: The teacher's run.
        texts: Held-out texts.
        measure: What is judged: accuracy, f1_macro or pearson.
        max_loss_points: The loss that is allowed.
        threads: Threads of each file.
        rounds: In which the files took turns.
        teacher_file: The teacher's.
        students: By size, the largest first.
        chosen: The run of the fastest student whose loss passes, and whose int8 does; without one, of the fastest whose
            loss is near; None: there is neither.
        noise: The spread of a fixed calculation between the turns, as a share.
        environment: Where it was measured, and with which versions.
    """

    folder: str
    teacher: str
    texts: int
    measure: str
    max_loss_points: float
    threads: int
    rounds: int
    teacher_file: TeacherFigures
    students: list[StudentFigures]
    chosen: str | None
    noise: float
    environment: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether no student is accurate enough."""
        return self.chosen is None

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        for one in self.students:
            if one.run == self.chosen:
                low, high = one.speedup_interval
                lost_low, lost_high = one.loss_interval_points
                sure = "passes" if one.verdict == "passes" else "is near: more held-out text would decide"
                width = width_of(one.ffn_share, one.heads)
                size = f"{len(one.layers)} of {self.teacher_file.layers} layers{width and f'{width},'}"
                return (
                    f"{size} answer {one.speedup:.2f} times as many texts "
                    f"a second as the teacher ({low:.2f} to {high:.2f}) and lose {one.loss_points:+.2f} points of "
                    f"{self.measure} on {self.texts} texts (95 % interval {lost_low:+.2f} to {lost_high:+.2f}; allowed "
                    f"{self.max_loss_points:g}): {sure}"
                )
        return (
            f"no student loses at most {self.max_loss_points:g} points of {self.measure}: allow more with --max-loss, "
            "try larger students, or teach with more text (--unlabelled)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"format_version": 1, "failed": self.failed, "verdict": self.verdict, **asdict(self)}

    def rows(self) -> list[list[str]]:
        """Give a table: headings, the teacher, the students."""
        headings = [
            "layers", "heads", "FFN share", self.measure, "loss, points (95 %)", "verdict", "int8 agreement", "texts/s",
            "× teacher (95 %)", "p50 ms", "MiB", "front",
        ]  # fmt: skip
        theirs = self.teacher_file
        teacher = [
            f"{theirs.layers}, the teacher", "all", "1", f"{theirs.value:.4f}", "", "", "",
            f"{theirs.texts_per_sec:,.0f}", "1", f"{theirs.latency_ms:.2f}", f"{theirs.size_bytes / MIB:.1f}", "",
        ]  # fmt: skip
        return [headings, teacher, *(self.row(one) for one in self.students)]

    def row(self, one: StudentFigures) -> list[str]:
        """Give a student's cells."""
        agreement = "fp32" if one.label_agreement is None else f"{one.label_agreement:.4f}"
        return [
            f"{len(one.layers)}: {', '.join(map(str, one.layers))}",
            str(one.heads or "all"),
            f"{one.ffn_share:.3g}",
            f"{one.value:.4f}",
            "{:+.2f} ({:+.2f} to {:+.2f})".format(one.loss_points, *one.loss_interval_points),
            one.verdict,
            agreement,
            f"{one.texts_per_sec:,.0f}",
            "{:.2f} ({:.2f} to {:.2f})".format(one.speedup, *one.speedup_interval),
            f"{one.latency_ms:.2f}",
            f"{one.size_bytes / MIB:.1f}",
            "chosen" if one.run == self.chosen else "yes" if one.on_front else "",
        ]

    def to_text(self) -> str:
        """Write the table and the verdict for the terminal."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, f"verdict  {self.verdict}"])
