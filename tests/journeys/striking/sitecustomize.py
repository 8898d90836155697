"""Sends the process a signal at a moment that FTX_STRIKE names: `SIGINT import torch`, `SIGTERM open model.onnx`.

Python runs this file when it starts, if its folder is on PYTHONPATH. The moment is an event of `sys.audit`, by its
name and by how its first argument ends, once the command line has begun to load.
"""

import os
import signal
import sys


def strike_at(moment: str) -> None:
    """Send the signal when the event comes; once, and not in other processes that this one starts."""
    signal_name, wanted, ending = moment.split(" ", 2)
    waiting, process = [True], os.getpid()
    begun: list[bool] = []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "import" and args[0] == "ftx.process":
            begun.append(True)
        if event == wanted and waiting and begun and str(args[0]).endswith(ending) and os.getpid() == process:
            waiting.clear()
            os.kill(process, getattr(signal, signal_name))

    sys.addaudithook(hook)


if "FTX_STRIKE" in os.environ:
    strike_at(os.environ.pop("FTX_STRIKE"))
