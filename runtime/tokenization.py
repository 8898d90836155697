"""Tokenise as transformers does, from the tokenizer.json alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ftx.errors import OnnxFileError
from ftx.manifest import Manifest
from ftx.text import Text, clean

__all__ = ["Batch", "encode", "load_tokenizer", "pad"]

Batch = dict[str, NDArray[np.int64]]


def load_tokenizer(tokenizer_json: str, manifest: Manifest, path: Path) -> Tokenizer:
    """Build the tokenizer, cut to the manifest's `max_length` and never padded.

    Truncation is set once: changing it while another thread encodes raises "Already borrowed" in tokenizers.

    Raises:
        OnnxFileError: The text is not a tokenizer.json.
    """
    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises Exception itself
        raise OnnxFileError(f"The tokenizer of {path} can't be used: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.max_length)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[Text]) -> list[Encoding]:
    """Tokenise texts, or pairs of them."""
    whole = [clean(text) if isinstance(text, str) else (clean(text[0]), clean(text[1])) for text in texts]
    encodings: list[Encoding] = tokenizer.encode_batch(whole)
    return encodings


def pad(encodings: list[Encoding], manifest: Manifest, input_names: list[str]) -> Batch:
    """Fill token ids into arrays as long as the longest text.

    Returns:
        The graph's inputs among `input_ids`, `attention_mask` and `token_type_ids`. *Shape of each:*
        `(len(encodings), longest)`.
    """
    # Without special tokens an empty text has no token at all, and no graph takes an empty row.
    shape = (len(encodings), max(1, *(len(encoding) for encoding in encodings)))
    batch = {name: np.zeros(shape, dtype=np.int64) for name in input_names}
    if "input_ids" in batch:
        batch["input_ids"].fill(manifest.pad_token_id)
    for row, encoding in enumerate(encodings):
        length = len(encoding)
        for name, values in (
            ("input_ids", encoding.ids),
            ("attention_mask", encoding.attention_mask),
            ("token_type_ids", encoding.type_ids),
        ):
            if name in batch:
                batch[name][row, :length] = values
    return batch
