"""Distil a teacher into students of several sizes, export each, and time all files in turn."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftx.bench.statistics import ratio_interval
from ftx.distilling import distill
from ftx.environment import environment
from ftx.errors import RecipeError
from ftx.heldout import read_held_out
from ftx.machine import usable_cores
from ftx.run_folder import find_checkpoint
from ftx.students.exporting import Exported, exported
from ftx.students.figures import StudentFigures, StudentSearch, TeacherFigures
from ftx.students.files import PAGE_FILE, REPORT_FILE, check_free, write_files
from ftx.students.shapes import find_shapes, read_config
from ftx.students.timing import Times, time_files

__all__ = ["search_students"]

log = logging.getLogger(__name__)

ROUNDS = 12


def search_students(
    teacher: str | Path,
    *,
    layers: Sequence[int] = (),
    ffn_share: Sequence[float] = (),
    heads: Sequence[int] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
    unlabelled: str | Path | None = None,
    unlabelled_column: str | None = None,
    trim_vocab: bool | str | Path | None = None,
    max_loss: float | None = None,
    temperature: float | None = None,
    hard_weight: float | None = None,
    candidate_steps: int | None = None,
    dataset: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    delimiter: str | None = None,
    skip_bad_rows: int | None = None,
    validation: str | Path | None = None,
    train_rows: int | None = None,
    max_length: int | None = None,
    epochs: float | None = None,
    max_steps: int | None = None,
    save_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: str | None = None,
    seed: int | None = None,
) -> StudentSearch:
    """Distil a run into students of several depths and widths, and find the fastest that is accurate enough.

    Each student is exported with the first int8 form that passes, which does not depend on the machine's speed. All
    files are timed in turn, and the report is written into `output` as `students.json` and `students.html`. A search
    that was interrupted goes on where it was: finished students are used as they are, an unfinished one is resumed.

    Example:
        >>> report = ftx.search_students("runs/reviews", layers=[1], max_steps=4, output="runs/students")
        >>> [len(one.layers) for one in report.students]
        [1]

    Args:
        teacher: A run folder.
        layers: Depths to try; default: with `ffn_share` or `heads` the teacher's; else all that are less, or five of
            them where there are more, and beside them the teacher's own with half the heads and 0.375 of the neurons.
        ffn_share: Shares of each layer's feed-forward neurons to try, with each depth; default: all neurons.
        heads: Numbers of each layer's attention heads to try, with each of these; 0: all; default: all.
        output: A folder for the students' runs; default: `runs/TEACHER-students`.
        overwrite: Whether to start over: existing runs in it are replaced.
        unlabelled: As for `ftx.distill`; so are all that follow.
        unlabelled_column: Likewise.
        trim_vocab: Likewise.
        max_loss: Likewise.
        temperature: Likewise.
        hard_weight: Likewise.
        candidate_steps: Likewise.
        dataset: Likewise.
        text_column: Likewise.
        text_pair_column: Likewise.
        label_column: Likewise.
        label_columns: Likewise.
        labels: Likewise.
        delimiter: Likewise.
        skip_bad_rows: Likewise.
        validation: Likewise.
        train_rows: Likewise.
        max_length: Likewise.
        epochs: Likewise.
        max_steps: Likewise.
        save_steps: Likewise.
        batch_size: Likewise.
        learning_rate: Likewise.
        precision: Likewise.
        seed: Likewise.

    Raises:
        RecipeError: The teacher is no run, does not have so many layers or heads, or can't be narrowed.
        OutputError: A file in `output` is not ftx's; or see `ftx.distill` and `ftx.export`.
        DataError, ModelError: See `ftx.distill` and `ftx.export`.
    """
    from ftx.students.page import render

    checkpoint = find_checkpoint(Path(teacher))
    teacher_run = checkpoint.absolute().parent
    if not (teacher_run / "recipe.toml").is_file():
        raise RecipeError(
            f"{teacher} is no run of ftx train, which a search needs: distil one student at a time, with --layers and "
            "--dataset"
        )
    folder = Path(output) if output else Path("runs") / f"{teacher_run.name}-students"
    shapes = find_shapes(str(teacher), read_config(checkpoint), layers, ffn_share, heads)
    check_free(folder)
    reports = {}
    for shape in shapes:
        run = folder / shape.folder
        finished = (run / "distillation.json").is_file() and not overwrite
        log.info(f"{run} is finished" if finished else f"Distilling into {run}")
        reports[run] = distill(
            teacher_run, layers=shape.layers, ffn_share=shape.ffn_share, heads=shape.heads, output=run,
            overwrite=overwrite, resume=not overwrite,
            unlabelled=unlabelled, unlabelled_column=unlabelled_column, trim_vocab=trim_vocab,
            max_loss=max_loss, temperature=temperature, hard_weight=hard_weight,
            candidate_steps=candidate_steps, dataset=dataset, text_column=text_column,
            text_pair_column=text_pair_column, label_column=label_column, label_columns=label_columns,
            labels=labels, delimiter=delimiter, skip_bad_rows=skip_bad_rows, validation=validation,
            train_rows=train_rows, max_length=max_length, epochs=epochs, max_steps=max_steps,
            save_steps=save_steps, batch_size=batch_size, learning_rate=learning_rate, precision=precision,
            seed=seed,
        )  # fmt: skip
    theirs = exported(teacher_run, folder / "teacher-onnx", overwrite=overwrite)
    ours = {run: exported(run, run / "onnx", overwrite=overwrite) for run in reports}
    texts = read_held_out(next(iter(reports)) / "eval.jsonl").texts
    log.info("Timing all files in turn")
    files = {str(teacher_run): theirs.file, **{str(run): one.file for run, one in ours.items()}}
    times, noise = time_files(files, texts, ROUNDS)
    first = next(iter(reports.values()))
    reference = TeacherFigures(
        file=str(theirs.file),
        layers=first.teacher_layers,
        value=first.teacher_metrics[first.measure],
        texts_per_sec=float(np.median(times[str(teacher_run)].texts_per_sec)),
        latency_ms=float(np.median(times[str(teacher_run)].latency_ms)),
        size_bytes=theirs.file.stat().st_size,
    )
    points = [(reference.texts_per_sec, reference.value)]
    points += [
        (float(np.median(times[str(run)].texts_per_sec)), one.metrics[one.measure]) for run, one in reports.items()
    ]
    students = [
        figures_of(one, ours[run], times[str(run)], times[str(teacher_run)], points, noise)
        for run, one in reports.items()
    ]
    report = StudentSearch(
        folder=str(folder),
        teacher=str(teacher_run),
        texts=len(texts),
        measure=first.measure,
        max_loss_points=first.max_loss_points,
        threads=usable_cores(),
        rounds=ROUNDS,
        teacher_file=reference,
        students=students,
        chosen=choose(students),
        noise=noise,
        environment=environment(),
    )
    as_json = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    write_files(folder, {REPORT_FILE: as_json, PAGE_FILE: render(report)})
    return report


def figures_of(
    report: Any, made: Exported, its: Times, teachers: Times, points: list[tuple[float, float]], noise: float
) -> StudentFigures:
    """Put a student's figures together; `points` are the speed and the value of all files."""
    ratios = its.texts_per_sec / teachers.texts_per_sec
    speed, value = float(np.median(its.texts_per_sec)), report.metrics[report.measure]
    return StudentFigures(
        run=report.run,
        layers=tuple(report.layers),
        ffn_share=report.ffn_share,
        heads=report.heads,
        value=value,
        loss_points=report.loss_points,
        loss_interval_points=report.loss_interval_points,
        verdict=report.verdict,
        file=str(made.file),
        failed=made.failed,
        label_agreement=made.label_agreement,
        texts_per_sec=speed,
        speedup=float(np.median(ratios)),
        speedup_interval=ratio_interval(ratios, noise),
        latency_ms=float(np.median(its.latency_ms)),
        size_bytes=made.file.stat().st_size,
        on_front=not any(
            other_speed >= speed and other_value >= value and (other_speed, other_value) != (speed, value)
            for other_speed, other_value in points
        ),
    )


def choose(students: list[StudentFigures]) -> str | None:
    """Choose the run of the fastest student that passes; else of the fastest that is near."""
    for verdict in ("passes", "near"):
        if those := [one for one in students if one.verdict == verdict and not one.failed]:
            return max(those, key=lambda one: one.speedup).run
    return None
