"""Answer a table of texts with Ray Data."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftx.errors
from ftx.errors import DataError, FtxError, require
from ftx.output import Kind, staged_folder
from ftx.runtime.model_file import find_onnx, open_model
from ftx.runtime.ray.cluster import cluster
from ftx.runtime.ray.shards import check_whole, join
from ftx.runtime.ray.worker import CHUNKS, Answerer, Job, chunks_of, open_predictor, read_chunks
from ftx.runtime.stream.columns import PREFIX, predicted_columns
from ftx.runtime.stream.formats import Format, input_format
from ftx.runtime.stream.preflight import CHUNK_BYTES, CHUNK_ROWS
from ftx.runtime.stream.reading import Reading

__all__ = ["RayReport", "predict_with_ray"]

# Readers of a folder of Parquet files pass over names with an underscore in front.
KIND = Kind(what="answers", owned=frozenset({"part-*.parquet"}), record="_SHA256SUMS", scratch=CHUNKS)


@dataclass(frozen=True, kw_only=True)
class RayReport:
    """What was done.

    Attributes:
        output: The folder of Parquet shards.
        rows: How many were answered.
        truncated: Rows whose text was longer than the model reads, and cut.
        windowed: Rows whose text was read in windows.
        shards: How many files they stand in.
        workers: How many processes answered, at most.
        notice: A line for the user where this CPU needs onnxruntime's slower int8 kernel; else None.
        sec: Seconds from the first look at the input to the renamed folder, Ray's own start included.
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
    input: str | Path,  # noqa: A002 - as the command line names it
    output: str | Path,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    prefix: str = PREFIX,
    address: str | None = None,
    workers: int | None = None,
    batch_size: int = 32,
    invariant: bool = False,
    long_text: str = "truncate",
    stride: int | None = None,
    pooling: str = "mean",
    rows_per_shard: int = 100_000,
    overwrite: bool = False,
) -> RayReport:
    """Answer every row of a table, in parallel.

    The same job as `ftx.runtime.stream.predict_file` does in one process, with the same columns. The shards hold the
    input's rows in their order, files by name. The folder appears when it is whole.
    When a worker dies, Ray starts another, which answers its rows again, in the same place: none is lost, none doubled.

    A file is read by one task, so that a folder of files is read faster than one large file; the workers share the rows
    of both. On a cluster every machine needs the same ftx, and the files and the output folder under the same paths.

    Args:
        onnx: The `.onnx` file, or a folder with one.
        input: A Parquet (`.parquet`), JSON lines (`.jsonl`, `.json`), delimited (`.csv`, `.tsv`) or text file (`.txt`),
            perhaps compressed (`.gz`), or a folder of such files.
        output: The folder of Parquet shards to write.
        text_column: The column of the texts; default: `text`, else the only one.
        text_pair_column: The column of the second texts, for a model that judges two texts together; default for such a
            model: `text_pair`.
        prefix: What the new columns' names begin with.
        address: A Ray cluster, `ray://HOST:PORT`, `HOST:PORT` or `auto`; default: a Ray of its own on this machine.
        workers: Processes that answer, one thread each; default: the cores this process may use, or on a cluster all
            CPUs but one, as many as Ray finds free.
        batch_size: Texts that run together at most.
        invariant: Answer each text as if it were alone.
        long_text: What becomes of a text that is too long: `truncate` or `window`.
        stride: Tokens that neighbouring windows share.
        pooling: How windows become one answer: `mean` or `max`.
        rows_per_shard: Rows of a shard, or a few more; the last one of an input file has fewer.
        overwrite: Whether shards that an earlier job wrote there may be replaced; other files there are kept.

    Raises:
        MissingExtraError: ray is not installed.
        OnnxFileError: The file can't be used.
        DataError: The input can't be read, or lacks a column, or a row can't be used.
        OutputError: Something is at `output` already, or it can't be written.
        FtxError: No such cluster, or the workers died again and again.
        ValueError: A number is below 1, or the stride leaves a window nothing new.
    """
    began = time.perf_counter()
    for name, number in (("workers", workers), ("rows_per_shard", rows_per_shard)):
        if number is not None and number < 1:
            raise ValueError(f"{name} {number}, expected at least 1")
    require("ray", "ray", "pyarrow")
    source, target = Path(input).absolute(), Path(output).absolute()
    path = find_onnx(onnx).absolute()
    model = open_model(path)
    model.file.close()
    manifest = model.manifest
    reading = Reading(
        path=source,
        bad=refuse,
        text_column=text_column,
        text_pair_column=text_pair_column,
        text_pair=manifest.text_pair,
        added=tuple(predicted_columns([], manifest, prefix=prefix)),
        form="table",
        plain_cells=False,
        chunk_rows=CHUNK_ROWS,
        chunk_bytes=CHUNK_BYTES,
    )
    files = find_files(source)
    with closing(chunks_of(*files[0], reading)) as chunks:  # what is wrong at once is said before Ray starts
        next(chunks)
    with staged_folder(target, kind=KIND, overwrite=overwrite) as part:
        (part / CHUNKS).mkdir()
        job = Job(
            onnx=path,
            sha256=model.sha256,
            files=files,
            reading=reading,
            part=part,
            prefix=prefix,
            batch_size=batch_size,
            invariant=invariant,
            long_text=long_text,
            stride=stride,
            pooling=pooling,
        )
        # What can't be opened at all is said once, here, and not by every worker.
        with open_predictor(job) as predictor:
            notice = predictor.notice
        with cluster(address, workers) as (ray, count):
            done = run(ray, job, workers=count, fixed=address is None)
        once = check_whole(job, done)
        shards = join(job, {key: one["rows"] for key, one in once.items()}, rows_per_shard)
    rows, truncated, windowed = (sum(one[what] for one in once.values()) for what in ("rows", "truncated", "windowed"))
    return RayReport(
        output=target,
        rows=rows,
        truncated=truncated,
        windowed=windowed,
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
    files = [source]
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith((".", "_")))
    if not files:
        raise DataError(f"{source} holds no files; expected some with rows to answer")
    return [(path, input_format(path, None)) for path in files]


