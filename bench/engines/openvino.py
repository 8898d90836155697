"""OpenVINO with its latency hint for one text and its queue for many: fp32, bf16, or int8 by NNCF."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines.kind import Sources, plain_graph
from ftx.errors import FtxError
from ftx.text import Text

__all__ = ["INT8", "load", "prepare", "prepare_int8"]

INT8 = "openvino_int8.xml"
CALIBRATION_TEXTS = 300


def prepare(sources: Sources) -> None:
    """Export the graph, which OpenVINO reads as it stands."""
    import openvino  # noqa: F401  # before the export, which takes longer

    plain_graph(sources)


def prepare_int8(sources: Sources) -> None:
    """Quantise the exported graph with NNCF's defaults for transformers."""
    import nncf  # noqa: F401  # before the export, which takes longer
    import onnxruntime

    from ftx.export.parity.batches import Batches
    from ftx.export.search.peers import openvino_int8, undisturbed

    plain = plain_graph(sources)
    with undisturbed():
        names = [node.name for node in onnxruntime.InferenceSession(str(plain)).get_inputs()]
        batches = Batches(sources.calibration[:CALIBRATION_TEXTS], plain, names).of(1)
        openvino_int8(sources.work, sources.work, batches, sources.threads)


def load(spec: EngineSpec, precision: str = "") -> Infer:
    """Open a file, with ftx's tokenizer; texts sorted by length.

    Args:
        spec: The engine.
        precision: What to compute in where the file is fp32: `f32` or `bf16`.

    Raises:
        FtxError: The CPU does not compute in bf16.
    """
    from ftx.export.search.peers import undisturbed
    from ftx.runtime.model_file import describe
    from ftx.runtime.tokenization import encode, load_tokenizer, pad

    with undisturbed():
        import openvino

        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise FtxError("OpenVINO does not compute in bf16 on this CPU: it has neither AVX512-BF16 nor AMX")
        common: dict[str, str | int] = {"INFERENCE_NUM_THREADS": spec.threads}
        if precision:
            common["INFERENCE_PRECISION_HINT"] = precision
        one = core.compile_model(spec.path, "CPU", {"PERFORMANCE_HINT": "LATENCY"} | common).create_infer_request()
        many = core.compile_model(spec.path, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"} | common)
    names = [port.get_any_name() for port in many.inputs]
    plain = spec.path.with_name("model.onnx")
    manifest, tokenizer_json = describe(plain)
    tokenizer = load_tokenizer(tokenizer_json, manifest, plain)
    queue = openvino.AsyncInferQueue(many)

    def keep(request: Any, place: tuple[NDArray[np.float32], list[int]]) -> None:
        result, rows = place
        result[rows] = request.get_output_tensor().data

    queue.set_callback(keep)

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        encodings = encode(tokenizer, texts)
        if len(texts) == 1:
            return np.array(one.infer(pad(encodings, manifest, names), share_inputs=True)["logits"])
        result = np.empty((len(texts), len(manifest.id2label)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(encodings[row]), reverse=True)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            queue.start_async(pad([encodings[row] for row in rows], manifest, names), (result, rows))
        queue.wait_all()
        return result

    return infer
