"""Export what a search times, unless it is exported already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx.errors import OutputError

__all__ = ["Exported", "exported"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is timed of a run.

    Attributes:
        file: The smaller file, or the fp32 one if int8 failed.
        failed: Why it failed; empty if it did not.
        label_agreement: With PyTorch; None for fp32.
    """

    file: Path
    failed: str
    label_agreement: float | None


def exported(run: Path, folder: Path, *, overwrite: bool) -> Exported:
    """Export a run, unless that was done; give the file that is to be timed.

    Raises:
        OutputError: The report of an earlier export can't be read.
    """
    from ftx.export import export

    if (run / "onnx/model_quantized.onnx").is_file() and not (overwrite and folder.parent == run):
        folder = run / "onnx"
    elif overwrite or not (folder / "parity.json").is_file():
        export(run, folder, quantize="fast", overwrite=overwrite)
    small = folder / "model_quantized.onnx"
    try:
        found: dict[str, Any] = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
        if not small.is_file():
            failed = found["failed"] or "it was exported without int8"
            return Exported(file=folder / "model.onnx", failed=failed, label_agreement=None)
        agreement = min(one["label_agreement"] for one in found["int8"]["parity"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(
            f"{folder / 'parity.json'} can't be read: {error}; export again: ftx export {run} --overwrite"
        ) from error
    return Exported(file=small, failed="", label_agreement=agreement)
