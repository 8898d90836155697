"""In go an ONNX file and its PyTorch checkpoint, out come latency, throughput, memory and agreement, side by side."""

from ftx.bench.measure import bench
from ftx.bench.report import BenchReport, EngineFigures

__all__ = ["BenchReport", "EngineFigures", "bench"]
