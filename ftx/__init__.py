"""Fine-tune, export, quantise and serve BERT text classifiers, each step verified on held-out text.

The rooms: `ftx.finetune` (text and labels to a checkpoint), `ftx.export` (checkpoint to verified ONNX) and
`ftx.runtime` (ONNX to predictions, without PyTorch).
"""

import os
from typing import TYPE_CHECKING, Any

from ftx.errors import FtxError

if TYPE_CHECKING:
    from ftx.runtime import Prediction, Predictor
    from ftx.runtime.server import serve

__all__ = ["FtxError", "Prediction", "Predictor", "__version__", "serve"]
__version__ = "0.1.0"

# onnxruntime sends usage data as soon as it is imported, unless it was told not to. A value of the user's is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `ftx --help` does not wait for it.
    if name in ("Predictor", "Prediction"):
        import ftx.runtime

        return getattr(ftx.runtime, name)
    if name == "serve":
        from ftx.runtime.server import serve

        return serve
    raise AttributeError(f"module 'ftx' has no attribute {name!r}")
