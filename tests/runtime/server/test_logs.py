"""The log never makes the server wait, and tells what it dropped."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest

from ftx.runtime.server.logs import JsonLines, LogWriter, log_to_stderr

WAIT_SEC = 60.0  # only ends a hang


class Gate(StringIO):
    """A stream that blocks who writes, as a pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.entered = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.opened.wait(WAIT_SEC)
        return super().write(text)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def log(writer: LogWriter, *lines: str) -> None:
    for line in lines:
        writer.handle(logging.makeLogRecord({"msg": line, "levelname": "INFO"}))


def dropped(writer: LogWriter) -> float:
    [family] = writer.dropped.collect()
    [value] = [sample.value for sample in family.samples if sample.name == "ftx_log_lines_dropped_total"]
    return value


def test_lines_beyond_the_bound_are_dropped_counted_and_said_once(gate: Gate) -> None:
    writer = LogWriter(gate, most_lines=3)
    log(writer, "first")
    assert gate.entered.wait(WAIT_SEC)
    log(writer, *"abcdefg")  # none of these waits
    assert dropped(writer) == 4
    gate.opened.set()
    log_until(writer, gate, "c")
    log(writer, "last")
    writer.close()
    [said] = [line for line in gate.getvalue().splitlines() if "dropped" in line]
    assert said.startswith("4 lines of the log were dropped")
    assert [line for line in gate.getvalue().splitlines() if line != said] == ["first", "a", "b", "c", "last"]
    assert dropped(writer) == 4
    log(writer, "too late")
    assert dropped(writer) == 5


def log_until(writer: LogWriter, gate: Gate, last: str) -> None:
    """Wait until a line is written."""
    while last not in gate.getvalue().splitlines():
        writer.flush()


def test_a_full_disk_drops_lines_until_there_is_room() -> None:
    class Disk(StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    writer = LogWriter(disk)
    writer.setFormatter(JsonLines())
    log(writer, "a", "b")
    while dropped(writer) < 2:
        writer.flush()
    disk.full = False
    log(writer, "c")
    writer.close()
    said, line = map(json.loads, disk.getvalue().splitlines())
    assert (said["level"], line["message"]) == ("WARNING", "c") and said["message"].startswith("2 lines")


def test_the_loggers_are_as_before_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, descriptor = os.pipe()
    loggers = [logging.getLogger(name) for name in ("ftx.server", "uvicorn.error")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    with os.fdopen(reader, encoding="utf-8") as lines:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            with log_to_stderr("text"):
                logging.getLogger("ftx.server").info("é \ud800")
                logging.getLogger("uvicorn.error").info("not said")
        assert lines.read() == "INFO: é \\ud800\n"
    assert before == [(one.handlers, one.propagate, one.level) for one in loggers]
