"""Count the values that static int8 clips, on text that its ranges were not calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.runtime.batching import MAX_CORE_TOKENS, plan
from ftx.runtime.session import open_session
from ftx.text import Text

__all__ = ["HELD_OUT", "Clipping", "count_clipped"]

HELD_OUT = "held_out"
# All activations of a batch are in memory together: 512 tokens of a BERT-base have 130 MB.
MAX_TOKENS = MAX_CORE_TOKENS
U8_MAX = 255


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """Which share of an int8 file's activations lies outside their calibrated ranges, and is clipped.

    Attributes:
        total: Share of the values of all activations, by kind of text: `held_out`, then those of `KindAgreement`.
        activations: Share of each one's values, by its name in the file and by kind of text.
    """

    total: dict[str, float]
    activations: dict[str, dict[str, float]]

    @property
    def worst(self) -> tuple[str, str]:
        """The activation and the kind of text with the largest share."""
        shares = {(name, kind): one for name, kinds in self.activations.items() for kind, one in kinds.items()}
        return max(shares, key=shares.__getitem__)

    def to_text(self) -> str:
        """Write the figures on a line; empty where nothing is clipped."""
        if not any(self.total.values()):
            return ""
        name, kind = self.worst
        most = max(self.total, key=self.total.__getitem__)
        return (
            f"{percent(self.total[HELD_OUT])} of the activations' values on held-out text lie outside the calibrated "
            f"ranges and are clipped, {percent(self.total[most])} on {spoken(most)} text, where it is most; the worst "
            f"activation is {name}, {percent(self.activations[name][kind])} on {spoken(kind)} text"
        )


def percent(share: float) -> str:
    """Write a share, which may be tiny."""
    return f"{100 * share:.2g} %"


def spoken(kind: str) -> str:
    """Write a kind of text for a person."""
    return "held-out" if kind == HELD_OUT else kind.replace("_", " ")


def count_clipped(path: Path, texts_by_kind: dict[str, list[Text]]) -> Clipping:
    """Run a static int8 file, and count the values that it clips; padding does not count.

    A value counts if it lies beyond the range by more than half a step: nearer ones are rounded as any other.

    Args:
        path: The file.
        texts_by_kind: Texts, by their kind; `held_out` among them.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    constants = {name for node in rounded for name in node.input[1:3]}
    known = {
        one.name: numpy_helper.to_array(one).astype(np.float64)
        for one in model.graph.initializer
        if one.name in constants
    }
    ranges = {}
    for node in rounded:
        source, scale, zero = node.input[:3]
        ranges[source] = tuple(float((end - known[zero]) * known[scale]) for end in (-0.5, U8_MAX + 0.5))
    names = list(ranges)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    with TemporaryDirectory() as folder:
        watched = Path(folder) / path.name
        onnx.save(model, str(watched))
        # Between batches this loop counts: threads that spin meanwhile took as much CPU time as the graph.
        session = open_session(watched, spinning=False)
    every = [text for texts in texts_by_kind.values() for text in texts]
    batches = Batches(every, path, [node.name for node in session.get_inputs()])
    lengths, start, found = batches.lengths, 0, {}
    for kind, texts in texts_by_kind.items():
        clipped, values = (np.zeros(len(names), dtype=np.int64) for _ in range(2))
        for rows in plan(lengths[start : start + len(texts)], BATCH_SIZE, MAX_TOKENS, same_length=True):
            (batch,) = batches.of(len(rows), [start + row for row in rows])
            activations = session.run(names, batch)
            clipped += [outside(one, *ranges[name]) for name, one in zip(names, activations, strict=True)]
            values += [one.size for one in activations]
        found[kind] = clipped, values
        start += len(texts)
    return Clipping(
        total={kind: float(clipped.sum() / values.sum()) for kind, (clipped, values) in found.items()},
        activations={
            name: {kind: float(clipped[place] / values[place]) for kind, (clipped, values) in found.items()}
            for place, name in enumerate(names)
        },
    )


def outside(values: NDArray[np.float32], low: float, high: float) -> int:
    """Count the values outside a range."""
    return int(np.count_nonzero(values < low) + np.count_nonzero(values > high))
