"""Measure an ONNX file against its PyTorch checkpoint: latency, throughput, memory and agreement, in one run."""

from ftx.export.bench.measure import bench
from ftx.export.bench.report import BenchReport, EngineFigures

__all__ = ["BenchReport", "EngineFigures", "bench"]
