"""Run a job: predict the rows of a file into another file, chunk by chunk, each committed before the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ftx.advice import advice, remedy
from ftx.errors import DataError
from ftx.runtime.stream.chunks import chunks_of
from ftx.runtime.stream.columns import PREFIX, predicted_columns
from ftx.runtime.stream.job import CHUNK_BYTES, CHUNK_ROWS, Classifier, Job
from ftx.runtime.stream.journal import DONE, PUBLISHED, RUNNING, Journal, new_journal, unchanged, write_journal
from ftx.runtime.stream.preflight import check_job, check_label_names, check_newer, is_finished
from ftx.runtime.stream.reading import Chunk, Reading
from ftx.runtime.stream.rejects import Rejects
from ftx.runtime.stream.writing import (
    FilePlace,
    PartsPlace,
    Place,
    StreamPlace,
    encode_chunk,
    explained,
    locked,
    remove,
)
from ftx.tables.formats import is_stream

__all__ = ["JobReport", "Progress", "do_job", "predict_file"]


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """The result of a job.

    Attributes:
        rows: Rows that were written.
        bad_rows: Rows that were skipped.
        truncated: Rows whose text was longer than the model reads, and was truncated.
        windowed: Rows whose text was read in windows.
        beyond_calibration: Rows whose text is longer than those that static int8 was calibrated on.
        rows_before: Rows that had been written before the job was resumed; `rows` includes them.
        sec: Seconds since the job was started or resumed.
        output: The output.
        finished_before: Whether the job had finished before it was resumed, and there was nothing to do. Its number of
            rows is no longer known then.
    """

    rows: int
    bad_rows: int
    truncated: int
    windowed: int
    output: Path
    rows_before: int = 0
    sec: float = 0.0
    finished_before: bool = False
    notice: str = ""
    beyond_calibration: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a job.

    Attributes:
        rows: Rows that are written.
        rows_per_sec: Throughput since the job was started or resumed.
        done: The share of the input that was read; None if unknown.
        left_sec: Estimated seconds left; None if unknown.
    """

    rows: int
    rows_per_sec: float
    done: float | None
    left_sec: float | None


def predict_file(
    predictor: Classifier,
    input_path: str | Path,
    output_path: str | Path,
    *,
    input_format: str | None = None,
    output_format: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    prefix: str = PREFIX,
    chunk_rows: int = CHUNK_ROWS,
    chunk_bytes: int = CHUNK_BYTES,
    skip_bad_rows: int = 0,
    rejects: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_chunk: Callable[[Progress], None] | None = None,
) -> JobReport:
    """Predict every row of a file into another file, which has the input's columns and those of the predictions.

    Memory does not grow with the number of rows. The output appears when it is complete; until then it is
    `OUTPUT.part`, with a journal beside it. A job that was killed at any moment can be resumed, and its output is then
    byte for byte that of an uninterrupted job (Parquet: the same table). Empty lines of tables and of JSON lines are
    skipped.

    Example:
        >>> report = ftx.predict_file(ftx.Predictor("model.onnx"), "reviews.csv", "predicted.jsonl")
        >>> report.rows
        96

    Args:
        predictor: The model.
        input_path: A .csv, .tsv, .jsonl, .json (JSON lines) or .txt file (one text a line), each also with .gz; a
            .parquet file; a pipe; or `-` for standard input.
        output_path: A .csv, .tsv or .jsonl file, each also with .gz; a .parquet file; or `-` for standard output.
        input_format: The input's format if its name does not tell, as `csv` or `csv.gz`; for `-` jsonl by default.
        output_format: The output's, likewise.
        text_column: The column of the texts; default: `text`, else the only one.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        prefix: Prefix of the added columns' names.
        chunk_rows: Maximum rows that are predicted, written and committed together.
        chunk_bytes: Their approximate maximum size.
        skip_bad_rows: How many unusable rows are skipped before one is an error.
        rejects: A file for unusable rows, any number of them, as JSON lines with `where` and `reason`.
        resume: Continue an unfinished job, if there is one. Input, model and options must be the same. If the output
            exists with nothing unfinished beside it, the job is finished.
        overwrite: Replace an output, or restart an unfinished job.
        on_chunk: Called after each chunk.

    Raises:
        DataError: The input can't be read, or has a bad row; with file and line.
        OutputError: The output exists, or can't be written, or another job is unfinished there.
        MissingExtraError: A file is Parquet, and pyarrow is not installed.
    """
    job = Job(
        input=Path(input_path),
        output=Path(output_path),
        input_format=input_format,
        output_format=output_format,
        text_column=text_column,
        text_pair_column=text_pair_column,
        prefix=prefix,
        chunk_rows=chunk_rows,
        chunk_bytes=chunk_bytes,
        skip_bad_rows=skip_bad_rows,
        rejects=Path(rejects) if rejects is not None else None,
        resume=resume,
        overwrite=overwrite,
    )
    return do_job(job, predictor, on_chunk)


