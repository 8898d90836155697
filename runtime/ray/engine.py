"""Predict the rows of files with Ray Data."""

from __future__ import annotations

import pickle
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftx.errors import DataError, FtxError, require
from ftx.output import Kind, staged_folder
from ftx.runtime.model_file import find_onnx, open_model
from ftx.runtime.predictor import Predictor
from ftx.runtime.ray.cluster import cluster
from ftx.runtime.ray.shards import in_order, join
from ftx.runtime.ray.worker import CHUNKS, ChunkReport, ChunkWorker, RayJob, chunks_of, read_chunks
from ftx.runtime.settings import PredictSettings
from ftx.runtime.stream.columns import predicted_columns
from ftx.runtime.stream.job import Job
from ftx.runtime.stream.reading import Reading
from ftx.tables.formats import Format, input_format, table_files

__all__ = ["RayReport", "predict_with_ray"]

# Readers of a folder of Parquet files skip names that begin with an underscore.
KIND = Kind(what="predictions", owned=frozenset({"part-*.parquet"}), record="_SHA256SUMS", scratch=CHUNKS)


@dataclass(frozen=True, kw_only=True)
class RayReport:
    """The result of a job with Ray.

    Attributes:
        output: The folder of Parquet shards.
        rows: Rows that were predicted.
        truncated: Rows whose text was longer than the model reads, and was truncated.
        windowed: Rows whose text was read in windows.
        shards: Number of files.
        workers: Maximum number of worker processes.
        notice: A line for the user if this CPU needs onnxruntime's slower int8 kernel; else None.
        sec: Seconds from the first look at the input to the renamed folder, including Ray's start.
    """

    output: Path
    rows: int
    truncated: int
    windowed: int
    shards: int
    workers: int
    notice: str | None
    sec: float


def predict_with_ray(
    onnx: str | Path,
    job: Job,
    settings: PredictSettings | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    rows_per_shard: int = 100_000,
) -> RayReport:
    """Predict every row of a file or of a folder of files, in parallel.

    The result is that of `ftx.runtime.stream.predict_file`, with the same columns, as Parquet shards that hold the
    input's rows in order, files by name. The folder appears when it is complete. If a worker dies, Ray starts another,
    which predicts the same chunks again into the same places: no row is lost or duplicated.

    A file is read by one task, so that a folder of files is read faster than one large file; its rows are shared by all
    workers. On a cluster every machine needs the same ftx, and the files and the output folder under the same paths.

    Args:
        onnx: The `.onnx` file, or a folder with one.
        job: Its input is a Parquet (`.parquet`), JSON lines (`.jsonl`, `.json`), delimited (`.csv`, `.tsv`) or text
            file (`.txt`), optionally compressed (`.gz`), or a folder of such files; its output the folder of Parquet
            shards. With `overwrite`, shards that an earlier job wrote there are replaced, and other files kept. Its
            formats, `rejects`, `skip_bad_rows` and `resume` are not used.
        settings: How to predict. Each worker has one thread, whatever they say.
        address: A Ray cluster, `ray://HOST:PORT`, `HOST:PORT` or `auto`; default: a Ray of its own on this machine.
        workers: Worker processes; default: the cores this process may use, or on a cluster all CPUs but one, as many as
            Ray finds free.
        rows_per_shard: Rows in a shard, or a few more; the last one of an input file has fewer.

    Raises:
        MissingExtraError: ray is not installed.
        OnnxFileError: The file can't be used.
        DataError: The input can't be read, or lacks a column, or a row can't be used.
        OutputError: The output is not empty, or can't be written.
        FtxError: There is no such cluster, or workers kept dying.
        ValueError: A number is below 1, or the stride is as long as a window, or longer.
    """
    began = time.perf_counter()
    for name, number in (("workers", workers), ("rows_per_shard", rows_per_shard)):
        if number is not None and number < 1:
            raise ValueError(f"{name} {number}, expected at least 1")
    require("ray", "ray", "pyarrow")
    source, target = job.input.absolute(), job.output.absolute()
    path = find_onnx(onnx).absolute()
    model = open_model(path)
    model.file.close()
    reading = Reading(
        path=source,
        bad=refuse,
        text_column=job.text_column,
        text_pair_column=job.text_pair_column,
        text_pair=model.manifest.text_pair,
        added=tuple(predicted_columns([], model.manifest, prefix=job.prefix)),
        form="table",
        plain_cells=False,
        chunk_rows=job.chunk_rows,
        chunk_bytes=job.chunk_bytes,
    )
    files = find_files(source)
    with closing(chunks_of(*files[0], reading)) as chunks:  # errors in the first chunk are found before Ray starts
        next(chunks)
    with staged_folder(target, kind=KIND, overwrite=job.overwrite) as part:
        (part / CHUNKS).mkdir()
        alike = replace(settings or PredictSettings(), intra_op_num_threads=1, mode="latency")
        # A model that can't be opened is reported once, here, not by every worker.
        with Predictor.from_settings(path, alike, sha256=model.sha256) as predictor:
            notice, pickled = predictor.notice, pickle.dumps(predictor)
        work = RayJob(predictor=pickled, files=files, reading=reading, part=part, prefix=job.prefix)
        with cluster(address, workers) as (ray, count):
            done = in_order(work, run(ray, work, workers=count, fixed=address is None))
        shards = join(work, done, rows_per_shard)
    return RayReport(
        output=target,
        rows=sum(chunk.rows for chunk in done),
        truncated=sum(chunk.truncated for chunk in done),
        windowed=sum(chunk.windowed for chunk in done),
        shards=shards,
        workers=count,
        notice=notice,
        sec=time.perf_counter() - began,
    )


