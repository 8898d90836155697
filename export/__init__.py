"""Export a checkpoint to ONNX files that are verified against PyTorch, with a report."""

from ftx.errors import require

# First, so that a missing package is one clear line and not an ImportError.
require("cpu,export", "onnxruntime", "torch", "transformers", "optimum", "onnx", "jinja2", "matplotlib", "scipy")

from ftx.export.against import compare  # noqa: E402
from ftx.export.choices import ChoiceError  # noqa: E402
from ftx.export.exporting import export  # noqa: E402
from ftx.export.report import ExportReport  # noqa: E402

__all__ = ["ChoiceError", "ExportReport", "compare", "export"]
