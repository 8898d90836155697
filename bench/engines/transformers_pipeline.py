"""The checkpoint in a transformers pipeline, and pipelines of other toolkits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import EngineSpec, Infer
from ftx.text import Text

__all__ = ["PROGRAM", "load", "through"]

PROGRAM = """
import sys, torch
torch.set_num_threads(int(sys.argv[2]))
from transformers import pipeline
print(pipeline("text-classification", model=sys.argv[1])(sys.argv[3]))
"""


def load(spec: EngineSpec) -> Infer:
    """Load the checkpoint; it batches texts in the order given."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(spec.threads)
    return through(pipeline("text-classification", model=str(spec.path)))


def through(pipe: Any) -> Infer:
    """Get the logits of all labels from a pipeline, one row a text."""
    names = [name for _, name in sorted((int(column), name) for column, name in pipe.model.config.id2label.items())]

    def infer(texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        given = [text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]} for text in texts]
        found = pipe(given, batch_size=batch_size, top_k=None, truncation=True, function_to_apply="none")
        scores = [{one["label"]: one["score"] for one in row} for row in found]
        return np.asarray([[row[name] for name in names] for row in scores], dtype=np.float32)

    return infer
