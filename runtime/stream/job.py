"""A job: which file is predicted into which other file, and how its rows are read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction
from ftx.runtime.settings import PredictSettings
from ftx.runtime.stream.columns import PREFIX
from ftx.runtime.stream.formats import output_format
from ftx.tables.formats import Format, input_format, is_stream
from ftx.text import Text

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "Classifier", "Job"]

# Enough rows that sorting by length fills batches well, few enough that a kill costs seconds.
CHUNK_ROWS = 2048
CHUNK_BYTES = 2**23


class Classifier(Protocol):
    """What a job needs of a model: `ftx.Predictor`, or anything like it."""

    manifest: Manifest
    path: Path
    sha256: str
    settings: PredictSettings

    @property
    def fallback(self) -> Classifier | None:
        """What answers the texts near the boundary."""

    def __call__(self, texts: Sequence[Text]) -> list[Prediction]:
        """Predict each text."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job reads and writes; the fields are described in `predict_file`.

    Raises:
        ValueError: A number is too small.
    """

    input: Path
    output: Path
    input_format: str | None = None
    output_format: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    prefix: str = PREFIX
    chunk_rows: int = CHUNK_ROWS
    chunk_bytes: int = CHUNK_BYTES
    skip_bad_rows: int = 0
    rejects: Path | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("chunk_rows", 1), ("chunk_bytes", 1), ("skip_bad_rows", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}, expected at least {least}")

    @property
    def place(self) -> Path:
        """Where the output will be: if it is a link, the link's target, so that it stays a link."""
        return self.output.resolve() if self.output.is_symlink() else self.output

    @property
    def part(self) -> Path:
        """Where the output is until it is complete."""
        return self.place.with_name(self.place.name + ".part")

    @property
    def journal(self) -> Path:
        """Where the journal is until the output is complete."""
        return self.place.with_name(self.place.name + ".part.json")

    @property
    def formats(self) -> tuple[Format, Format]:
        """The formats of input and output."""
        return input_format(self.input, self.input_format), output_format(self.output, self.output_format)

    @property
    def resumable(self) -> bool:
        """Whether the job can be resumed after a kill: the input can be read again, and the output appended to."""
        return not is_stream(self.input) and not is_stream(self.output)
