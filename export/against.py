"""Compare an ONNX file with its PyTorch checkpoint: `ftx verify --against`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ParityError
from ftx.export.data import read_data, read_stress
from ftx.export.parity.certainty import Certainty, certainty_of
from ftx.export.parity.gate import ENOUGH_TEXTS, FP32_ATOL, NOT_ENOUGH, Gate
from ftx.export.parity.margins import larger, margin_error
from ftx.export.parity.measure import Proof, measure
from ftx.export.parity.reduced import measure_kinds
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.stress import KindAgreement, missed_kinds, stress_set, worst_verdict
from ftx.export.source import check_files, find_source
from ftx.heldout import data_columns
from ftx.manifest import Manifest
from ftx.runtime.model_file import describe, find_onnx
from ftx.tables.columns import Columns
from ftx.text import Text

__all__ = ["Comparison", "compare", "compare_with", "gate_written", "load_original"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An ONNX file compared with PyTorch.

    Attributes:
        path: The file.
        checkpoint: The checkpoint.
        gate: The limits: for the logits (fp32), or for the predictions (int8, fp16).
        proof: What was measured.
        verdict: `passes`, `near` (a reduced file with up to twice the flips of its gate) or `fails`; `not enough text`
            for a reduced file that keeps its limits on fewer than 100 texts. fp32 passes on any number: it is not
            judged by a share of texts, but by the logits of each.
        missed: Which limits of its gate a reduced file misses.
        certainty: How sure the verdict on a reduced file is; None for fp32.
        stress: How the file agrees on other kinds of text; empty where that was not requested.
    """

    path: str
    checkpoint: str
    gate: str
    proof: Proof
    verdict: str
    missed: tuple[str, ...] = ()
    certainty: Certainty | None = None
    stress: tuple[KindAgreement, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file does not fail."""
        return self.verdict != "fails"

    def lines(self, *, held_out_needed: bool = False) -> list[str]:
        """Write the comparison for a person, and if requested how many texts would make the verdict sure."""
        values = self.proof.worst.values is not None
        verdict = {"passes": "passed", "near": "near  ", "fails": "FAILED", NOT_ENOUGH: "too few"}[self.verdict]
        found = [f"{verdict}  PyTorch, {result.to_text()}" for result in self.proof.parity]
        found.append(f"{verdict}  {self.proof.batch_invariance.to_text(values=values)}")
        if self.certainty:
            found.append(f"agreement {self.certainty.agreement_text()}")
            if self.certainty.accuracy:
                found.append(f"accuracy  {self.certainty.accuracy_text()}")
        found += [f"other     {one.to_text()}" for one in self.stress]
        if held_out_needed:
            fp32 = "one text: fp32 is judged by the logits of each, not by a share of them"
            found.append(f"needed    {self.certainty.needed_text() if self.certainty else fp32}")
        if self.verdict == NOT_ENOUGH:
            texts = self.proof.worst.texts
            found.append(f"{NOT_ENOUGH}: the limits are kept on {texts} texts, {ENOUGH_TEXTS} are needed to pass")
        why = f" (narrowly missed: {'; '.join(self.missed)})" if self.verdict == "near" else ""
        found.append(f"required: {self.gate}{why}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"passed": self.passed, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Original:
    """A checkpoint, and the texts to compare an ONNX file with it on.

    Attributes:
        checkpoint: Its folder.
        reference: Its PyTorch model.
        expected: The held-out texts with its logits.
        given: The user's own texts of another kind; None: other kinds of text are not looked at.
    """

    checkpoint: Path
    reference: Reference
    expected: ReferenceSet
    given: list[Text] | None


def compare(
    onnx: str | Path,
    checkpoint: str | Path,
    *,
    data: str | Path | None = None,
    columns: Columns | None = None,
    stress: bool | str | Path | None = None,
) -> Comparison:
    """Compare full logits of an ONNX file and of PyTorch.

    Args:
        onnx: The file, or a folder with one.
        checkpoint: The run, or the checkpoint.
        data: Texts, a table, one a line or a hub data set, labelled or not; default: the run's held-out ones.
        columns: Which columns hold text and label; default: `text`, and `label` if there is one.
        stress: Whether to compare on other kinds of text, too, made from every other held-out text, as `export` reports
            on; or a file of the user's own texts, which are one more kind. fp32 is judged by its logits there, too.

    Raises:
        ParityError: The two do not have the same labels in the same order.
        ModelError, DataError, OnnxFileError: See there.
    """
    path = find_onnx(onnx)
    manifest, _ = describe(path)
    original = load_original(path, manifest, checkpoint, data=data, columns=columns, stress=stress)
    return compare_with(path, manifest, original)[0]


def load_original(
    path: Path,
    manifest: Manifest,
    checkpoint: str | Path,
    *,
    data: str | Path | None,
    columns: Columns | None,
    stress: bool | str | Path | None,
) -> Original:
    """Load the checkpoint that an ONNX file with this manifest is to be compared with, and run it; see `compare`."""
    folder = find_source(str(checkpoint))
    check_files(folder)
    held_out, _ = read_data(data, folder, columns, manifest.id2label, manifest.problem_type)
    reference = Reference(folder, problem_type=manifest.problem_type, max_length=manifest.max_length)
    if list(reference.id2label.values()) == [f"LABEL_{column}" for column in range(len(manifest.labels))]:
        reference.model.config.id2label = manifest.id2label  # they were named when it was exported
    if reference.id2label != manifest.id2label:
        raise ParityError(
            f"{path} has the labels {', '.join(manifest.labels)}; {folder} has "
            f"{', '.join(reference.id2label.values())}: they are not the same model"
        )
    given = None
    if stress:
        given = [] if stress is True else read_stress(stress, columns or data_columns(), held_out)
    expected = ReferenceSet(held_out=held_out, logits=reference.logits(held_out.texts), manifest=manifest)
    return Original(checkpoint=folder, reference=reference, expected=expected, given=given)


def compare_with(
    path: Path, manifest: Manifest, original: Original
) -> tuple[Comparison, NDArray[np.float32], float | None]:
    """Compare an ONNX file with its checkpoint, and judge it as its manifest says.

    Returns:
        The comparison; the file's logits in batches, of shape `(len(original.expected), num_labels)`; and how much
        margins change, see `NearBoundary`.
    """
    proof, logits = measure(path, original.expected)
    limits = gate_written(manifest)
    kinds: tuple[KindAgreement, ...] = ()
    error = margin_error(logits, original.expected.logits, manifest)
    if original.given is not None:
        other = stress_set(original.reference, original.expected.split()[1], original.given)
        kinds, others = measure_kinds(path, other, limits)
        error = larger(error, others)
    if manifest.quantization.is_reduced:
        found = Comparison(
            path=str(path),
            checkpoint=str(original.checkpoint),
            gate=limits.to_text(values=proof.worst.values is not None, stress=bool(kinds)),
            proof=proof,
            verdict=worst_verdict(proof.verdict(limits), kinds),
            missed=(*proof.missed(limits), *missed_kinds(kinds)),
            certainty=certainty_of(proof.worst, limits),
            stress=kinds,
        )
        return found, logits, error
    found = Comparison(
        path=str(path),
        checkpoint=str(original.checkpoint),
        gate=f"max |{'Δvalue' if proof.worst.values else 'Δlogit'}| at most {FP32_ATOL:g}",
        proof=proof,
        verdict="passes"
        if proof.passes_fp32() and all(one.max_abs_logit_diff <= FP32_ATOL for one in kinds)
        else "fails",
        stress=kinds,
    )
    return found, logits, error


def gate_written(manifest: Manifest) -> Gate:
    """Read the limits that a file was held to; one that was not held to a limit for other text has the usual one."""
    written = manifest.quantization.gate
    found = {field.name: written[field.name] for field in fields(Gate) if field.name in written}
    usual = min(Gate.min_stress_agreement, found.get("min_agreement", 1.0))
    return Gate(**{"min_stress_agreement": usual, **found})
