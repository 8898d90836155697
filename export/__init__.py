"""Export a checkpoint to ONNX files that are verified against PyTorch, with a report."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ftx.errors import require
from ftx.rooms import CallableRoom

if TYPE_CHECKING:
    from ftx.export.against import Comparison, compare
    from ftx.export.choices import ChoiceError
    from ftx.export.exporting import export
    from ftx.export.report import ExportReport
    from ftx.export.resealing import Resealing, reseal

__all__ = ["ChoiceError", "Comparison", "ExportReport", "Resealing", "compare", "export", "reseal"]

MODULES = {
    **dict.fromkeys(("Comparison", "compare"), "against"),
    "ChoiceError": "choices",
    "export": "exporting",
    "ExportReport": "report",
    **dict.fromkeys(("Resealing", "reseal"), "resealing"),
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the package is there without its extra, so that `ftx.export` can be named anywhere.
    if name not in MODULES:
        raise AttributeError(f"module 'ftx.export' has no attribute {name!r}")
    require("cpu,export", "onnxruntime", "torch", "transformers", "optimum", "onnx", "jinja2", "matplotlib", "scipy")
    return getattr(importlib.import_module(f"ftx.export.{MODULES[name]}"), name)


sys.modules[__name__].__class__ = CallableRoom
