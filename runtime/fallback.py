"""Check that an fp32 file can answer the texts that another file of the same model is unsure of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ftx.errors import OnnxFileError
from ftx.manifest import Manifest
from ftx.runtime.model_file import ModelFile, find_onnx, open_model

__all__ = ["REFERENCE_ATOL", "check_fallback"]

# What two files of one export have in common.
SAME = ("problem_type", "id2label", "max_length", "text_pair", "pad_token_id", "thresholds")
# PyTorch's logits for a text differ by less than this between machines, and by more between checkpoints.
REFERENCE_ATOL = 1e-3
ADVICE = "give the model.onnx of the same export"


def check_fallback(model: ModelFile, fallback: str | Path) -> str:
    """Check that a file can be another's fallback.

    Args:
        model: The file whose texts near the boundary the fallback is to answer.
        fallback: The fallback, or a folder with one.

    Returns:
        The fallback's digest, as `Predictor.sha256`.

    Raises:
        OnnxFileError: The file does not say which texts those are, or the fallback can't be used, is no fp32 file, or
            is one of another model.
    """
    path, own = model.file.path, model.manifest
    if own.problem_type == "regression":
        raise OnnxFileError(f"{path} predicts values, and only labels can have a fallback: omit it")
    if own.margin_error is None:
        raise OnnxFileError(
            f"{path} has no margin_error in its manifest, expected an int8 or fp16 file of ftx export, which measures "
            "the texts that need a fallback: export the model again, or omit the fallback"
        )
    other_path = find_onnx(fallback)
    opened = open_model(other_path)
    opened.file.close()
    other = opened.manifest
    if other.quantization.is_reduced:
        raise OnnxFileError(f"the fallback {other_path} is {other.quantization.scheme:.60}, expected fp32: {ADVICE}")
    for name in SAME:
        found, expected = getattr(other, name), getattr(own, name)
        if found != expected:
            raise OnnxFileError(
                f"the fallback {other_path} is of another model than {path}: its {name} is {found!s:.100}, "
                f"expected {expected!s:.100}: {ADVICE}"
            )
    if opened.tokenizer_json != model.tokenizer_json:
        raise OnnxFileError(f"the fallback {other_path} has another tokenizer than {path}, expected the same: {ADVICE}")
    check_reference(other, other_path, own, path)
    return opened.sha256


def check_reference(other: Manifest, other_path: Path, own: Manifest, path: Path) -> None:
    """Check that both files are of one checkpoint, where both carry probes: that PyTorch's logits were the same."""
    expected = {probe.text: probe.reference for probe in own.probes}
    for probe in other.probes:
        if probe.text in expected and not np.allclose(probe.reference, expected[probe.text], atol=REFERENCE_ATOL):
            raise OnnxFileError(
                f"the fallback {other_path} is of another checkpoint than {path}: PyTorch's logits for "
                f"{probe.text!r:.60} were {probe.reference!s:.60}, expected {expected[probe.text]!s:.60}: {ADVICE}"
            )