def do_job(job: Job, predictor: Classifier, on_chunk: Callable[[Progress], None] | None = None) -> JobReport:
    """Run a job; see `predict_file`."""
    previous = check_job(job)
    if is_finished(job):
        check_newer(job, predictor)
        return JobReport(rows=0, bad_rows=0, truncated=0, windowed=0, output=job.output, finished_before=True)
    check_label_names(job, predictor.manifest)
    journal = new_journal(job, predictor)
    if previous is not None and job.resume:
        previous.check_same(journal, job.output)
        journal = replace(previous, rejects=journal.rejects)
    return JobRun(job, predictor, journal, on_chunk).run()


class JobRun:
    """One run of a job, from the start or from where its journal says."""

    def __init__(
        self, job: Job, predictor: Classifier, journal: Journal, on_chunk: Callable[[Progress], None] | None
    ) -> None:
        self._job = job
        self._predictor = predictor
        self._journal = journal
        self._rows_before, self._sec = journal.rows, 0.0
        self._notice = ""
        self._on_chunk = on_chunk
        self._rejects = Rejects(job.skip_bad_rows, job.rejects)
        self._read, self._written = job.formats
        self._place: Place
        if is_stream(job.output):
            self._place = StreamPlace(job.output)
        elif self._written.kind == "parquet":
            self._place = PartsPlace(job.place, job.part)
        else:
            self._place = FilePlace(job.place, job.part)

    def run(self) -> JobReport:
        """Do what is left of the job."""
        job = self._job
        with explained(job.output, self._kept), ExitStack() as held:
            if not is_stream(job.output):
                self._claim(held)
            held.callback(self._place.close)
            held.callback(self._rejects.close)
            try:
                if self._journal.state == RUNNING:
                    self._work(held)
                self._finish()
            except BaseException:
                self._discard()
                raise
        told = ("rows", "bad_rows", "truncated", "windowed", "beyond_calibration")
        counts = {name: getattr(self._journal, name) for name in told}
        return JobReport(**counts, rows_before=self._rows_before, sec=self._sec, output=job.output, notice=self._notice)

    def _claim(self, held: ExitStack) -> None:
        """Lock the unfinished output, so that no other process writes there."""
        part, folder = self._job.part, self._written.kind == "parquet"
        if part.exists() and part.is_dir() != folder:  # left by a job of another format, which this one overwrites
            with locked(part):
                remove(part)
        if self._journal.state != RUNNING and not part.exists():  # renamed already
            return
        if folder:
            part.mkdir(exist_ok=True)
        else:
            part.touch()
        held.enter_context(locked(part))

    def _work(self, held: ExitStack) -> None:
        """Predict the chunks that are left."""
        job, before = self._job, self._journal
        self._save(before)
        self._place.begin(before.output_committed)
        self._rejects.begin(before.bad_rows, before.rejects_committed)
        self._rejects.muted = before.chunks > 0
        started = time.perf_counter()
        for number, chunk in enumerate(self._chunks(held), 1):
            self._notice = chunk.notice
            if number <= before.chunks:
                self._rejects.muted = number < before.chunks
                started = time.perf_counter()  # the speed is that of predicting, not of skipping finished rows
                continue
            self._do(chunk)
            self._sec = time.perf_counter() - started
            self._tell(chunk)
        if self._journal.input and not unchanged(job.input, self._journal.input):
            raise DataError(f"{job.input} was changed while it was read: start over with --overwrite")
        self._save(replace(self._journal, state=DONE))

    def _do(self, chunk: Chunk) -> None:
        """Predict a chunk, write it and commit it."""
        job, journal = self._job, self._journal
        predictions = self._predictor(chunk.texts) if chunk.texts else []
        first = journal.chunks == 0
        data = encode_chunk(chunk, predictions, self._predictor.manifest, job.prefix, self._written, first=first)
        self._save(
            replace(
                journal,
                output_committed=self._place.append(data),
                rejects_committed=self._rejects.commit(),
                chunks=journal.chunks + 1,
                rows=journal.rows + len(predictions),
                bad_rows=self._rejects.count,
                truncated=journal.truncated + sum(prediction.truncated for prediction in predictions),
                windowed=journal.windowed + sum(prediction.windows > 1 for prediction in predictions),
                beyond_calibration=journal.beyond_calibration + sum(one.beyond_calibration for one in predictions),
            )
        )

    def _chunks(self, held: ExitStack) -> Iterator[Chunk]:
        """Read the input."""
        job, manifest = self._job, self._predictor.manifest
        objects = self._written.kind == "jsonl"
        reading = Reading(
            path=job.input,
            bad=self._rejects.add,
            text_column=job.text_column,
            text_pair_column=job.text_pair_column,
            text_pair=manifest.text_pair,
            added=tuple(predicted_columns([], manifest, prefix=job.prefix, nested=objects)),
            form={"jsonl": "objects", "parquet": "table"}.get(self._written.kind, "cells"),
            plain_cells=self._written.kind == "tsv",
            chunk_rows=job.chunk_rows,
            chunk_bytes=job.chunk_bytes,
        )
        return held.enter_context(closing(chunks_of(reading, self._read)))

    def _tell(self, chunk: Chunk) -> None:
        """Report progress."""
        if self._on_chunk is None:
            return
        speed = (self._journal.rows - self._rows_before) / self._sec if self._sec else 0.0
        every = self._journal.rows / chunk.done if chunk.done else None
        left = (every - self._journal.rows) / speed if every and speed else None
        self._on_chunk(Progress(rows=self._journal.rows, rows_per_sec=speed, done=chunk.done, left_sec=left))

    def _save(self, journal: Journal) -> None:
        """Commit the progress."""
        if not is_stream(self._job.output):
            write_journal(self._job.journal, journal)
        self._journal = journal

    def _finish(self) -> None:
        """Publish the output and remove the files beside it, in an order in which a kill does no harm."""
        job = self._job
        if self._journal.state == DONE:
            self._place.publish(self._journal.output_committed)
            self._save(replace(self._journal, state=PUBLISHED))
        if not is_stream(job.output):
            remove(job.part)
            job.journal.unlink()

    def _discard(self) -> None:
        """Remove the files of a job that can't be resumed."""
        job = self._job
        if is_stream(job.output) or (job.resumable and (self._journal.chunks or self._journal.state != RUNNING)):
            return
        rejects = [job.rejects] if job.rejects is not None else []
        # The journal last: while it exists, the other files are known to be this job's.
        for path in (*rejects, job.part, job.journal.with_name(job.journal.name + ".tmp"), job.journal):
            with suppress(OSError):  # the user must see the first error, not this one
                remove(path)

    def _kept(self, error: OSError) -> str:
        """Say what to do about an error, and whether the job can be resumed."""
        job = self._job
        if job.resumable and self._journal.chunks and job.journal.exists() and job.part.exists():
            return f"{self._journal.rows:,} rows are kept: {remedy(error)}, then continue with --resume"
        return advice(error)
