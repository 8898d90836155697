"""Measure an ONNX file beside PyTorch and others: on the same texts, with the same threads, in one run."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ftx.bench.apart import run_apart
from ftx.bench.assembling import Measured, assemble
from ftx.bench.ceiling import measure_ceiling
from ftx.bench.engine import Engine, start_engine
from ftx.bench.engines.choosing import choose_engines, prepare_engines
from ftx.bench.engines.kind import EngineKind, Sources
from ftx.bench.engines.teacher import find_teacher
from ftx.bench.noise import Calibration
from ftx.bench.profile import profile as profile_of
from ftx.bench.report import BenchReport
from ftx.bench.timing import Sweep, time_engines, warm_up
from ftx.bench.tokens import texts_of_length
from ftx.bench.workloads.cold_start import measure_cold_starts
from ftx.bench.workloads.file_job import measure_file_job
from ftx.bench.workloads.server.measure import measure_servers
from ftx.bench.workloads.sizes import BATCH_SIZES, Batches, Lengths
from ftx.bench.workloads.threads import measure_threads
from ftx.bench.workloads.training import measure_training
from ftx.errors import FtxError
from ftx.export.data import read_data
from ftx.export.parity.batches import BATCH_SIZE
from ftx.heldout import HeldOut, data_columns, write_held_out
from ftx.machine import usable_cores
from ftx.run_folder import find_checkpoint
from ftx.runtime.model_file import describe, find_onnx
from ftx.text import Text

__all__ = ["WORKLOADS", "bench"]

log = logging.getLogger(__name__)

WORKLOADS = ("latency", "throughput", "cold", "lengths", "batches", "threads", "file", "server", "training")
DEFAULT = ("latency", "throughput", "cold")
TEXTS, ROUNDS, COLD_ROUNDS = 512, 6, 3
QUICK_TEXTS, QUICK_ROUNDS = 128, 16
# No round begins so long after the call, if two are complete and the caller did not say how many: a large model, or a
# machine that takes long to load PyTorch, gets fewer, and wider intervals.
QUICK_SEC = 45.0
# Agreement and accuracy are measured on so many texts where it must be quick, else on all.
QUICK_HELD_OUT = 512
TEXTS_OF_A_LENGTH = 8
FILE_ROWS, QUICK_FILE_ROWS = 20_000, 2_000


def bench(
    onnx: str | Path,
    against: str | Path,
    *,
    data: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    threads: int | None = None,
    texts: int | None = None,
    rounds: int | None = None,
    engines: Sequence[str] = (),
    workloads: Sequence[str] = (),
    quick: bool = False,
    profile: bool = False,
) -> BenchReport:
    """Measure an ONNX file, the fp32 `model.onnx` beside it, PyTorch, and other engines.

    Example:
        >>> report = ftx.bench("runs/reviews/onnx", "runs/reviews", texts=8, rounds=1)
        >>> [engine.name for engine in report.engines]
        ['ftx int8', 'ftx fp32 (model.onnx)', 'PyTorch eager']

    Args:
        onnx: The file, or an export folder.
        against: The run or checkpoint it was made from.
        data: Texts, a table, one a line or a hub data set, labelled or not; default: the run's held-out ones.
        text_column: The column of the texts in `data`; default: `text`.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels; default: `label`.
        label_columns: Columns of 0 and 1, one a label, in place of a column of labels.
        delimiter: What separates the columns of `data`; default: found out.
        threads: Threads that share one batch, for every engine; default: the cores this process may use.
        texts: Texts to time on, taken evenly from the data; agreement and accuracy are measured on all. Default: 512.
        rounds: Rounds in which the engines take turns; default: 6.
        engines: Names of engines, `all`, or `NAME=module:function`; default: `ftx`, `ftx-fp32`, for a student of
            `ftx distill` its `teacher`, and `pytorch`, which is always there. `ftx-fallback`
            is the file with the `model.onnx` beside it as its fallback.
        workloads: Some of `WORKLOADS`; latency and throughput are always measured. Default: these and cold starts.
        quick: For a first look: fewer texts, no more rounds than take some seconds, and cold starts only if they are
            among the workloads.
        profile: Also tell where the time goes in the file.

    Ctrl-C ends it early: the report then has the rounds that were complete.

    Raises:
        ModelError, DataError, OnnxFileError: See there.
        FtxError: There is no such engine, or the file or PyTorch can't run.
        ValueError: There is no such workload.
        KeyboardInterrupt: Ctrl-C came before a round was complete.
    """
    if unknown := set(workloads) - set(WORKLOADS):
        raise ValueError(f"workloads {sorted(unknown)}, expected some of {', '.join(WORKLOADS)}")
    deadline = time.perf_counter() + QUICK_SEC if quick and not rounds else math.inf
    wanted = set(workloads) or set(() if quick else DEFAULT)
    path, checkpoint = find_onnx(onnx).absolute(), find_checkpoint(Path(against)).absolute()
    manifest, _ = describe(path)
    kinds = choose_engines(engines, path, find_teacher(checkpoint))
    columns = data_columns(
        text_column, label_column, text_pair_column, indicators=tuple(label_columns or ()), delimiter=delimiter or ""
    )
    held_out, held_out_file = read_data(data, checkpoint, columns, manifest.id2label, manifest.problem_type)
    if quick:
        held_out = held_out.take(evenly(len(held_out), QUICK_HELD_OUT))
    threads, rounds = threads or usable_cores(), rounds or (QUICK_ROUNDS if quick else ROUNDS)
    timed = held_out.take(evenly(len(held_out), texts or (QUICK_TEXTS if quick else TEXTS))).texts
    sweeps: dict[str, Sweep] = {}
    if "lengths" in wanted:
        sweeps["lengths"] = Lengths(texts=texts_of_length(path, timed, TEXTS_OF_A_LENGTH))
    if "batches" in wanted:
        sweeps["batches"] = Batches(texts=(timed * max(BATCH_SIZES))[: max(BATCH_SIZES)])

    with TemporaryDirectory() as scratch:
        sources = Sources(onnx=path, checkpoint=checkpoint, work=Path(scratch), threads=threads, calibration=timed)
        left_out = prepare_engines(kinds, sources)
        measured = time_kinds(
            kinds, sources, left_out, held_out, timed=timed, sweeps=sweeps, rounds=rounds, batch_size=BATCH_SIZE,
            deadline=deadline,
        )  # fmt: skip
        if not measured.interrupted:
            try:
                measured = add_workloads(measured, wanted, sources, held_out, timed, quick=quick)
                if profile:
                    measured = replace(measured, profile=profile_of(path, timed, threads, BATCH_SIZE))
            except KeyboardInterrupt:
                measured = replace(measured, interrupted=True)
        return assemble(measured, sources, held_out, held_out_file, timed, BATCH_SIZE)


def evenly(length: int, count: int) -> list[int]:
    """Choose so many places of a list, or all."""
    return [int(place) for place in np.linspace(0, length - 1, min(count, length))]


def time_kinds(
    kinds: list[EngineKind],
    sources: Sources,
    left_out: dict[str, str],
    held_out: HeldOut,
    *,
    timed: list[Text],
    sweeps: dict[str, Sweep],
    rounds: int,
    batch_size: int,
    deadline: float,
) -> Measured:
    """Start the engines, compute their logits, and time them; one that can't run is left out with its reason.

    Raises:
        FtxError: The first one, or PyTorch, can't run.
    """
    # PyTorch, of a teacher, too: with it the others are compared.
    needed = {kinds[0].title, *({kind.checkpoint: kind.title for kind in kinds}.values())}
    with ExitStack() as stack:
        running: list[tuple[EngineKind, Engine]] = []
        logits = []
        for kind in kinds:
            if kind.title in left_out:
                continue
            log.info(f"Loading {kind.title}")
            with ExitStack() as own:  # one that fails is stopped at once
                try:
                    engine = own.enter_context(start_engine(kind.spec(sources)))
                    found = engine.logits(held_out.texts, batch_size)
                    warm_up(engine, timed)
                except FtxError as error:
                    if kind.title in needed:
                        raise
                    left_out[kind.title] = str(error)
                    continue
                stack.push(own.pop_all())
            running.append((kind, engine))
            logits.append(found)
        if missing := [name for name in needed if name in left_out]:
            raise FtxError(f"{missing[0]} can't be measured: {left_out[missing[0]]}")
        calibration = Calibration()
        engines = [engine for _, engine in running]
        timings, interrupted = time_engines(
            engines, timed, calibration, batch_size=batch_size, rounds=rounds, sweeps=sweeps, deadline=deadline
        )
    return Measured(
        kinds=[kind for kind, _ in running],
        load_ms=[engine.load_ms for engine in engines],
        logits=logits,
        timings=timings,
        calibration=calibration,
        interrupted=interrupted,
        left_out=left_out,
    )


def add_workloads(
    measured: Measured, wanted: set[str], sources: Sources, held_out: HeldOut, timed: list[Text], *, quick: bool
) -> Measured:
    """Measure what needs other processes than the engines' own; what fails is left out with its reason."""
    left_out, noise = dict(measured.left_out), measured.calibration.spread
    specs = [kind.spec(sources) for kind in measured.kinds]
    single = [text for text in timed if isinstance(text, str)]
    measured = replace(measured, ceiling=measure_ceiling(sources.threads), left_out=left_out)
    if "cold" in wanted and single:
        programs = {kind.title: (spec, kind.program) for kind, spec in zip(measured.kinds, specs, strict=True)}
        starts, failed = measure_cold_starts(
            {name: one for name, one in programs.items() if one[1]}, sources.work, 1 if quick else COLD_ROUNDS
        )
        left_out |= {f"{name}, cold start": reason for name, reason in failed.items()}
        measured = replace(measured, cold_starts=starts)
    if "threads" in wanted:
        measured = replace(measured, by_threads=measure_threads(specs, timed, sources.threads, BATCH_SIZE))
    if "file" in wanted and single:
        try:
            rows = QUICK_FILE_ROWS if quick else FILE_ROWS
            measured = replace(measured, file_job=measure_file_job(specs[0], single, rows, BATCH_SIZE, sources.work))
        except FtxError as error:
            left_out["file job"] = str(error)
    if "server" in wanted:
        try:
            if not single:
                raise FtxError("servers are measured with single texts, and this model reads pairs")
            servers, failed = measure_servers(specs[0], single, BATCH_SIZE, sources.work, noise=noise, quick=quick)
            left_out |= failed
            measured = replace(measured, server=servers)
        except FtxError as error:
            left_out["server"] = str(error)
    if "training" in wanted:
        rows_file = sources.work / "training.jsonl"
        if held_out.labels is None:
            left_out["training"] = "the texts have no labels"
        else:
            write_held_out(rows_file, zip(held_out.texts, held_out.labels, strict=True))
            try:
                training = run_apart(
                    "Training", measure_training, sources.checkpoint, rows_file, sources.threads, noise
                )
                measured = replace(measured, training=training)
            except FtxError as error:
                left_out["training"] = str(error)
    return measured
