"""CTranslate2's BERT encoder in int8, with the classifier in numpy, as its guide does with PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines.kind import Sources, plain_graph
from ftx.errors import FtxError
from ftx.text import Text

__all__ = ["FOLDER", "load", "prepare"]

FOLDER = "ctranslate2"
CLASSIFIER = "classifier.npz"


def prepare(sources: Sources) -> None:
    """Convert the encoder, keep the classifier, and export the graph for its tokenizer and manifest.

    Raises:
        FtxError: The checkpoint has no classifier that stands right on BERT's pooler.
    """
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    from ftx.export.parity.reference import Reference

    model = Reference(sources.checkpoint).model
    if model.config.model_type != "bert":
        raise FtxError(f"CTranslate2 is measured with BERT only, and this is {model.config.model_type}")
    folder = sources.work / FOLDER
    TransformersConverter(str(sources.checkpoint)).convert(str(folder), quantization="int8", force=True)
    layer = model.classifier
    np.savez(folder / CLASSIFIER, weight=layer.weight.detach().numpy(), bias=layer.bias.detach().numpy())
    ctranslate2.Encoder(str(folder), device="cpu")  # can it be loaded?
    plain_graph(sources)


def load(spec: EngineSpec) -> Infer:
    """Load the encoder; texts sorted by length."""
    import ctranslate2

    from ftx.runtime.model_file import describe
    from ftx.runtime.tokenization import encode, load_tokenizer

    encoder = ctranslate2.Encoder(str(spec.path), device="cpu", intra_threads=spec.threads)
    plain = spec.path.with_name("model.onnx")
    manifest, tokenizer_json = describe(plain)
    tokenizer = load_tokenizer(tokenizer_json, manifest, plain)
    with np.load(spec.path / CLASSIFIER) as kept:
        weight, bias = kept["weight"], kept["bias"]

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        encodings = encode(tokenizer, texts)
        order = sorted(range(len(texts)), key=lambda row: len(encodings[row]))
        result = np.empty((len(texts), len(bias)), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            types = [encodings[row].type_ids for row in rows]
            found = encoder.forward_batch([encodings[row].ids for row in rows], token_type_ids=types)
            result[rows] = np.asarray(found.pooler_output) @ weight.T + bias
        return result

    return infer
