"""A model as the manuals of LitServe and MLServer would have it: tokenize a batch, pad it to its longest, run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

__all__ = ["SETTINGS", "TOKENIZER", "Classifier"]

# In the server's working directory: what to open, and the tokenizer, which the ONNX file carries inside.
SETTINGS, TOKENIZER = "classifier.json", "tokenizer.json"


class Classifier:
    """An ONNX file in onnxruntime alone."""

    def __init__(self) -> None:
        import onnxruntime

        given: dict[str, Any] = json.loads(Path(SETTINGS).read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(TOKENIZER)
        self.tokenizer.enable_truncation(given["max_length"])
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = given["threads"]
        self.session = onnxruntime.InferenceSession(given["onnx"], options)
        self.names = [one.name for one in self.session.get_inputs()]

    def __call__(self, texts: list[str]) -> list[int]:
        """Give the number of each text's label."""
        read = self.tokenizer.encode_batch(texts)
        every = {
            "input_ids": [one.ids for one in read],
            "attention_mask": [one.attention_mask for one in read],
            "token_type_ids": [one.type_ids for one in read],
        }
        feeds = {name: np.array(every[name], dtype=np.int64) for name in self.names}
        labels: list[int] = self.session.run(None, feeds)[0].argmax(axis=1).tolist()
        return labels
