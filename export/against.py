"""Hold an ONNX file against its PyTorch checkpoint: `ftx verify --against`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftx.errors import ParityError
from ftx.export.parity import FP32_ATOL, INT8_MAX_ACCURACY_LOSS, INT8_MIN_AGREEMENT, Parity, check_labels, measure
from ftx.export.reference import Reference
from ftx.heldout import find_held_out, read_held_out
from ftx.run_folder import find_checkpoint
from ftx.runtime.model_file import describe, find_onnx

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An ONNX file against PyTorch.

    Attributes:
        path: The file.
        checkpoint: The checkpoint.
        gate: What was asked of the file: the same numbers (fp32), or the same answers (int8).
        parity: What was measured, at each batch size.
        passed: Whether the file passes.
    """

    path: str
    checkpoint: str
    gate: str
    parity: list[Parity]
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return asdict(self)


def compare(onnx: str | Path, checkpoint: str | Path, *, data: str | Path | None = None) -> Comparison:
    """Compare full logits of an ONNX file and of PyTorch.

    Args:
        onnx: The file, or a folder with one.
        checkpoint: The run, or the checkpoint.
        data: Labelled texts as JSON lines; default: the run's held-out ones.

    Raises:
        ParityError: The two do not even have the same labels in the same order.
        ModelError, DataError, OnnxFileError: See there.
    """
    path = find_onnx(onnx)
    manifest, _ = describe(path)
    folder = find_checkpoint(Path(checkpoint))
    file = Path(data) if data else find_held_out(folder)
    held_out = read_held_out(file)
    check_labels(held_out, manifest, file)
    reference = Reference(folder)
    if reference.id2label != manifest.id2label:
        raise ParityError(
            f"{path} has the labels {', '.join(manifest.labels)}; {folder} has "
            f"{', '.join(reference.id2label.values())}: they are not the same model"
        )
    parity = list(measure(path, reference.logits(held_out.texts), held_out))
    gate = (
        f"label agreement at least {INT8_MIN_AGREEMENT}, accuracy loss at most {INT8_MAX_ACCURACY_LOSS}"
        if manifest.is_int8
        else f"max |Δlogit| at most {FP32_ATOL:g}"
    )
    passed = all(result.same_answers() if manifest.is_int8 else result.same_numbers() for result in parity)
    return Comparison(path=str(path), checkpoint=str(folder), gate=gate, parity=parity, passed=passed)
