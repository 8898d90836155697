"""What an export made and how it was verified: parity.json, and the summary for a person."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftx.export.graph.fusion import Fusion
from ftx.export.parity.gate import ENOUGH_TEXTS, FP32_ATOL, NOT_ENOUGH, Gate, Parity
from ftx.export.parity.measure import Proof
from ftx.export.parity.reduced import Reduced
from ftx.export.parity.stress import lowest
from ftx.export.search.candidate import Candidate
from ftx.export.search.search import Search
from ftx.lineage import FromTeacher

__all__ = ["ExportReport"]


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export made and how it was verified; `parity.json`.

    Attributes:
        folder: The export folder.
        checkpoint: What was exported.
        held_out: The file of the held-out texts.
        device: `cpu` or `cuda`.
        gate: The limits for the int8 (or fp16) file.
        fusion: What the graph optimiser found.
        fp32: The fp32 file against PyTorch, on all held-out texts.
        search: What was tried on the texts to choose on; None where nothing was searched.
        int8: The int8 form that was chosen, on the texts to report on; its file is there unless its verdict is `fails`.
            None where none was requested or chosen.
        fp16: Likewise, for `device="cuda"`.
        size_bytes: Size by file.
        environment: Where it was measured, and with which versions.
        labelled: Whether the held-out texts have labels; without them accuracy is not measured.
        fp32_on_reporting: The fp32 file on the texts that the smaller file is reported on, in batches; None where there
            is no smaller one. Accuracies can be compared on the same texts only.
        from_teacher: For a student of `ftx distill`: what its distillation measured; the figures above compare its
            files with the student itself.
        weakness: How the PyTorch model is no better than a constant on the held-out texts; empty where it is better.
    """

    folder: str
    checkpoint: str
    held_out: str
    device: str
    gate: Gate
    fusion: Fusion
    fp32: Proof
    search: Search | None
    int8: Reduced | None
    fp16: Reduced | None
    size_bytes: dict[str, int]
    environment: dict[str, Any]
    labelled: bool = True
    fp32_on_reporting: Parity | None = None
    weakness: str = ""
    from_teacher: FromTeacher | None = None

    @property
    def values(self) -> bool:
        """Whether the model gives values (regression), not labels."""
        return self.fp32.worst.values is not None

    @property
    def required(self) -> str:
        """The gate's limits."""
        made = self.int8 or self.fp16
        return self.gate.to_text(values=self.values, stress=bool(made and made.stress))

    @property
    def reduced(self) -> Reduced | None:
        """The smaller file that was kept, if one was."""
        made = self.int8 or self.fp16
        return made if made and made.verdict != "fails" else None

    @property
    def failed(self) -> str:
        """Why a smaller file was requested and is not there; empty where it is, or where fp32 is as fast."""
        made = self.int8 or self.fp16
        if self.search and self.search.chosen is None:
            tried = ", ".join(self.said(form) for form in self.search.forms)
            if not tried:
                return "this architecture has no operators that int8 could replace: use model.onnx (fp32)"
            return (
                f"none of the {len(self.search.forms)} int8 candidates is near the gate on {self.search.texts} texts "
                f"(estimated agreement: {tried}): use model.onnx (fp32)"
            )
        if made and made.verdict == "fails":
            where = "the other half of the held-out texts"
            return f"{made.file} failed on {where} ({made.proof.worst.to_text()}): use model.onnx (fp32)"
        return ""

    def said(self, form: Candidate) -> str:
        """Say how a form that was tried did."""
        failed = (
            " but failed on the other half of the held-out texts"
            if self.search and form.name in self.search.rejected
            else ""
        )
        return f"{form.name} {form.expected_agreement:.4f}{failed}"

    def verdict_text(self, made: Reduced) -> str:
        """Write the verdict on the smaller file, with on how many texts."""
        texts = made.proof.worst.texts
        if made.verdict == NOT_ENOUGH:
            return (
                f"WARNING    {NOT_ENOUGH}: {made.file} keeps the limits on {texts} texts, at least {ENOUGH_TEXTS} are "
                f"needed to pass, half of {2 * ENOUGH_TEXTS} held-out ones; required: {self.required}"
            )
        if made.verdict == "near":
            return (
                f"WARNING    near the gate on {texts} texts, but does not pass it ({'; '.join(made.missed)}); "
                f"required: {self.required}"
            )
        return f"verdict    passes on {texts} texts; required: {self.required}"

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        found = {"format_version": 2, "passed": not self.failed, "failed": self.failed}
        values = {**found, "fp32_max_abs_logit_diff": FP32_ATOL, **asdict(self)}
        for name in ("int8", "fp16"):
            if made := getattr(self, name):
                values[name]["quantization"] = made.quantization.to_dict()
        return values

    def write(self, path: Path) -> None:
        """Write parity.json."""
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_text(self) -> str:
        """Write the report for a person."""
        lines = [f"export     {self.folder}"]
        proofs = {"model.onnx": self.fp32} | ({self.reduced.file: self.reduced.proof} if self.reduced else {})
        for name, proof in proofs.items():
            for result in proof.parity:
                lines.append(f"{name:<20} {self.size_bytes[name] / 2**20:6.1f} MiB, {result.to_text()}")
        if self.weakness:
            lines.append(f"WARNING    {self.weakness}: agreement with it says little")
        if not self.labelled:
            lines.append("accuracy   not measured: the held-out texts have no labels")
        if self.reduced:
            lines.append(f"scheme     {self.reduced.quantization.name}: {self.reduced.quantization.scheme}")
            if self.search:
                lines.append(f"chosen     {self.search.choice}")
            if self.search and self.search.rejected:
                lines.append(
                    f"rejected   failed on the other half of the held-out texts: {', '.join(self.search.rejected)}"
                )
            if near := self.reduced.near_boundary:
                lines.append(
                    f"margins    {near.share:.1%} of the texts are near the boundary (margin below "
                    f"{near.margin_error:.3g}); of the others {near.flips} have another prediction than in PyTorch"
                )
                if near.cascade:
                    lines.append(f"fallback   {near.cascade.to_text(near.share)}")
            lines.append(f"batches    {self.reduced.batch_invariance.to_text(values=self.values)}")
            lines.append(f"safe on    {', '.join(self.reduced.quantization.safe_on or ())}")
            certainty = self.reduced.certainty
            lines.append(f"agreement  {certainty.agreement_text()}")
            if certainty.accuracy:
                lines.append(f"accuracy   {certainty.accuracy_text()}")
            if worst := lowest(self.reduced.stress):
                passing = sum(one.verdict == "passes" for one in self.reduced.stress)
                kinds = f"limit kept on {passing} of {len(self.reduced.stress)} kinds"
                lines.append(f"other text {kinds}; the lowest: {worst.to_text()}")
            lines.append(self.verdict_text(self.reduced))
        elif self.failed:
            lines.append(f"FAILED     {self.failed}; required: {self.required}")
        elif self.search:
            lines.append("int8       fp32 is as fast here as any faithful int8 candidate: use model.onnx")
        lines.append(f'next       ftx predict --onnx {self.folder} "your text"')
        return "\n".join(lines)
