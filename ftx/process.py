"""The process of a command: its standard streams, signals, last line and exit status.

Exit status: 0 success, 1 a failure explained in one line, 2 wrong usage, 70 an unexpected failure, 130 after Ctrl-C,
141 if standard output is a pipe without a reader, 143 after SIGTERM.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from ftx.advice import refused
from ftx.errors import FtxError, out_of_memory

__all__ = ["explain", "leave", "logged", "one_line", "open_streams", "say", "watch_signals"]

FAILED, UNEXPECTED, BROKEN_PIPE = 1, 70, 141
SIGNALLED = 128
TRACEBACK = "FTX_TRACEBACK"
RETRY_SEC = 0.05
LONGEST_LINE = 1000

# The signals that this process received: like signal handlers, they belong to the process.
received: list[int] = []


def open_streams() -> None:
    """Open closed standard streams, so that no other file gets their descriptors, and make them accept any text.

    Writing to a standard output that was closed fails, as does reading from such an input; such an error stream
    discards what is written. Characters that the encoding lacks are escaped.
    """
    for name, flags in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)  # the lowest that is free: the stream's own
            os.set_inheritable(descriptor, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def watch_signals() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, so that a command cleans up, and record them."""
    owner = os.getpid()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork, which a library terminates this way
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, on_signal)
    sys.unraisablehook = on_unraisable


def on_unraisable(unraisable: Any) -> None:
    """Resend a signal that arrived where Python drops exceptions, such as in a destructor."""
    if not (received and isinstance(unraisable.exc_value, KeyboardInterrupt)):
        sys.__unraisablehook__(unraisable)
        return
    import threading

    again = threading.Timer(RETRY_SEC, os.kill, (os.getpid(), received[0]))
    again.daemon = True
    again.start()


def explain(error: BaseException) -> int:
    """Explain in one line on standard error why a command failed; return its exit status.

    After a signal, that is the reason, whatever exception a library turned it into.
    """
    close_bars()
    if received or isinstance(error, KeyboardInterrupt):
        return say_signal()
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if os.environ.get(TRACEBACK):
        import traceback

        say("".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
    if (line := foreseen(error)) is not None:
        say(f"Error: {one_line(line)}")
        return FAILED
    said = one_line(f"{type(error).__name__}: {error}")
    say(f"Error: unexpected {said}: please report it; {TRACEBACK}=1 shows where")
    return UNEXPECTED


def one_line(text: str) -> str:
    """Put a message on one line, and drop the middle of one that is very long because it quotes a value."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"


def foreseen(error: BaseException) -> str | None:
    """Explain an error that any command may run into; None if it is a bug."""
    if isinstance(error, FtxError):
        return str(error)
    if out_of_memory(error):
        return "Out of memory: use a smaller batch, shorter texts, or a larger machine"
    if isinstance(error, OSError):
        return refused(error)
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib's, before Python 3.13
        return f"{error}: name the file itself"
    if isinstance(error, RecursionError):
        return "A file or value is nested too deeply to be read: flatten it"
    if isinstance(error, UnicodeDecodeError):
        return f"A file is not {error.encoding.upper()} (byte {error.start}): convert it, with iconv for example"
    if isinstance(error, UnicodeError):
        return f"A text can't be written: {error}: remove what is not a character"
    return None


def close_bars() -> None:
    """Close progress bars that a library left open, which would overwrite the error."""
    if tqdm := sys.modules.get("tqdm"):
        for bar in list(getattr(tqdm.tqdm, "_instances", ())):
            with contextlib.suppress(OSError, ValueError):
                bar.close()


def say_signal() -> int:
    """Report the signal that ended the command; return the exit status."""
    number = received[0] if received else signal.SIGINT
    say("Terminated" if number == signal.SIGTERM else "Interrupted")
    return SIGNALLED + number


def say(line: str) -> None:
    """Write a line to standard error, if that is possible."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


class Plain(logging.Handler):
    """Write log lines to standard error as they are, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        if tqdm := sys.modules.get("tqdm"):
            tqdm.tqdm.write(self.format(record), file=sys.stderr)
        else:
            print(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Write what the library logs, from INFO on, to standard error until the block ends."""
    log, handler = logging.getLogger("ftx"), Plain()
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # a library may have given the root logger a handler
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def leave(status: str | int | None) -> NoReturn:
    """Exit; after a signal with its status, whatever a library made of it.

    An interrupt during `exec` of a string, with which dataclasses and named tuples are made, sets a flag with which
    `python -m` kills itself with SIGINT at exit, even if it was caught. The next `exec` clears it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # cleaned up already; Python would print a traceback at exit
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):  # closed by a library
            try:
                stream.flush()
            except OSError as error:
                # Otherwise Python would try again when it exits, and complain.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
                status = status or explain(error)
    if received:
        exec("")
        status = status or say_signal()  # a library swallowed the signal, and the command went on
        status = SIGNALLED + received[0]
    sys.exit(status)
