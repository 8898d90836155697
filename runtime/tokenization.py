"""Tokenise as transformers does, from the tokenizer.json alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ftx.errors import OnnxFileError
from ftx.manifest import Manifest
from ftx.text import Text, clean

__all__ = ["Batch", "Encoding", "encode", "load_tokenizer", "pad", "windows"]

Batch = dict[str, NDArray[np.int64]]


def load_tokenizer(tokenizer_json: str, manifest: Manifest, path: Path, *, stride: int = 0) -> Tokenizer:
    """Build the tokenizer, cut to the manifest's `max_length` and never padded.

    Args:
        tokenizer_json: The text of the file.
        manifest: What the ONNX file says of itself.
        path: The ONNX file, for messages.
        stride: Tokens that the windows of a long text share.

    Truncation is set once: changing it while another thread encodes raises "Already borrowed" in tokenizers.

    Raises:
        OnnxFileError: The text is not a tokenizer.json.
        ValueError: The stride leaves a window nothing new.
    """
    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises Exception itself
        raise OnnxFileError(f"The tokenizer of {path} can't be used: {error}") from error
    tokenizer.no_padding()
    room = manifest.max_length - tokenizer.num_special_tokens_to_add(is_pair=False)
    if not 0 <= stride < max(1, room):
        raise ValueError(f"stride {stride}, expected from 0 to {room - 1}: a window holds {room} tokens of a text")
    tokenizer.enable_truncation(manifest.max_length, stride=stride)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[Text]) -> list[Encoding]:
    """Tokenise texts, or pairs of them."""
    whole = [clean(text) if isinstance(text, str) else (clean(text[0]), clean(text[1])) for text in texts]
    # The fast one leaves out where each token stood in the text, which nobody asks here.
    encodings: list[Encoding] = tokenizer.encode_batch_fast(whole)
    return encodings


def windows(encoding: Encoding) -> list[Encoding]:
    """Give the windows of a text: one, or for a longer one as many as it takes."""
    return [encoding, *encoding.overflowing]


def pad(encodings: list[Encoding], manifest: Manifest, input_names: list[str]) -> Batch:
    """Fill token ids into arrays as long as the longest text.

    Returns:
        The graph's inputs among `input_ids`, `attention_mask` and `token_type_ids`. *Shape of each:*
        `(len(encodings), longest)`.
    """
    # Without special tokens an empty text has no token at all, and no graph takes an empty row.
    shape = (len(encodings), max(1, *(len(encoding) for encoding in encodings)))
    batch = {name: np.zeros(shape, dtype=np.int64) for name in input_names}
    batch["input_ids"].fill(manifest.pad_token_id)
    for row, encoding in enumerate(encodings):
        length = len(encoding)
        batch["input_ids"][row, :length] = encoding.ids
        if "attention_mask" in batch:
            batch["attention_mask"][row, :length] = 1  # nothing was padded
        if "token_type_ids" in batch:
            batch["token_type_ids"][row, :length] = encoding.type_ids
    return batch
