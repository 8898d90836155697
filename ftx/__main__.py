"""The `ftx` command. Whatever happens, even while libraries load, it ends with one line and a defined status."""

from __future__ import annotations

import signal

# Until `watch_signals`, Ctrl-C ends the process without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ftx.process import explain, leave, open_streams, watch_signals


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        watch_signals()
        open_streams()
        from ftx.cli import ftx

        ftx(prog_name="ftx")
    except SystemExit as stop:
        leave(stop.code)
    except BaseException as error:
        leave(explain(error))


if __name__ == "__main__":
    main()
