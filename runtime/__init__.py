"""Run a classifier from one ONNX file: onnxruntime, tokenizers and numpy, no PyTorch."""

from ftx.runtime.heads import Prediction
from ftx.runtime.predictor import Predictor
from ftx.runtime.settings import PredictSettings
from ftx.runtime.verify import ProbeReport, verify

__all__ = ["PredictSettings", "Prediction", "Predictor", "ProbeReport", "verify"]
