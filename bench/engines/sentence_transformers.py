"""sentence-transformers' `CrossEncoder` with its ONNX backend, fp32: pairs of texts only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines.kind import Sources, plain_graph
from ftx.errors import FtxError
from ftx.text import Text

__all__ = ["load", "prepare"]


def prepare(sources: Sources) -> None:
    """Export the graph where the backend looks for it.

    Raises:
        FtxError: The model reads single texts, of which a `CrossEncoder` makes a pair.
    """
    import sentence_transformers  # noqa: F401  # before the export, which takes longer

    if isinstance(sources.calibration[0], str):
        raise FtxError("CrossEncoder reads pairs of texts, and this model reads single ones")
    plain_graph(sources)


def load(spec: EngineSpec) -> Infer:
    """Open the exported graph."""
    import onnxruntime
    import torch
    from sentence_transformers import CrossEncoder

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads
    model = CrossEncoder(
        str(spec.path.parent),
        backend="onnx",
        device="cpu",
        model_kwargs={"file_name": spec.path.name, "session_options": options, "provider": "CPUExecutionProvider"},
        activation_fn=torch.nn.Identity(),
    )

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        found = np.asarray(model.predict(list(texts), batch_size=batch_size, show_progress_bar=False))
        return found.reshape(len(texts), -1).astype(np.float32)

    return infer
