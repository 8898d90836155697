"""From a checkpoint to a folder of ONNX files, each proven before it is kept."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ftx.errors import ParityError
from ftx.export.environment import environment, versions
from ftx.export.graph import export_graph
from ftx.export.parity import (
    FP32_ATOL,
    INT8_MAX_ACCURACY_LOSS,
    INT8_MIN_AGREEMENT,
    Parity,
    check_labels,
    measure,
)
from ftx.export.probes import add_probes
from ftx.export.quantize import Attempt, describe_quantization, quantize
from ftx.export.reference import Reference
from ftx.export.sensitivity import Sensitivity
from ftx.heldout import HeldOut, find_held_out, read_held_out
from ftx.manifest import Manifest, write_manifest
from ftx.output import check_free, staged_folder
from ftx.run_folder import find_checkpoint
from ftx.runtime import verify

__all__ = ["ExportReport", "export"]

# What an export folder holds; a later export replaces these and keeps anything else.
OWNED = {
    "model.onnx", "model_quantized.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    "special_tokens_map.json", "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model", "added_tokens.json",
    "parity.json", "README.md", "SHA256SUMS",
}  # fmt: skip
# What the manifest tells of the checkpoint's metrics.json.
METRICS = (
    "accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "eval_rows",
)  # fmt: skip
NOT_QUANTIZED = {"scheme": "none: fp32", "safe_on": ["any"]}


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export made and how it was proven; `parity.json`.

    Attributes:
        folder: The export folder.
        checkpoint: What was exported.
        held_out: The file the proofs were made on.
        fp32: The fp32 file against PyTorch, at each batch size.
        int8: The int8 file that passed, or None.
        attempts: Every int8 model that was tried.
        ranking: Operators by how much int8 hurts them, the worst first.
        size_bytes: Size by file.
        environment: Where it was measured, and with which versions.
    """

    folder: str
    checkpoint: str
    held_out: str
    fp32: list[Parity]
    int8: Attempt | None
    attempts: list[Attempt]
    ranking: list[Sensitivity]
    size_bytes: dict[str, int]
    environment: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values, with the gates that were applied."""
        gates = {
            "fp32_max_abs_logit_diff": FP32_ATOL,
            "int8_min_label_agreement": INT8_MIN_AGREEMENT,
            "int8_max_accuracy_loss": INT8_MAX_ACCURACY_LOSS,
        }
        return {"format_version": 1, "passed": self.int8 is not None, "gates": gates, **asdict(self)}

    def to_text(self) -> str:
        """Write the report for a person."""
        lines = [f"export     {self.folder}"]
        int8 = self.int8.parity if self.int8 else []
        for name, results in (("model.onnx", self.fp32), ("model_quantized.onnx", int8)):
            for result in results:
                lines.append(f"{name:<20} {self.size_bytes[name] / 2**20:6.1f} MiB, {result.to_text()}")
        if self.int8:
            lines.append(f"in fp32    {len(self.int8.fp32_nodes)} operators that int8 would hurt most")
            lines.append(f'next       ftx predict --onnx {self.folder} "your text"')
        else:
            lines.append(
                f"int8       none of {len(self.attempts)} attempts agreed with PyTorch on {INT8_MIN_AGREEMENT:.0%} of "
                f"the texts within {INT8_MAX_ACCURACY_LOSS:.1%} of its accuracy: use model.onnx (fp32)"
            )
        return "\n".join(lines)


def export(
    run: str | Path, output: str | Path | None = None, *, data: str | Path | None = None, overwrite: bool = False
) -> ExportReport:
    """Export a checkpoint to fp32 ONNX, quantise it to int8, and prove both against PyTorch on held-out text.

    Args:
        run: A run folder, or a checkpoint folder.
        output: The export folder; default: `RUN/onnx`.
        data: Held-out texts as JSON lines; default: the run's `eval.jsonl`.
        overwrite: Whether an export that is there may be replaced.

    Returns:
        What was measured. Its `int8` is None when no int8 model passed: then only the fp32 file is there.

    Raises:
        ParityError: The fp32 graph does not say what PyTorch says; nothing is left.
        ModelError, DataError, OutputError: See there.
    """
    checkpoint = find_checkpoint(Path(run))
    folder = Path(output) if output else Path(run) / "onnx"
    held_out_file = Path(data) if data else find_held_out(checkpoint)
    held_out = read_held_out(held_out_file)
    check_free(folder, overwrite=overwrite, what="export")

    from ftx.export.card import write_card

    with staged_folder(folder, overwrite=overwrite, owned=OWNED, what="export") as staging:
        say(f"Loading {checkpoint}")
        reference = Reference(checkpoint)
        manifest = describe(reference, checkpoint)
        check_labels(held_out, manifest, held_out_file)
        say(f"Asking PyTorch about {len(held_out)} held-out texts")
        reference_logits = reference.logits(held_out.texts)
        say("Exporting to ONNX with Optimum")
        model = export_graph(reference, staging)
        fp32 = prove_fp32(model, reference_logits, held_out)
        quantized = staging / "model_quantized.onnx"
        search = quantize(model, quantized, reference_logits=reference_logits, held_out=held_out)
        passed = search.attempts[-1] if search.passed else None
        seal(model, replace(manifest, parity=by_batch(fp32)), reference)
        if passed:
            quantization = describe_quantization(passed.fp32_nodes)
            seal(quantized, replace(manifest, parity=by_batch(passed.parity), quantization=quantization), reference)
        report = ExportReport(
            folder=str(folder),
            checkpoint=str(checkpoint),
            held_out=str(held_out_file),
            fp32=fp32,
            int8=passed,
            attempts=search.attempts,
            ranking=search.ranking,
            size_bytes={path.name: path.stat().st_size for path in sorted(staging.glob("*.onnx"))},
            environment=environment(),
        )
        (staging / "parity.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        write_card(staging / "README.md", report, manifest)
        write_checksums(staging)
    return report


def describe(reference: Reference, checkpoint: Path) -> Manifest:
    """Make the fp32 file's manifest, but for its parity and probes."""
    metrics_file = checkpoint.resolve().parent / "metrics.json"
    metrics = json.loads(metrics_file.read_text(encoding="utf-8")) if metrics_file.is_file() else {}
    thresholds = getattr(reference.model.config, "thresholds", None) or {}
    return Manifest(
        problem_type=reference.problem_type,
        id2label=reference.id2label,
        max_length=reference.max_length,
        input_names=tuple(reference.tokenizer.model_input_names),
        text_pair=reference.text_pair,
        pad_token_id=reference.tokenizer.pad_token_id or 0,
        thresholds=thresholds,
        quantization=NOT_QUANTIZED,
        metrics={name: metrics[name] for name in METRICS if name in metrics},
        producer=versions(),
    )


