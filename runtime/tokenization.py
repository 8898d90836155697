"""Tokenise as transformers does, from the tokenizer.json alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ftx.errors import OnnxFileError, out_of_memory
from ftx.manifest import Manifest
from ftx.text import Text, clean

__all__ = ["Batch", "Encoding", "encode", "load_tokenizer", "pad", "windows"]

Batch = dict[str, NDArray[np.int64]]


def load_tokenizer(
    tokenizer_json: str, manifest: Manifest, path: Path, *, stride: int | None = None, windows: bool = False
) -> Tokenizer:
    """Build a tokenizer that truncates to what the manifest allows and never pads, whatever the file says.

    Truncation is set once: changing it while another thread encodes raises "Already borrowed" in tokenizers. Its side
    is the file's: some truncate at the beginning of a text.

    Args:
        tokenizer_json: The text of the file.
        manifest: The ONNX file's manifest.
        path: The ONNX file, for messages.
        stride: Tokens that the windows of a long text share; default: a quarter of a window.
        windows: Whether long texts are read in windows, which static int8 makes no longer than what it was calibrated
            on.

    Raises:
        OnnxFileError: The text is not a tokenizer.json, or special tokens fill `max_length`.
        ValueError: The stride is as long as a window, or longer.
    """
    with explained(f"The tokenizer of {path} can't be used"):
        tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    length = manifest.window_tokens if windows else manifest.max_length
    own = tokenizer.num_special_tokens_to_add(is_pair=manifest.text_pair is not False)
    room = length - tokenizer.num_special_tokens_to_add(is_pair=False)
    if room < 1 or length - own < 1:  # tokenizers does not truncate to less than that
        raise OnnxFileError(f"{path} reads {length} tokens, of which its tokenizer adds {own}: none is left for a text")
    if stride is None:
        stride = min(length // 4, room - 1)
    if not 0 <= stride < room:
        raise ValueError(f"stride {stride}, expected from 0 to {room - 1}: a window holds {room} tokens of a text")
    direction = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(length, stride=stride if windows else 0, direction=direction)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[Text]) -> list[Encoding]:
    """Tokenise texts, or pairs of them.

    Raises:
        OnnxFileError: The tokenizer fails on one.
    """
    whole = [clean(text) if isinstance(text, str) else (clean(text[0]), clean(text[1])) for text in texts]
    with explained("The model's tokenizer fails on a text"):
        # The fast variant does not compute character offsets, which are not needed here.
        encodings: list[Encoding] = tokenizer.encode_batch_fast(whole)
    return encodings


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of tokenizers into one line: it raises Exception itself, and PanicException, a BaseException."""
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        if out_of_memory(error):
            raise MemoryError(f"{what}: memory or threads ran out: {reason}") from error
        raise OnnxFileError(f"{what}: {reason}") from error


def windows(encoding: Encoding) -> list[Encoding]:
    """Return the windows of a text: one, or as many as a long text takes."""
    return [encoding, *encoding.overflowing]


def pad(encodings: list[Encoding], manifest: Manifest, input_names: list[str]) -> Batch:
    """Pad token ids to the longest text.

    Returns:
        The graph's inputs among `input_ids`, `attention_mask` and `token_type_ids`. *Shape of each:*
        `(len(encodings), longest)`.
    """
    # Without special tokens an empty text has no tokens, and graphs fail on rows of length 0.
    shape = (len(encodings), max(1, *(len(encoding) for encoding in encodings)))
    batch = {name: np.zeros(shape, dtype=np.int64) for name in input_names}
    batch["input_ids"].fill(manifest.pad_token_id)
    for row, encoding in enumerate(encodings):
        length = len(encoding)
        batch["input_ids"][row, :length] = encoding.ids
        if "attention_mask" in batch:
            batch["attention_mask"][row, :length] = 1  # the tokenizer does not pad
        if "token_type_ids" in batch:
            batch["token_type_ids"][row, :length] = encoding.type_ids
    return batch
