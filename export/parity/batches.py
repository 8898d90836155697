"""Tokenise texts once, to run many graphs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.runtime.model_file import describe
from ftx.runtime.tokenization import Batch, encode, load_tokenizer, pad
from ftx.text import Text

__all__ = ["BATCH_SIZE", "Batches"]

# Texts in a batch wherever ftx measures batches.
BATCH_SIZE = 32


class Batches:
    """Tokenised texts, batched as the runtime does: texts of similar length together.

    Args:
        texts: The texts, or pairs.
        path: An ONNX file with its tokenizer inside or beside it; other graphs of the same model take the same batches.
        input_names: The graph's inputs.
    """

    def __init__(self, texts: list[Text], path: Path, input_names: list[str]) -> None:
        self._manifest, tokenizer_json = describe(path)
        self._encodings = encode(load_tokenizer(tokenizer_json, self._manifest, path), texts)
        self._input_names = input_names
        self.order = sorted(range(len(texts)), key=lambda row: len(self._encodings[row]))

    def __len__(self) -> int:
        return len(self._encodings)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, truncated to `max_length`."""
        return [len(encoding) for encoding in self._encodings]

    @property
    def max_length(self) -> int:
        """Tokens a text is truncated to."""
        return self._manifest.max_length

    def of(self, batch_size: int, rows: list[int] | None = None) -> list[Batch]:
        """Make batches of some rows, or of all in order of length."""
        rows = self.order if rows is None else rows
        return [
            pad([self._encodings[row] for row in rows[start : start + batch_size]], self._manifest, self._input_names)
            for start in range(0, len(rows), batch_size)
        ]

    def spread(self, count: int) -> list[int]:
        """Choose rows evenly over the lengths."""
        places = np.linspace(0, len(self) - 1, min(count, len(self)))
        return [self.order[int(place)] for place in places]

    def padded(self, rows: list[int]) -> list[Batch]:
        """Make a batch of each row, padded to `max_length` as the tutorials do."""
        batches = self.of(1, rows)
        for batch in batches:
            for name, values in batch.items():
                filler = self._manifest.pad_token_id if name == "input_ids" else 0
                missing = self._manifest.max_length - values.shape[1]
                batch[name] = np.pad(values, ((0, 0), (0, max(0, missing))), constant_values=filler)
        return batches

    def logits(self, session: Any, batch_size: int) -> NDArray[np.float32]:
        """Run a session on all texts. *Shape:* `(len(texts), num_labels)`, in the order of the texts."""
        return self.in_order([session.run(None, batch)[0] for batch in self.of(batch_size)])

    def in_order(self, logits: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Put the logits of all batches in the order of the texts. *Shape:* `(len(texts), num_labels)`."""
        found = np.concatenate(logits)
        result = np.empty_like(found)
        result[self.order] = found
        return result
