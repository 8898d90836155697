"""Predict the rows of files with Ray Data, on all cores of a machine or on a cluster."""

from ftx.runtime.ray.engine import RayReport, predict_with_ray

__all__ = ["RayReport", "predict_with_ray"]