def prove_fp32(model: Path, reference_logits: Any, held_out: HeldOut) -> list[Parity]:
    """Hold the exported graph against PyTorch on every held-out text.

    Raises:
        ParityError: A logit differs by more than `FP32_ATOL`.
    """
    results = list(measure(model, reference_logits, held_out))
    worst = max(results, key=lambda result: result.max_abs_logit_diff)
    if not all(result.same_numbers() for result in results):
        raise ParityError(
            f"The ONNX graph does not say what PyTorch says: max |Δlogit| {worst.max_abs_logit_diff:.3g} on "
            f"{worst.texts} held-out texts, expected at most {FP32_ATOL:g}; nothing was exported"
        )
    say(f"fp32: max |Δlogit| {worst.max_abs_logit_diff:.2g} on {worst.texts} held-out texts: passes")
    return results


def by_batch(parity: list[Parity]) -> dict[str, Any]:
    """Arrange parity figures for the manifest."""
    return {f"batch_{result.batch_size}": asdict(result) for result in parity}


def seal(path: Path, manifest: Manifest, reference: Reference) -> None:
    """Put the manifest, the tokenizer and golden probes into a proven file, and check that it still says the same.

    Raises:
        ParityError: The finished file does not answer its own probes.
    """
    tokenizer_json = (path.parent / "tokenizer.json").read_text(encoding="utf-8")
    write_manifest(path, add_probes(manifest, path, reference), tokenizer_json)
    report = verify(path)
    if not report.passed:
        raise ParityError(
            f"{path.name} does not answer its golden probes: max |Δlogit| {report.max_abs_diff:.3g}, "
            f"expected at most {report.atol:g}; nothing was exported"
        )


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, as `sha256sum --check` reads it."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_file():
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))


def say(line: str) -> None:
    """Tell the user on stderr."""
    print(line, file=sys.stderr)
