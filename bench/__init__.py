"""Measure an ONNX file and its PyTorch checkpoint side by side: latency, throughput, memory and agreement."""

from ftx.bench.measure import bench
from ftx.bench.report import BenchReport, EngineFigures

__all__ = ["BenchReport", "EngineFigures", "bench"]
