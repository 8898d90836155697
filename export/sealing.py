"""Put manifest, tokenizer and golden probes into a verified file, so that it is complete by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.environment import versions
from ftx.errors import ModelError, ParityError
from ftx.export.parity.margins import NearBoundary
from ftx.export.parity.measure import Proof
from ftx.export.parity.probes import add_probes
from ftx.export.parity.reference import Reference
from ftx.export.parity.stress import KindAgreement
from ftx.export.search.candidate import Candidate
from ftx.manifest import Manifest, write_manifest
from ftx.quantization import Quantization
from ftx.runtime import verify

__all__ = ["FP32", "describe_fp32", "figures", "seal"]

# What the manifest takes from the checkpoint's metrics.json.
METRICS = (
    "accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "eval_rows",
)  # fmt: skip
FP32 = Quantization(kind="none", scheme="none: fp32", weights="fp32", safe_on=("any",))


def describe_fp32(reference: Reference, checkpoint: Path) -> Manifest:
    """Make the fp32 file's manifest, without its parity and probes.

    Raises:
        ModelError: The checkpoint's configuration or metrics can't be used.
    """
    metrics_file = checkpoint.resolve().parent / "metrics.json"
    thresholds = getattr(reference.model.config, "thresholds", None) or {}
    try:
        metrics = typed.read_object(metrics_file.read_bytes()) if metrics_file.is_file() else {}
        return Manifest(
            problem_type=reference.problem_type,
            id2label=reference.id2label,
            max_length=reference.max_length,
            input_names=tuple(reference.tokenizer.model_input_names),
            text_pair=reference.text_pair,
            pad_token_id=reference.tokenizer.pad_token_id or 0,
            thresholds=thresholds,
            quantization=FP32,
            metrics={name: metrics[name] for name in METRICS if name in metrics},
            producer={name: version for name, version in versions().items() if version},
        )
    except ValueError as error:
        raise ModelError(f"Checkpoint {checkpoint} can't be exported: {error}") from error


def figures(
    proof: Proof,
    chosen: Candidate | None = None,
    *,
    stress: Sequence[KindAgreement] = (),
    near_boundary: NearBoundary | None = None,
) -> dict[str, Any]:
    """Arrange a proof's figures for the manifest, with what batches gain where the file was timed."""
    found: dict[str, Any] = {f"batch_{result.batch_size}": asdict(result) for result in proof.parity}
    found["batch_invariance"] = asdict(proof.batch_invariance)
    if chosen and chosen.speed:
        found["batch_invariance"]["batched_speedup"] = chosen.speed.texts_per_sec * chosen.speed.latency_ms / 1000
    if near_boundary:
        found["margin_error"] = near_boundary.margin_error
    if stress:
        found["stress"] = {one.kind: asdict(one) for one in stress}
    return found


def seal(path: Path, manifest: Manifest, reference: Reference) -> None:
    """Put manifest, tokenizer and golden probes into a verified file, and replay the probes.

    Raises:
        ParityError: The finished file does not reproduce its own probes.
    """
    tokenizer_json = (path.parent / "tokenizer.json").read_text(encoding="utf-8")
    write_manifest(path, add_probes(manifest, path, reference), tokenizer_json)
    report = verify(path)
    if not report.passed:
        raise ParityError(
            f"{path.name} does not reproduce its golden probes: max |Δlogit| {report.max_abs_diff:.3g}, "
            f"expected at most {report.atol:g}; nothing was exported"
        )
