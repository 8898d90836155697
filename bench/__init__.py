"""Measure an ONNX file and its PyTorch checkpoint side by side: latency, throughput, memory and agreement."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ftx.errors import require
from ftx.rooms import CallableRoom

if TYPE_CHECKING:
    from ftx.bench.measure import bench
    from ftx.bench.report import BenchReport, EngineFigures

__all__ = ["BenchReport", "EngineFigures", "bench"]

MODULES = {"bench": "measure", **dict.fromkeys(("BenchReport", "EngineFigures"), "report")}


def __getattr__(name: str) -> Any:
    # Imported on first use: the package is there without its extra, so that `ftx.bench` can be named anywhere.
    if name not in MODULES:
        raise AttributeError(f"module 'ftx.bench' has no attribute {name!r}")
    require("cpu,export", "onnxruntime", "torch", "transformers", "optimum", "onnx", "jinja2", "matplotlib")
    return getattr(importlib.import_module(f"ftx.bench.{MODULES[name]}"), name)


sys.modules[__name__].__class__ = CallableRoom
