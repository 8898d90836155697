"""What Ray's processes do: read the chunks of files, predict them, write the result."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from ftx.runtime.predictor import Predictor
from ftx.runtime.stream import chunks
from ftx.runtime.stream.parquet import encode_parquet
from ftx.runtime.stream.reading import Chunk, Reading
from ftx.tables.formats import Format

__all__ = ["CHUNKS", "ChunkReport", "ChunkWorker", "RayJob", "chunks_of", "read_chunks"]

# The folder of predicted chunks, until they are joined.
CHUNKS = "chunks"


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What the tasks and workers of a job need.

    Attributes:
        predictor: The predictor, pickled: a worker opens the same files, and if one is replaced during the job, no more
            rows are predicted.
        files: The input, in order, each with its format.
        reading: How a file is read.
        part: The folder to write.
        prefix: Prefix of the added columns' names.
    """

    predictor: bytes
    files: list[tuple[Path, Format]]
    reading: Reading
    part: Path
    prefix: str

    def chunk_path(self, file: int, number: int) -> Path:
        """Name the file of a predicted chunk: the same one however often it is predicted."""
        return self.part / CHUNKS / f"{file:06d}-{number:09d}.parquet"


@dataclass(frozen=True, kw_only=True)
class ChunkReport:
    """A chunk that was predicted and written.

    Attributes:
        file: Which of the job's files it is from.
        number: Its place in that file.
        last: Whether the file ends with it.
        rows: Its rows.
        truncated: Rows whose text was truncated.
        windowed: Rows whose text was read in windows.
    """

    file: int
    number: int
    last: bool
    rows: int
    truncated: int
    windowed: int


class ChunkWorker:
    """A worker in a process of its own, which Ray calls with one chunk at a time.

    Its result, as that of `read_chunks`, is a value or an FtxError, pickled: of an exception that is raised in a worker
    Ray passes on only the text.
    """

    def __init__(self, job: RayJob) -> None:
        # Otherwise each worker's tokenizer starts a thread for every core.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.job = job
        self.predictor: Predictor | None = None  # opened with the first chunk, so that what it raises is a result

    def __call__(self, batch: Any) -> Any:
        """Turn a chunk, or an error in place of one, into a result."""
        import pyarrow

        (row,) = batch.to_pylist()
        result = pickle.loads(row["chunk"])
        if not isinstance(result, FtxError):
            try:
                result = self.predict(result, row["file"], row["number"], row["last"])
            except FtxError as error:
                result = error
        return pyarrow.table({"result": [pickle.dumps(result)]})

    def predict(self, chunk: Chunk, file: int, number: int, last: bool) -> ChunkReport:
        """Predict a chunk, write it, and report it."""
        predictor = self.predictor = self.predictor or pickle.loads(self.job.predictor)
        predictions = predictor(chunk.texts) if chunk.texts else []
        data = encode_parquet(chunk, predictions, predictor.manifest, self.job.prefix)
        path = self.job.chunk_path(file, number)
        beside = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
        beside.write_bytes(data)
        beside.replace(path)
        return ChunkReport(
            file=file,
            number=number,
            last=last,
            rows=len(predictions),
            truncated=sum(prediction.truncated for prediction in predictions),
            windowed=sum(prediction.windows > 1 for prediction in predictions),
        )


def read_chunks(batch: Any, job: RayJob) -> Iterator[Any]:
    """Read the chunks of files, each with its number; in place of one that can't be read, the error."""
    import pyarrow

    def row(chunk: Chunk | FtxError, number: int, last: bool) -> Any:
        return pyarrow.table({"file": [file], "number": [number], "last": [last], "chunk": [pickle.dumps(chunk)]})

    for file in batch.column("file").to_pylist():
        number = 0
        path, form = job.files[file]
        try:
            for chunk, last in with_last(chunks_of(path, form, job.reading)):
                yield row(chunk, number, last)
                number += 1
        except FtxError as error:
            yield row(error, number, True)


def chunks_of(path: Path, form: Format, reading: Reading) -> Generator[Chunk, None, None]:
    """Read a file chunk by chunk."""
    return chunks.chunks_of(replace(reading, path=path), form)


def with_last(chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, bool]]:
    """Yield each chunk, and whether it is the last."""
    held = next(chunks, None)
    while held is not None:
        following = next(chunks, None)
        yield held, following is None
        held = following
