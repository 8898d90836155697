"""Verify an ONNX file that another tool has changed against its checkpoint, and seal it anew: `ftx verify --reseal`."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ftx.errors import OnnxFileError
from ftx.export.against import Comparison, compare, compare_with, gate_written, load_original
from ftx.export.graph.precision import precision_of
from ftx.export.parity.margins import near_boundary
from ftx.export.parity.reference import Reference
from ftx.export.parity.saturation import portability
from ftx.export.quiet import quiet
from ftx.export.sealing import FP32, describe_fp32, figures, seal
from ftx.manifest import Manifest
from ftx.output import explained
from ftx.output.publishing import RECORD
from ftx.output.record import renew_record, sync
from ftx.quantization import Quantization
from ftx.runtime import ProbeReport, verify
from ftx.runtime.model_file import find_onnx, open_model
from ftx.runtime.session import open_session
from ftx.snapshot import Snapshot
from ftx.tables.columns import Columns

__all__ = ["Resealing", "reseal"]


@dataclass(frozen=True, kw_only=True)
class Resealing:
    """What became of a file that was to be sealed anew.

    Attributes:
        probes: The golden probes of the file, or of what would have been sealed.
        comparison: With the checkpoint.
        resealed: Whether the file was sealed anew; if not, it is as it was.
    """

    probes: ProbeReport
    comparison: Comparison
    resealed: bool


def reseal(
    onnx: str | Path,
    checkpoint: str | Path,
    *,
    data: str | Path | None = None,
    columns: Columns | None = None,
    stress: bool | str | Path | None = None,
) -> Resealing:
    """Compare a changed ONNX file with its checkpoint, and if it passes, put manifest, probes and seal into it.

    Labels, head and limits are those of the file's manifest, or of `config.json` beside it where it has none; the
    tokenizer is the checkpoint's. A file that is int8 or fp16 now is judged by the gate, on other kinds of text, too; a
    file in fp32 by its logits. A file whose seal holds is compared, and left as it is. The export folder's list of
    digests is brought up to the new file; its report and card stay those of the export.

    Args:
        onnx: The file, or a folder with one.
        checkpoint: The run, or the checkpoint.
        data: Texts to compare on; see `compare`.
        columns: Their columns.
        stress: See `compare`.

    Raises:
        OnnxFileError: The file can't be loaded: it is damaged.
        OutputError: It can't be replaced.
        ParityError, ModelError, DataError: See `compare`.
    """
    path = find_onnx(onnx)
    if is_sealed(path):
        found = compare(path, checkpoint, data=data, columns=columns, stress=stress)
        return Resealing(probes=verify(path), comparison=found, resealed=False)
    opened = open_model(path, sealed=False)
    opened.file.close()
    target = path.resolve()
    with (
        explained(path, lambda: "", within=target.parent),
        TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".partial") as work,
    ):
        bare = Path(work) / target.name
        quantization = write_bare(target, bare, opened.manifest)
        manifest = replace(opened.manifest, quantization=quantization)
        kinds = stress or quantization.is_reduced
        original = load_original(path, manifest, checkpoint, data=data, columns=columns, stress=kinds)
        save_siblings(original.reference, Path(work))
        comparison, logits, error = compare_with(bare, manifest, original)
        expected = original.expected.logits
        near = near_boundary(logits, expected, manifest, error if quantization.is_reduced else None)
        sealed = replace(
            describe_fp32(original.reference, original.checkpoint),
            quantization=quantization,
            parity=figures(comparison.proof, stress=comparison.stress, near_boundary=near),
        )
        seal(bare, sealed, original.reference)
        probes = verify(bare)
        passed = comparison.passed and probes.passed
        if passed:
            shutil.copymode(target, bare)
            sync(bare)
            bare.replace(target)
            sync(target.parent)
            renew_record(target.with_name(RECORD), target)
    return Resealing(
        probes=replace(probes, path=str(path)), comparison=replace(comparison, path=str(path)), resealed=passed
    )


def is_sealed(path: Path) -> bool:
    """Tell whether a file carries a manifest, and is as it was sealed."""
    file = Snapshot(path, sealed=False)
    file.close()
    if not any(key.startswith("ftx.") for key in file.metadata):
        return False
    try:
        Snapshot(path).close()
    except OnnxFileError:
        return False
    return True


def write_bare(path: Path, bare: Path, manifest: Manifest) -> Quantization:
    """Copy a file without what ftx had put into it, and describe how it is quantised now.

    Returns:
        What its manifest says, where the kind is the same; limits are kept in any case.

    Raises:
        OnnxFileError: onnxruntime can't load it.
    """
    import onnx

    open_session(path)
    model = onnx.load(str(path), load_external_data=False)
    kept = [entry for entry in model.metadata_props if not entry.key.startswith("ftx.")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, str(bare))
    kind, weights = precision_of(model)
    if kind == "none":
        return FP32
    made = manifest.quantization
    if kind != made.kind:
        made = Quantization(kind=kind, scheme=f"{kind}, made by another tool", activations=kind, weights=weights)
        if kind == "fp16":
            made = replace(made, activations=None, safe_on=("any",))
    if kind != "fp16":
        found = portability(bare)
        made = replace(made, safe_on=tuple(found["safe_on"]), safe_setting=found["safe_setting"])
    return replace(made, gate=asdict(gate_written(manifest)))


def save_siblings(reference: Reference, folder: Path) -> None:
    """Write what a file without a manifest is read by, `config.json` and the tokenizer's files."""
    with quiet():
        reference.model.config.save_pretrained(folder)
    reference.save_tokenizer(folder)
