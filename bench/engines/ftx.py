"""An ONNX file in ftx's own runtime."""

from __future__ import annotations

from ftx.bench.engine import EngineSpec, Infer

__all__ = ["PROGRAM", "load"]

PROGRAM = """
import sys
from ftx.__main__ import main
sys.argv = ["ftx", "predict", "--onnx", sys.argv[1], "--threads", sys.argv[2], sys.argv[3]]
main()
"""


def load(spec: EngineSpec) -> Infer:
    """Open the file as `ftx predict` does."""
    from ftx.runtime import Predictor

    predictor = Predictor(spec.path, intra_op_num_threads=spec.threads)
    return lambda texts, batch_size: predictor.logits(texts, batch_size=batch_size)
