"""Graphs of the tiny model, plain and optimised, with what quantisation needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ftx.export.graph.convert import export_graph, optimise
from ftx.export.parity.batches import Batches
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.quantization.calibration import Observed, calibrate
from ftx.export.quantization.fitted import Fitted
from ftx.export.quantization.scheme import Scheme
from ftx.export.quantization.write import write_quantized
from ftx.export.sealing import describe_fp32
from ftx.heldout import HeldOut
from tests.conftest import review_rows

TEXTS = [*[text for text, _ in review_rows()][::2], "a", "", "The plot was awful, and the cast was poor. " * 2]


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """What a test of quantisation works on."""

    folder: Path
    model: Path
    plain: Path
    optimised: Path
    batches: Batches
    fitted: Fitted

    def write(self, scheme: Scheme, *, rearrange: bool = True) -> Path:
        target = self.folder / f"{scheme.name}.onnx"
        write_quantized(self.optimised, target, scheme, self.fitted, rearrange=rearrange)
        return target


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Graphs:
    folder = tmp_path_factory.mktemp("graphs")
    model = tiny_model("single_label_classification")
    reference = Reference(model)
    plain = export_graph(reference, folder)
    optimised = folder / "optimised.onnx"
    held_out, manifest = HeldOut(texts=[*TEXTS]), describe_fp32(reference, model)
    every = ReferenceSet(held_out=held_out, logits=reference.logits(TEXTS), manifest=manifest)
    fusion = optimise(plain, optimised, reference, every)
    assert not fusion.missed
    batches = Batches(TEXTS, plain, ["input_ids", "attention_mask", "token_type_ids"])
    return Graphs(
        folder=folder,
        model=model,
        plain=plain,
        optimised=optimised,
        batches=batches,
        fitted=Fitted(calibrate(optimised, batches)),
    )


def outlying(seed: int = 0) -> tuple[Observed, NDArray[np.float32]]:
    """Make an activation of which three channels outlie and neighbours go together, and weights."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(200, 33)).astype(np.float32)
    x = x[:, 1:] + 0.5 * x[:, :-1]
    x[:, [3, 7, 20]] *= 50
    weights = random.normal(size=(32, 16)).astype(np.float32)
    return Observed(low=x.min(axis=0), high=x.max(axis=0), sample=x, moments=x.T @ x / np.float32(len(x))), weights
