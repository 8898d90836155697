"""The engines that `benchmarks/runtime_speed.py` compares, each loaded as its manual says."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.runtime.session import first_line
from ftx.text import Text

FTX, EAGER, PIPELINE = "ftx", "PyTorch eager", "transformers pipeline"
OPTIMUM, OPENVINO = "Optimum ORTModel int8, pipeline", "OpenVINO int8 (NNCF)"


def prepare_peers(checkpoint: Path, work: Path, texts: list[str], threads: int) -> dict[str, str]:
    """Make the other toolkits' int8 files in another process, so that this one's memory stays small.

    Returns:
        The reason, by each engine that can't run here.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=make_peers, args=(theirs, checkpoint, work, texts, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        excluded: dict[str, str] = ours.recv()
    except EOFError:
        excluded = dict.fromkeys((OPTIMUM, OPENVINO), "making its file ended the process: out of memory?")
    process.join()
    return excluded


def make_peers(connection: Any, checkpoint: Path, work: Path, texts: list[str], threads: int) -> None:
    """Export with Optimum, and quantise with its preset and with NNCF. Runs in a process of its own."""
    excluded = {}
    try:
        from ftx.export.graph.convert import export_graph
        from ftx.export.parity.batches import Batches
        from ftx.export.parity.reference import Reference
        from ftx.export.search.peers import openvino_int8, optimum_preset, undisturbed

        plain = export_graph(Reference(checkpoint), work)
    except Exception as error:  # whatever is missing or fails, the other engines can be measured
        connection.send(dict.fromkeys((OPTIMUM, OPENVINO), first_line(error)))
        return
    try:
        optimum_preset(work, work / "model_optimum.onnx")
    except Exception as error:
        excluded[OPTIMUM] = first_line(error)
    try:
        with undisturbed():
            import onnxruntime

            names = [node.name for node in onnxruntime.InferenceSession(str(plain)).get_inputs()]
            # Calibrated on the very texts that are timed: that does not slow it, and flatters its predictions.
            openvino_int8(work, work, Batches(list(texts), plain, names).of(1)[:300], threads)
    except Exception as error:
        excluded[OPENVINO] = first_line(error)
    connection.send(excluded)


def load_ftx(spec: EngineSpec) -> Infer:
    """Open the file as a program does: one call with all texts, in the default mode."""
    from ftx.runtime import Predictor

    predictor = Predictor(spec.path, intra_op_num_threads=spec.threads)
    return lambda texts, batch_size: predictor.predict_proba(texts)


def load_eager(spec: EngineSpec) -> Infer:
    """Run the checkpoint in PyTorch: batches of texts of like length, in inference mode."""
    import torch

    from ftx.export.parity.reference import Reference
    from ftx.runtime.heads import probabilities

    torch.set_num_threads(spec.threads)
    reference = Reference(spec.path)
    return lambda texts, batch_size: probabilities(
        reference.logits(texts, batch_size=batch_size), reference.problem_type
    )


def load_pipeline(spec: EngineSpec) -> Infer:
    """Load the checkpoint in a transformers pipeline."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(spec.threads)
    return through(pipeline("text-classification", model=str(spec.path)))


def load_optimum(spec: EngineSpec) -> Infer:
    """Load Optimum's int8 file in a transformers pipeline."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads
    model = ORTModelForSequenceClassification.from_pretrained(
        spec.path, file_name="model_optimum.onnx", session_options=options
    )
    return through(pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(spec.path)))


def through(pipe: Any) -> Infer:
    """Get the probabilities of all labels from a pipeline."""
    names = [name for _, name in sorted((int(column), name) for column, name in pipe.model.config.id2label.items())]

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        found = pipe(list(texts), batch_size=batch_size, top_k=None, truncation=True)
        scores = [{one["label"]: one["score"] for one in row} for row in found]
        return np.asarray([[row[name] for name in names] for row in scores], dtype=np.float32)

    return infer


def load_openvino(spec: EngineSpec) -> Infer:
    """Open NNCF's file in OpenVINO, with its latency hint for one text and its queue for many; ftx's tokenizer."""
    from ftx.export.search.peers import compiled, undisturbed
    from ftx.runtime.heads import probabilities
    from ftx.runtime.model_file import describe
    from ftx.runtime.tokenization import encode, load_tokenizer, pad

    path = spec.path / "openvino_int8.xml"
    with undisturbed():
        import openvino

        one = compiled(path, {}, spec.threads)
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": spec.threads}
        many = openvino.Core().compile_model(path, "CPU", hints)
    names = [port.get_any_name() for port in many.inputs]
    manifest, tokenizer_json = describe(spec.path / "model.onnx")
    tokenizer = load_tokenizer(tokenizer_json, manifest, path)
    queue = openvino.AsyncInferQueue(many)
    result = np.empty(0, dtype=np.float32)

    def keep(request: Any, rows: list[int]) -> None:
        result[rows] = request.get_output_tensor().data

    queue.set_callback(keep)

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        nonlocal result
        encodings = encode(tokenizer, texts)
        if len(texts) == 1:
            return probabilities(one(pad(encodings, manifest, names)), manifest.problem_type)
        result = np.empty((len(texts), len(manifest.id2label)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(encodings[row]), reverse=True)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            queue.start_async(pad([encodings[row] for row in rows], manifest, names), rows)
        queue.wait_all()
        return probabilities(result, manifest.problem_type)

    return infer


LOADERS = {
    FTX: load_ftx,
    EAGER: load_eager,
    PIPELINE: load_pipeline,
    OPTIMUM: load_optimum,
    OPENVINO: load_openvino,
}
