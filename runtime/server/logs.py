"""The server's log: lines on stderr that no reader, and no full disk, can hold the server up with."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

from prometheus_client import Counter

__all__ = ["LogWriter", "log_to_stderr"]

LOGGERS = {"ftx.server": logging.INFO, "uvicorn.error": logging.WARNING}
MOST_LINES = 1000
# How long the end of the process waits for lines that are not written yet.
FLUSH_SEC = 0.5


class LogWriter(logging.Handler):
    """Writes lines in a thread of its own; whoever logs never waits.

    A stream that nobody reads blocks that thread alone. Lines beyond `most_lines`, and those that can't be written, are
    dropped and counted; the next line that can be written is preceded by one that says how many.

    Args:
        stream: Where the lines go.
        most_lines: Lines that may wait.

    Attributes:
        dropped: The count, as a metric.
    """

    def __init__(self, stream: TextIO, *, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self.dropped = Counter("ftx_log_lines_dropped", "Lines of the log that were not written.", registry=None)
        self._stream, self._most = stream, most_lines
        self._lines: deque[str] = deque()
        self._busy = self._ended = False
        self._unsaid = 0  # lines dropped since the last one that was written
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ftx log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        line = self.format(record)
        with self._changed:
            if self._ended or len(self._lines) >= self._most:
                self._drop()
            else:
                self._lines.append(line)
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all lines are written, but not long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._busy, FLUSH_SEC)

    def close(self) -> None:
        """Write what is queued, and end."""
        self.flush()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(FLUSH_SEC)
        super().close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._ended)
                if not self._lines:
                    return
                line, unsaid, self._busy = self._lines.popleft(), self._unsaid, True
            try:
                if unsaid:
                    self._write(self.format(logging.makeLogRecord({
                        "levelno": logging.WARNING, "levelname": "WARNING",
                        "msg": f"{unsaid} lines of the log were dropped: they could not be written, or not in time",
                    })))  # fmt: skip
                    with self._changed:
                        self._unsaid -= unsaid
                self._write(line)
            except (OSError, ValueError):  # ValueError: the stream is closed
                with self._changed:
                    self._drop()

    def _drop(self) -> None:
        self._unsaid += 1
        self.dropped.inc()

    def _write(self, line: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except OSError:  # a notebook's stream
            self._stream.write(f"{line}\n")
            self._stream.flush()
            return
        # Past the stream's buffer: the interpreter could not end while a thread is blocked in it.
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def log_to_stderr(log_format: str) -> Iterator[LogWriter]:
    """Send the server's log to stderr, `text` or `json`, a line each."""
    writer = LogWriter(sys.stderr)
    writer.setFormatter(JsonLines() if log_format == "json" else logging.Formatter("%(levelname)s: %(message)s"))
    loggers = {logging.getLogger(name): level for name, level in LOGGERS.items()}
    before = {logger: (logger.handlers, logger.propagate, logger.level) for logger in loggers}
    for logger, level in loggers.items():
        logger.handlers, logger.propagate = [writer], False
        logger.setLevel(level)
    try:
        yield writer
    finally:
        writer.close()
        for logger, (handlers, propagate, level) in before.items():
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        said = {"time": round(record.created, 3), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)
