"""The `ftx` command. Ctrl-C ends it with status 130 wherever it strikes, while libraries load too."""

from __future__ import annotations

import signal
import sys
from types import FrameType

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
        sys.exit(INTERRUPTED if interrupted else stop.code)
    except BaseException:
        if not interrupted:
            raise
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
