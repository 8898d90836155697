"""Replay the golden probes of an ONNX file: does it give the same logits here as where it was exported?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ftx.errors import OnnxFileError
from ftx.manifest import MANIFEST_KEY
from ftx.runtime.predictor import Predictor

__all__ = ["ProbeReport", "verify"]


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The result of replaying golden probes.

    Attributes:
        path: The file.
        probes: How many were replayed.
        max_abs_diff: Maximum absolute difference from the logits recorded at export.
        atol: Maximum that is allowed.
        renamed: How many have another name now for the label with the largest logit.
        passed: Whether every probe gave what was recorded.
        notice: A line for the user if this CPU needs onnxruntime's slower int8 kernel; else None.
    """

    path: str
    probes: int
    max_abs_diff: float
    atol: float
    renamed: int
    passed: bool
    notice: str | None = None


def verify(path: str | Path) -> ProbeReport:
    """Replay the golden probes in an ONNX file, one at a time, without PyTorch.

    Raises:
        OnnxFileError: The file can't be used, was changed after export, or has no probes.
    """
    with Predictor(path, batch_size=1) as predictor:
        probes, atol = predictor.manifest.probes, predictor.manifest.probe_atol
        if not probes:
            raise OnnxFileError(f"{predictor.path} has no golden probes ({MANIFEST_KEY}): make it with ftx export")
        found = predictor.logits([probe.text for probe in probes])
    recorded = np.asarray([probe.logits for probe in probes], dtype=np.float32)
    max_abs_diff = float(np.abs(found - recorded).max())
    names = predictor.manifest.labels
    renamed = sum(
        probe.best is not None and names[int(row.argmax())] != probe.best
        for probe, row in zip(probes, recorded, strict=True)
    )
    return ProbeReport(
        path=str(predictor.path),
        probes=len(probes),
        max_abs_diff=max_abs_diff,
        atol=atol,
        renamed=renamed,
        # A NaN must not pass.
        passed=bool(max_abs_diff <= atol) and not renamed,
        notice=predictor.notice,
    )
