"""Measure an ONNX file against its PyTorch checkpoint: latency, throughput, memory and agreement, in one run."""

from ftx.bench.measure import bench
from ftx.bench.report import BenchReport, EngineFigures

__all__ = ["BenchReport", "EngineFigures", "bench"]
