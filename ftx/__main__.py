"""The `ftx` command. Ctrl-C ends it with status 130 wherever it strikes, while libraries load too."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130

interrupted = False


def on_sigint(signal_number: int, frame: FrameType | None) -> None:
    """Remember the interrupt: a library that is loading may turn the exception into one of its own."""
    global interrupted
    interrupted = True
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line and exit with its status."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGINT, on_sigint)
    try:
        from ftx.cli import ftx

        ftx(prog_name="ftx")
    except SystemExit as stop:
        leave(stop.code)
    except BaseException:
        if not interrupted:
            raise
        leave(INTERRUPTED)


def leave(status: str | int | None) -> NoReturn:
    """Exit; with 130 after an interrupt, whatever a library made of it.

    An interrupt that passed through `exec` of a string (dataclasses and named tuples are made so) leaves a mark
    by which `python -m` kills itself with SIGINT at the end, caught or not. The next `exec` clears it.
    """
    if interrupted:
        exec("")
    sys.exit(INTERRUPTED if interrupted else status)


if __name__ == "__main__":
    main()