def refuse(where: str, reason: str) -> None:
    """Take no bad row."""
    raise DataError(f"{where}: {reason}; mend it or leave it out, or skip it with --engine local --skip-bad-rows")


def run(ray: Any, job: Job, *, workers: int, fixed: bool) -> list[dict[str, Any]]:
    """Read, answer and write the chunks.

    Args:
        ray: The module, connected.
        job: What is to be done.
        workers: How many, at most.
        fixed: Whether all start at once; else as Ray finds CPUs free for them.

    Returns:
        What was done of each chunk, in any order; see `Answerer`.

    Raises:
        FtxError: What a worker raised, or what went wrong in Ray.
    """
    files = ray.data.from_items([{"file": file} for file in range(len(job.files))], override_num_blocks=len(job.files))
    pool = (
        ray.data.ActorPoolStrategy(size=workers) if fixed else ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
    )
    try:
        # Ray Data's own defaults for actors: restarted whenever they die (max_restarts -1), and their rows given out
        # anew (max_task_retries -1).
        chunks = files.map_batches(read_chunks, fn_args=(job,), batch_size=1, batch_format="pyarrow")
        done: list[dict[str, Any]] = chunks.map_batches(
            Answerer, fn_constructor_args=(job,), batch_size=1, batch_format="pyarrow", compute=pool, num_cpus=1
        ).take_all()
    except Exception as error:  # Ray wraps what a worker raises in errors of its own, several deep ...
        # ... of which only the text crosses from one process to another.
        if said := re.findall(r"^ftx\.errors\.(\w+): (.+)$", str(error), re.MULTILINE):
            raise getattr(ftx.errors, said[-1][0], FtxError)(said[-1][1]) from error
        raise FtxError(f"Ray could not finish: {type(error).__name__}: {last_line(error)}") from error
    return done


def last_line(error: BaseException) -> str:
    """Cut an error to its last line: Ray's begin with traces of other processes."""
    return (str(error).strip().splitlines() or [""])[-1].strip()[:300]
