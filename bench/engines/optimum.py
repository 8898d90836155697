"""Optimum's `ORTModelForSequenceClassification` in a transformers pipeline: fp32, or int8 by its preset."""

from __future__ import annotations

from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines.kind import Sources, plain_graph
from ftx.bench.engines.transformers_pipeline import through

__all__ = ["INT8", "PROGRAM", "load", "prepare", "prepare_int8"]

INT8 = "model_optimum.onnx"

PROGRAM = """
import sys, onnxruntime
from pathlib import Path
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
path = Path(sys.argv[1])
model = ORTModelForSequenceClassification.from_pretrained(path.parent, file_name=path.name, session_options=options)
tokenizer = AutoTokenizer.from_pretrained(path.parent)
print(pipeline("text-classification", model=model, tokenizer=tokenizer)(sys.argv[3]))
"""


def prepare(sources: Sources) -> None:
    """Export it."""
    plain_graph(sources)


def prepare_int8(sources: Sources) -> None:
    """Quantise the exported graph dynamically."""
    from ftx.export.search.peers import optimum_preset

    plain_graph(sources)
    optimum_preset(sources.work, sources.work / INT8)


def load(spec: EngineSpec) -> Infer:
    """Load a file that Optimum made."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads
    folder = spec.path.parent
    model = ORTModelForSequenceClassification.from_pretrained(folder, file_name=spec.path.name, session_options=options)
    return through(pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder)))
