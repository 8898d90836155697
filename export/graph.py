"""Export a checkpoint to an fp32 ONNX graph with Optimum."""

from __future__ import annotations

from pathlib import Path

from ftx.errors import ModelError
from ftx.export.quiet import quiet
from ftx.export.reference import Reference

__all__ = ["export_graph"]


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
            # Optimum's own validation runs on random input and only logs a failure; the parity gate does it for real.
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
        raise ModelError(
            f"Optimum can't export a {reference.model.config.model_type} model: {str(error).strip().splitlines()[0]}"
        ) from error
    return folder / "model.onnx"
