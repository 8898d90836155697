"""A runtime for MLServer as its manual shows it; `model-settings.json` names it."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse

from ftx.bench.workloads.server.classifier import Classifier

__all__ = ["Runtime"]


class Runtime(MLModel):  # type: ignore[misc]  # untyped
    """Tensors of texts, batched by MLServer."""

    async def load(self) -> bool:
        """Open the file."""
        self.model = Classifier()
        return True

    async def predict(self, payload: Any) -> Any:
        """Run a batch."""
        labels = self.model(StringCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("label", np.array(labels).reshape(-1, 1))
        return InferenceResponse(model_name=self.name, outputs=[output])
