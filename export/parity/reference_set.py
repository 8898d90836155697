"""Held-out texts with PyTorch's logits: what an ONNX file is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.heldout import HeldOut
from ftx.manifest import Manifest

__all__ = ["ReferenceSet"]

# With more texts than this the search is slow, and its choice hardly better.
MAX_CHOOSING = 1000


@dataclass(frozen=True, kw_only=True)
class ReferenceSet:
    """Held-out texts with PyTorch's logits.

    Attributes:
        held_out: The texts and their labels.
        logits: PyTorch's. *Shape:* `(len(held_out), num_labels)`.
        manifest: The head and the label names.
    """

    held_out: HeldOut
    logits: NDArray[np.float32]
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.held_out)

    def take(self, rows: list[int]) -> ReferenceSet:
        """Give some of the rows."""
        return ReferenceSet(held_out=self.held_out.take(rows), logits=self.logits[rows], manifest=self.manifest)

    def split(self) -> tuple[ReferenceSet, ReferenceSet]:
        """Split alternately into texts to choose on and texts to report on; a single text serves as both."""
        choosing, reporting = list(range(0, len(self), 2)), list(range(1, len(self), 2))
        places = np.linspace(0, len(choosing) - 1, min(MAX_CHOOSING, len(choosing)))
        return self.take([choosing[int(place)] for place in places]), self.take(reporting or choosing)
