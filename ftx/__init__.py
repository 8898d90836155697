"""Fine-tune, export, quantise and serve BERT text classifiers, each step verified on held-out text.

The rooms: `ftx.finetune` (text and labels to a checkpoint), `ftx.export` (checkpoint to verified ONNX) and
`ftx.runtime` (ONNX to predictions, without PyTorch).
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftx.api import evaluate, serve, verify
    from ftx.bench.measure import bench
    from ftx.distilling import distill
    from ftx.errors import FtxError
    from ftx.export.exporting import export
    from ftx.runtime import Prediction, Predictor
    from ftx.runtime.stream import predict_file
    from ftx.students import search_students
    from ftx.training import train

__all__ = [
    "FtxError",
    "Prediction",
    "Predictor",
    "__version__",
    "bench",
    "distill",
    "evaluate",
    "export",
    "predict_file",
    "search_students",
    "serve",
    "train",
    "verify",
]
__version__ = "0.2.0"

# onnxruntime sends usage data as soon as it is imported, unless it was told not to. A value of the user's is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

MODULES = {
    "FtxError": "ftx.errors",
    "distill": "ftx.distilling",
    **dict.fromkeys(("evaluate", "serve", "verify"), "ftx.api"),
    **dict.fromkeys(("Prediction", "Predictor"), "ftx.runtime"),
    "predict_file": "ftx.runtime.stream",
    "search_students": "ftx.students",
    "train": "ftx.training",
}
# Packages that can be called; see `ftx.rooms`.
ROOMS = ("bench", "export")


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `ftx --help` does not wait for it.
    if name in ROOMS:
        return importlib.import_module(f"ftx.{name}")
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    raise AttributeError(f"module 'ftx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
