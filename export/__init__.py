"""Turn a checkpoint into ONNX files that are proven to say what PyTorch says."""

from ftx.export.against import compare
from ftx.export.exporting import ExportReport, export

__all__ = ["ExportReport", "compare", "export"]
