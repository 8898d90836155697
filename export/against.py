"""Compare an ONNX file with its PyTorch checkpoint: `ftx verify --against`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ftx.errors import ParityError
from ftx.export.data import read_data
from ftx.export.parity.gate import FP32_ATOL, Gate
from ftx.export.parity.measure import Proof, measure
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.source import check_files, find_source
from ftx.runtime.model_file import describe, find_onnx
from ftx.tables.columns import Columns

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An ONNX file compared with PyTorch.

    Attributes:
        path: The file.
        checkpoint: The checkpoint.
        gate: The limits: for the logits (fp32), or for the predictions (int8, fp16).
        proof: What was measured.
        verdict: `passes`, `near` (a reduced file with up to twice the flips of its gate) or `fails`.
    """

    path: str
    checkpoint: str
    gate: str
    proof: Proof
    verdict: str

    @property
    def passed(self) -> bool:
        """Whether the file does not fail."""
        return self.verdict != "fails"

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"passed": self.passed, **asdict(self)}


def compare(
    onnx: str | Path, checkpoint: str | Path, *, data: str | Path | None = None, columns: Columns | None = None
) -> Comparison:
    """Compare full logits of an ONNX file and of PyTorch.

    Args:
        onnx: The file, or a folder with one.
        checkpoint: The run, or the checkpoint.
        data: Texts, a table, one a line or a hub data set, labelled or not; default: the run's held-out ones.
        columns: Which columns hold text and label; default: `text`, and `label` if there is one.

    Raises:
        ParityError: The two do not have the same labels in the same order.
        ModelError, DataError, OnnxFileError: See there.
    """
    path = find_onnx(onnx)
    manifest, _ = describe(path)
    folder = find_source(str(checkpoint))
    check_files(folder)
    held_out, _ = read_data(data, folder, columns, manifest.id2label, manifest.problem_type)
    reference = Reference(folder)
    if list(reference.id2label.values()) == [f"LABEL_{column}" for column in range(len(manifest.labels))]:
        reference.model.config.id2label = manifest.id2label  # they were named when it was exported
    if reference.id2label != manifest.id2label:
        raise ParityError(
            f"{path} has the labels {', '.join(manifest.labels)}; {folder} has "
            f"{', '.join(reference.id2label.values())}: they are not the same model"
        )
    expected = ReferenceSet(held_out=held_out, logits=reference.logits(held_out.texts), manifest=manifest)
    proof, _ = measure(path, expected)
    if manifest.quantization.is_reduced:
        written = manifest.quantization.gate
        limits = Gate(**{field.name: written[field.name] for field in fields(Gate) if field.name in written})
        gate, verdict = limits.to_text(), proof.verdict(limits)
    else:
        gate, verdict = f"max |Δlogit| at most {FP32_ATOL:g}", "passes" if proof.passes_fp32() else "fails"
    return Comparison(path=str(path), checkpoint=str(folder), gate=gate, proof=proof, verdict=verdict)
