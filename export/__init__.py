"""Turn a checkpoint into ONNX files that are proven to say what PyTorch says."""

from ftx.errors import require

# First, so that a missing package is a clear line and no ImportError.
require("cpu,export", "onnxruntime", "torch", "transformers", "optimum", "onnx", "jinja2", "matplotlib")

from ftx.export.against import compare  # noqa: E402
from ftx.export.exporting import ChoiceError, export  # noqa: E402
from ftx.export.report import ExportReport  # noqa: E402

__all__ = ["ChoiceError", "ExportReport", "compare", "export"]