def find_files(source: Path) -> list[tuple[Path, Format]]:
    """Find the files and their formats.

    Raises:
        DataError: There is none, or one is of an unknown kind.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist; expected a file, or a folder of files")
    return [(path, input_format(path, option="")) for path in table_files(source)]


def refuse(where: str, reason: str) -> None:
    """Raise at the first bad row."""
    raise DataError(f"{where}: {reason}; correct or remove it, or skip it with --engine local --skip-bad-rows")


def run(ray: Any, job: RayJob, *, workers: int, fixed: bool) -> list[ChunkReport]:
    """Read, predict and write the chunks.

    Args:
        ray: The module, connected.
        job: The job.
        workers: Maximum number of workers.
        fixed: Whether all start at once; else as Ray finds free CPUs.

    Returns:
        A report for each chunk, in any order.

    Raises:
        FtxError: What a worker raised, or what went wrong in Ray.
    """
    files = ray.data.from_items([{"file": file} for file in range(len(job.files))], override_num_blocks=len(job.files))
    pool = (
        ray.data.ActorPoolStrategy(size=workers) if fixed else ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
    )
    reports: list[ChunkReport] = []
    try:
        # By default Ray Data restarts actors whenever they die (max_restarts -1), and redoes their chunks
        # (max_task_retries -1).
        chunks = files.map_batches(read_chunks, fn_args=(job,), batch_size=1, batch_format="pyarrow")
        done = chunks.map_batches(
            ChunkWorker, fn_constructor_args=(job,), batch_size=1, batch_format="pyarrow", compute=pool, num_cpus=1
        )
        for row in done.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, FtxError):
                raise result  # closing the rows' iterator ends the other tasks
            reports.append(result)
    except FtxError:
        raise
    except Exception as error:  # Ray's own, and what workers raised besides, wrapped several deep
        raise FtxError(f"Ray could not finish: {type(error).__name__}: {last_line(error)}") from error
    return reports


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message: Ray's begin with traces of other processes."""
    return (str(error).strip().splitlines() or [""])[-1].strip()[:300]
