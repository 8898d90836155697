"""The exported graph in onnxruntime and tokenizers alone, as fastembed runs its models: fp32, batches in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.text import Text

__all__ = ["PROGRAM", "load"]

PROGRAM = """
import sys, json, numpy, onnxruntime
from pathlib import Path
from tokenizers import Tokenizer
path = Path(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(str(path), options)
encoded = Tokenizer.from_file(str(path.with_name("tokenizer.json"))).encode(sys.argv[3])
inputs = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
names = [node.name for node in session.get_inputs()]
print(session.run(None, {name: numpy.array([inputs[name]], dtype=numpy.int64) for name in names}))
"""


def load(spec: EngineSpec) -> Infer:
    """Open the graph with the settings that fastembed has."""
    import onnxruntime

    from ftx.runtime.model_file import describe
    from ftx.runtime.tokenization import encode, load_tokenizer, pad

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = spec.threads
    session = onnxruntime.InferenceSession(str(spec.path), options)
    names = [node.name for node in session.get_inputs()]
    manifest, tokenizer_json = describe(spec.path)
    tokenizer = load_tokenizer(tokenizer_json, manifest, spec.path)

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(texts), batch_size):
            encodings = encode(tokenizer, texts[start : start + batch_size])
            found.append(session.run(["logits"], pad(encodings, manifest, names))[0])
        return np.concatenate(found)

    return infer
