"""Run a command of ftx with a fault in it, and say whether it ended as a command may."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Commands", "Fault", "Outcome", "check_ending"]

WARM = Path(__file__).with_name("warm.py")
# Ends a hang, and decides nothing else: the longest command here takes seconds.
LIMIT_SEC = 300
UNEXPECTED = 70
# Success, a failure that is explained, wrong usage, interrupted, the reader left, terminated, killed by us.
ENDINGS = {0, 1, 2, 130, 141, 143, -signal.SIGKILL}
# Python takes itself apart, and nothing is left to clear up: a shell tells of these as of 130 and 143.
ENDINGS_OF_DONE = {-signal.SIGINT, -signal.SIGTERM}
# Rust, C++ and glibc end the process where an allocation fails, with a line of their own: nothing in Python catches it.
NATIVE_ABORT = re.compile(
    r"memory allocation of \d+ bytes failed|bad_?alloc|cannot allocate memory for thread-local"
    r"|glibc error:.*out of memory",
    re.IGNORECASE,
)
LONGEST_LINE = 2000


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a command.

    Attributes:
        kind: `none`; `signal`; `error`: a step on the file system fails; `full`, `frozen`: one that writes does;
            `vanish`: a folder is removed; `move`: it is renamed; `read-only`: it can't be written any more; `clock`: it
            jumps.
        value: The signal, the errno, or the folder.
        step: The step on files before which it happens, from 1; 0: never.
        lasting: Whether all later steps meet it, too.
        after_sec: Seconds after which the signal comes, in place of a step.
        limits: Resource limits; see `limit` in warm.py.
        powerless: Whether file modes count for root, too.
        seed: Of the clock's jumps.
    """

    kind: str = "none"
    value: Any = None
    step: int = 0
    lasting: bool = False
    after_sec: float | None = None
    limits: dict[str, int] = field(default_factory=dict)
    powerless: bool = False
    seed: int = 0

    def __str__(self) -> str:
        given = {name: value for name, value in asdict(self).items() if value != getattr(NO_FAULT, name, None)}
        return " ".join(f"{name}={value}" for name, value in given.items()) or "no fault"


NO_FAULT = Fault()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        arguments: The command.
        status: Its exit status; negative: the signal that ended it.
        hung: Whether it had to be ended.
        steps: Steps on files that it made.
        struck: Whether the fault met it.
        starved: Whether it had less memory than it needs.
        sec: How long it took.
        stdout: What it answered.
        stderr: What it said.
    """

    arguments: tuple[str, ...]
    status: int
    hung: bool
    steps: int
    struck: bool
    starved: bool
    sec: float
    stdout: bytes
    stderr: str


class Commands:
    """A process that runs commands, many at once; see warm.py."""

    def __init__(self, mode: str, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._numbers, self._lock = itertools.count(), threading.Lock()
        caches = {"HF_HOME": "hf", "FTX_HOME": "ftx", "MPLCONFIGDIR": "matplotlib", "TMPDIR": "tmp"}
        for name in caches.values():
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, str(WARM), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            # One thread, as a fork keeps one only.
            env={**os.environ, "OMP_NUM_THREADS": "1"} | {name: str(folder / path) for name, path in caches.items()},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(
        self,
        *arguments: str | Path,
        fault: Fault = NO_FAULT,
        under: Path | str = "",
        cwd: Path | None = None,
        stdin: bytes | None = None,
        stdout: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Outcome:
        """Run a command to its end.

        Args:
            arguments: What stands behind `ftx`.
            fault: What happens to it.
            under: The folder in which steps count; "": everywhere.
            cwd: Its working directory.
            stdin: What it is given; None: nothing.
            stdout: Where its answer goes in place of `Outcome.stdout`.
            env: More of its environment.
        """
        number = next(self._numbers)
        place = self._folder / "streams" / str(number)
        place.mkdir(parents=True)
        if stdin is not None:
            (place / "stdin").write_bytes(stdin)
        streams = [str(place / "stdin") if stdin is not None else os.devnull, stdout or str(place / "stdout")]
        request = {
            **asdict(fault), "id": number, "arguments": [str(one) for one in arguments], "under": str(under),
            "cwd": str(cwd or place), "env": env or {}, "streams": [*streams, str(place / "stderr")],
            "limit_sec": LIMIT_SEC,
        }  # fmt: skip
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            self._answers[number] = answer
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        told = answer.result()
        said = (place / "stderr").read_bytes().decode(errors="replace") if (place / "stderr").exists() else ""
        answered = (place / "stdout").read_bytes() if stdout is None and (place / "stdout").exists() else b""
        shutil.rmtree(place, ignore_errors=True)
        return Outcome(
            arguments=tuple(request["arguments"]),
            starved="AS" in fault.limits,
            stdout=answered,
            stderr=said,
            **{name: told[name] for name in ("status", "hung", "steps", "struck", "sec")},
        )

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            self._answers.pop(answer["id"]).set_result(answer)
        for waiting in self._answers.values():
            waiting.set_exception(RuntimeError("the process that runs commands has ended"))


def check_ending(outcome: Outcome, *, usual: Outcome | None = None, over: bool = False) -> None:
    """Check that a command ended as one may: with a status that says something, explained in a line.

    Args:
        outcome: How it ended.
        usual: How it ends without a fault: it may say as much, and a few lines more.
        over: Whether its work was done when the fault struck: then a signal may end it at once.

    Raises:
        AssertionError: It did not.
    """
    said = f"status {outcome.status}, said {outcome.stderr[-1500:]!r}, after {shlex.join(['ftx', *outcome.arguments])}"
    assert not outcome.hung, f"hung; {said}"
    if outcome.status in (-signal.SIGABRT, 127) and outcome.starved and NATIVE_ABORT.search(outcome.stderr):
        return
    assert outcome.status in (ENDINGS | ENDINGS_OF_DONE if over else ENDINGS), said
    assert "Traceback" not in outcome.stderr, said
    assert "please report" not in outcome.stderr, said
    lines = [line for line in outcome.stderr.replace("\r", "\n").splitlines() if line.strip()]
    if outcome.status == 1 and not (outcome.arguments[0] == "verify" and b"FAILED" in outcome.stdout):  # its verdict
        assert any(line.startswith("Error: ") for line in lines), said
    assert max(map(len, lines), default=0) <= LONGEST_LINE, said
    allowed = 6 + (len(usual.stderr.splitlines()) if usual else 0)
    assert len(lines) <= allowed, f"{len(lines)} lines; {said}"
