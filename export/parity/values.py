"""Compare the values of a regression model, which has no labels to agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.heldout import HeldOut

__all__ = ["Values", "compare_values", "tolerance"]

SAME_VALUE = 0.1


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of an ONNX file compared with PyTorch's on the same texts.

    Attributes:
        mean_abs_diff: Mean |difference| between the two.
        tolerance: Up to which difference two values agree: a tenth of the standard deviation of PyTorch's.
        correlation: Pearson correlation of the two; None where one side is constant.
        mae: Mean absolute error of the file; None where the true values are not known.
        reference_mae: PyTorch's.
    """

    mean_abs_diff: float
    tolerance: float
    correlation: float | None
    mae: float | None
    reference_mae: float | None

    def to_text(self) -> str:
        """Write the figures on a line."""
        line = f"mean |Δvalue| {self.mean_abs_diff:.2g}, correlation with PyTorch "
        line += "not defined" if self.correlation is None else f"{self.correlation:.6f}"
        return line if self.mae is None else f"{line}, MAE {self.mae:.4f} (PyTorch {self.reference_mae:.4f})"


def tolerance(reference: NDArray[np.float32]) -> float:
    """Give the difference up to which values agree with these."""
    return SAME_VALUE * float(reference.std())


def compare_values(values: NDArray[np.float32], reference: NDArray[np.float32], held_out: HeldOut) -> Values:
    """Compare two sets of values for the same texts. *Shape of each:* `(len(held_out), 1)`."""
    found, expected = (side.reshape(-1).astype(np.float64) for side in (values, reference))
    true = None if held_out.labels is None else np.array(held_out.labels, dtype=np.float64)
    varied = found.std() > 0 and expected.std() > 0  # false for NaN, too
    return Values(
        mean_abs_diff=float(np.abs(found - expected).mean()),
        tolerance=tolerance(reference),
        correlation=float(np.corrcoef(found, expected)[0, 1]) if varied else None,
        mae=None if true is None else float(np.abs(found - true).mean()),
        reference_mae=None if true is None else float(np.abs(expected - true).mean()),
    )
