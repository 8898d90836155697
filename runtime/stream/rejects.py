"""Bad rows of a job: the first is an error, or some are skipped, or all are written to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ftx.errors import OutputError
from ftx.runtime.stream.writing import write_whole
from ftx.tables.bad_rows import one_too_many

__all__ = ["Rejects"]


class Rejects:
    """The bad rows of a job.

    Args:
        limit: How many may be skipped; 0: the first is an error.
        path: A file for all of them, as JSON lines, with no limit; None: none.

    Attributes:
        count: Bad rows so far.
        muted: Whether the rows that are read were counted before the job was interrupted.
    """

    def __init__(self, limit: int, path: Path | None) -> None:
        self.count = 0
        self.muted = False
        self._limit = limit
        self._path = path
        self._pending: list[str] = []
        self._file: Any = None

    def begin(self, count: int, committed: int) -> None:
        """Resume after `count` rows, with the file cut to `committed` bytes."""
        self.count = count
        if self._path:
            self._file = self._path.open("ab", buffering=0)
            if self._file.seek(0, os.SEEK_END) < committed:
                raise OutputError(f"{self._path} is shorter than the journal says: restart with --overwrite")
            self._file.truncate(committed)
            self._file.seek(committed)

    def add(self, where: str, reason: str) -> None:
        """Record a bad row.

        Raises:
            DataError: It is one more than may be skipped.
        """
        if self.muted:
            return
        if self._path:
            self._pending.append(json.dumps({"where": where, "reason": reason}) + "\n")
        elif self.count >= self._limit:
            raise one_too_many(where, reason, self._limit)
        self.count += 1

    def commit(self) -> int:
        """Write the rows recorded to the disk; return the file's size."""
        if self._file is None:
            return 0
        if self._pending:
            try:
                write_whole(self._file, "".join(self._pending).encode())
                os.fsync(self._file.fileno())
            except OSError as error:
                error.filename = str(self._path)  # else the message would name the output
                raise
            self._pending.clear()
        return int(self._file.tell())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
