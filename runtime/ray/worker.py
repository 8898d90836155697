"""What the processes of Ray do: read the chunks of files, answer them, write the answers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftx.runtime.predictor import Predictor
from ftx.runtime.stream import chunks
from ftx.runtime.stream.parquet import encode_parquet
from ftx.runtime.stream.reading import Chunk, Reading
from ftx.tables.formats import Format

__all__ = ["CHUNKS", "Answerer", "Job", "chunks_of", "open_predictor", "read_chunks"]

# Where the answered chunks wait to be joined.
CHUNKS = "chunks"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the tasks and workers do.

    Attributes:
        onnx: The ONNX file.
        sha256: Of it, as `Predictor.sha256`: a file that is replaced in the middle of the job answers no row.
        files: The input, in order, each with its format.
        reading: How a file is read.
        part: The folder to write.
        prefix: What the new columns' names begin with.
        batch_size: Texts that run together at most.
        invariant: Whether every text is answered as if it were alone.
        long_text: `truncate` or `window`.
        stride: Tokens that neighbouring windows share.
        pooling: How windows become one answer.
    """

    onnx: Path
    sha256: str
    files: list[tuple[Path, Format]]
    reading: Reading
    part: Path
    prefix: str
    batch_size: int
    invariant: bool
    long_text: str
    stride: int | None
    pooling: str

    def chunk_path(self, file: int, number: int) -> Path:
        """Name the place of an answered chunk: the same one however often it is answered."""
        return self.part / CHUNKS / f"{file:06d}-{number:09d}.parquet"


def open_predictor(job: Job) -> Predictor:
    """Open the model as each worker does, on one thread."""
    return Predictor(
        job.onnx,
        intra_op_num_threads=1,
        batch_size=job.batch_size,
        invariant=job.invariant,
        mode="latency",
        long_text=job.long_text,
        stride=job.stride,
        pooling=job.pooling,
        sha256=job.sha256,
    )


class Answerer:
    """One worker, in a process of its own: a Predictor on one thread, which Ray calls with a chunk at a time."""

    def __init__(self, job: Job) -> None:
        # The tokenizer would start a thread for every core, in every worker.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.job, self.predictor = job, open_predictor(job)

    def __call__(self, batch: Any) -> Any:
        """Answer a chunk and write it; say which it was, what was done, and whether its file ends with it."""
        import pyarrow

        (row,) = batch.to_pylist()
        file, number, chunk = row["file"], row["number"], pickle.loads(row["chunk"])
        predictions = self.predictor(chunk.texts) if chunk.texts else []
        data = encode_parquet(chunk, predictions, self.predictor.manifest, self.job.prefix)
        path = self.job.chunk_path(file, number)
        beside = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
        beside.write_bytes(data)
        beside.replace(path)
        done = {
            "file": file,
            "number": number,
            "last": row["last"],
            "rows": len(predictions),
            "truncated": sum(prediction.truncated for prediction in predictions),
            "windowed": sum(prediction.windows > 1 for prediction in predictions),
        }
        return pyarrow.Table.from_pylist([done])


def read_chunks(batch: Any, job: Job) -> Iterator[Any]:
    """Read the chunks of files as the stream job does, each with its number."""
    import pyarrow

    for file in batch.column("file").to_pylist():
        path, form = job.files[file]
        for number, (chunk, last) in enumerate(with_last(chunks_of(path, form, job.reading))):
            yield pyarrow.table({"file": [file], "number": [number], "last": [last], "chunk": [pickle.dumps(chunk)]})


def chunks_of(path: Path, form: Format, reading: Reading) -> Generator[Chunk, None, None]:
    """Read a file chunk by chunk."""
    return chunks.chunks_of(replace(reading, path=path), form)


def with_last(chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, bool]]:
    """Tell of each chunk whether it is the last."""
    held = next(chunks, None)
    while held is not None:
        following = next(chunks, None)
        yield held, following is None
        held = following
