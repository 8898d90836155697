"""Export a checkpoint to fp32 ONNX graphs: a plain one with Optimum, and an optimised one to quantise."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ftx.errors import ModelError, out_of_memory, write_failed
from ftx.export.graph.fusion import Fusion, fuse, keep_first_token
from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.parity.gate import FP32_ATOL
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.quiet import quiet
from ftx.runtime.session import first_line, open_session

__all__ = ["Graphs", "convert", "export_graph", "optimise"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """A model's fp32 graphs.

    Attributes:
        plain: `model.onnx`, its tokenizer.json and config.json beside it.
        optimised: The same graph with fused operators, which is the one to quantise.
        fusion: What the optimiser found.
    """

    plain: Path
    optimised: Path
    fusion: Fusion


def convert(reference: Reference, folder: Path, work: Path, texts: ReferenceSet | None) -> Graphs:
    """Export a model, and optimise its graph.

    Args:
        reference: The model.
        folder: Where `model.onnx` and the files beside it go.
        work: Where the optimised graph goes.
        texts: What to verify the optimised graph on; None: it is not verified, as nothing is made of it.

    Raises:
        ModelError: Optimum can't export this architecture.
    """
    log.info("Exporting to ONNX with Optimum")
    plain, optimised = export_graph(reference, folder), work / "optimised.onnx"
    fusion = optimise(plain, optimised, reference, texts)
    return Graphs(plain=plain, optimised=optimised, fusion=fusion)


def export_graph(reference: Reference, folder: Path) -> Path:
    """Write `model.onnx`, `config.json` and the tokenizer's files.

    Args:
        reference: The model to export.
        folder: Where to.

    Returns:
        The path of `model.onnx`.

    Raises:
        ModelError: Optimum can't export this architecture.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    try:
        with quiet():
            # Optimum's own validation runs on random input and only logs a failure; the parity gate replaces it.
            onnx_export_from_model(
                reference.model,
                output=folder,
                task="text-classification",
                preprocessors=[reference.tokenizer],
                do_validation=False,
            )
    except OSError:
        raise
    except Exception as error:  # the exporter's errors have no common base
        if out_of_memory(error) or write_failed(error):
            raise
        raise ModelError(
            f"Optimum can't export a {reference.model.config.model_type} model: {str(error).strip().splitlines()[0]}"
        ) from error
    # Optimum copies the tokenizer's files as they are: without the limits of `reference`, or a tokenizer.json made of
    # vocab.txt.
    reference.save_tokenizer(folder)
    return folder / "model.onnx"


def optimise(plain: Path, target: Path, reference: Reference, texts: ReferenceSet | None) -> Fusion:
    """Write the graph with fused operators, if it has PyTorch's logits; else a copy of the plain one.

    The plain one then loses in place what no prediction needs, the last layer's other tokens: fusion must come first,
    because it recognises whole layers only.

    Args:
        plain: The graph from `export_graph`, tokenizer and configuration beside it.
        target: Where the optimised one goes.
        reference: The model.
        texts: What to verify it on; None: it is not verified.
    """
    import onnx

    try:
        fusion = fuse(plain, target, reference.model.config)
        problem = "" if texts is None else difference(target, plain, texts)
    except Exception as error:  # on an unknown layout the optimiser and onnxruntime raise anything
        if out_of_memory(error) or write_failed(error):
            raise
        problem = first_line(error)
    model = onnx.load(str(plain))
    if keep_first_token(model):
        onnx.save(model, str(plain))
    if problem:
        shutil.copyfile(plain, target)
        fusion = Fusion(found={}, expected={}, first_token_nodes=0, problem=problem)
    log.info(f"Graph: {fusion.to_text()}")
    return fusion


def difference(optimised: Path, plain: Path, texts: ReferenceSet) -> str:
    """Say how the optimised graph's logits differ from PyTorch's; empty where they don't."""
    session = open_session(optimised)
    batches = Batches(texts.held_out.texts, plain, [node.name for node in session.get_inputs()])
    worst = float(np.abs(batches.logits(session, BATCH_SIZE) - texts.logits).max())
    return "" if worst <= FP32_ATOL else f"max |Δlogit| {worst:.3g}, expected at most {FP32_ATOL:g}"
