"""Write the forms of a model that are tried, and open them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from ftx.export.graph.convert import Graphs
from ftx.export.parity.batches import Batches
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.shifted import joined_texts
from ftx.export.quantization.calibration import calibrate
from ftx.export.quantization.fitted import Fitted
from ftx.export.quantization.scheme import Scheme, for_target
from ftx.export.quantization.write import write_quantized
from ftx.export.search.forms import Form
from ftx.export.search.peers import OPTIMUM, optimum_form, optimum_peers, peers
from ftx.export.search.timing import Run
from ftx.machine import usable_cores
from ftx.runtime.session import open_session
from ftx.text import Text

__all__ = ["Maker"]

CALIBRATION_BATCHES = 300
# Of each length, beside the held-out texts: with another seed than those that the forms are judged on.
COVERING_TEXTS, COVERING_SEED = 32, 1


class Maker:
    """Makes the forms of one model.

    Args:
        graphs: Its fp32 graphs.
        work: An empty folder for the forms' files.
        texts: Calibrate the activations.
        target: The kind of CPU that the file is for.

    Attributes:
        batches: The texts.
        calibrated_tokens: How long the longest text is that static activation scales were calibrated on.
    """

    def __init__(self, graphs: Graphs, work: Path, texts: ReferenceSet, target: str) -> None:
        self.graphs, self.work, self.target = graphs, work, target
        self._input_names = [node.name for node in open_session(graphs.optimised).get_inputs()]
        self.batches = self.batches_of(texts.held_out.texts)
        self._covering = self.batches_of(covering_texts(texts.held_out.texts, self.batches))
        self.calibrated_tokens = max(*self.batches.lengths, *self._covering.lengths)

    @cached_property
    def fitted(self) -> Fitted:
        """What was calibrated, when first asked: other toolkits' forms do without."""
        return Fitted(calibrate(self.graphs.optimised, self.batches, self._covering))

    def batches_of(self, texts: list[Text]) -> Batches:
        """Tokenise texts for the forms."""
        return Batches(texts, self.graphs.plain, self._input_names)

    def path(self, name: str) -> Path:
        """Name a form's file."""
        return self.work / f"{name}.onnx"

    def int8(self, scheme: Scheme) -> Form:
        """Quantise the optimised graph.

        Raises:
            ModelError: The architecture has no operator for the scheme.
        """
        scheme, path = for_target(scheme, self.target), self.path(scheme.name)
        write_quantized(self.graphs.optimised, path, scheme, self.fitted)
        return Form(
            name=scheme.name,
            kind="int8",
            size_bytes=path.stat().st_size,
            run=open_run(path),
            depends_on_batch=scheme.activations == "dynamic",
            scheme=scheme,
        )

    def optimum(self) -> Form:
        """Make Optimum's preset for the target.

        Raises:
            ModelError: Optimum can't quantise this architecture.
        """
        return optimum_form(self.graphs.plain.parent, self.path(OPTIMUM), self.target)

    def fp32(self) -> Iterator[Form]:
        """Open the fp32 graphs."""
        for name, path in (("fp32", self.graphs.plain), ("fp32, optimised graph", self.graphs.optimised)):
            yield Form(name=name, kind="fp32", size_bytes=path.stat().st_size, run=open_run(path))

    def peers(self, *, compare: bool) -> Iterator[Form]:
        """Make other toolkits' models: Optimum's preset, which is the baseline of speeds; or all of them."""
        folder = self.graphs.plain.parent
        if not compare:
            return islice(optimum_peers(folder, self.work, usable_cores()), 1)
        calibration = self.batches.of(1, self.batches.spread(CALIBRATION_BATCHES))
        return peers(folder, self.work, calibration, usable_cores())


def covering_texts(texts: list[Text], batches: Batches) -> list[Text]:
    """Join texts to cover the lengths up to `max_length` in calibration: held-out texts may all be short."""
    joined = joined_texts(
        texts,
        tokens=float(np.mean(batches.lengths)),
        max_length=batches.max_length,
        seed=COVERING_SEED,
        most=COVERING_TEXTS,
    )
    return [text for made in joined.values() for text in made]


def open_run(path: Path) -> Run:
    """Open a graph in onnxruntime."""
    session = open_session(path)
    return lambda batch: np.asarray(session.run(None, batch)[0])
