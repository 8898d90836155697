from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ftx.export.parity.batches import Batches
from ftx.export.parity.clipping import Clipping, count_clipped
from ftx.export.quantization.scheme import SCHEMES
from ftx.runtime.session import open_session
from tests.export.conftest import TEXTS, Graphs

KINDS = {"held_out": [*TEXTS[:20]], "given": [*TEXTS[20:]]}


def with_steps(path: Path, name: str, factors: list[float]) -> Path:
    """Copy a file, and multiply the steps of its activations, in its order, by these factors; the last for the rest."""
    model = onnx.load(str(path))
    steps = {one.name: one for one in model.graph.initializer}
    rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for place, node in enumerate(rounded):
        tensor = steps[node.input[1]]
        changed = numpy_helper.to_array(tensor) * np.float32(factors[min(place, len(factors) - 1)])
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(changed), tensor.name))
    onnx.save(model, str(path.with_name(name)))
    return path.with_name(name)


def test_nothing_is_clipped_where_the_ranges_are_wide(graphs: Graphs) -> None:
    path = with_steps(graphs.write(SCHEMES["static"]), "wide.onnx", [4])
    found = count_clipped(path, KINDS)
    assert found.total == {"held_out": 0, "given": 0}
    assert len(found.activations) == 8, "four a layer, the last layer's are those of its first token"
    assert found.to_text() == ""


def test_an_activation_is_named_that_is_clipped(graphs: Graphs) -> None:
    path = with_steps(graphs.write(SCHEMES["static"]), "narrow.onnx", [4, 4, 1e-9, 4])
    found = count_clipped(path, KINDS)
    (name,) = [name for name, shares in found.activations.items() if any(shares.values())]
    assert list(found.activations).index(name) == 2
    assert found.activations[name]["held_out"] > 0.99, "all values but zeros"
    assert found.worst[0] == name
    assert f"the worst activation is {name}" in found.to_text()
    assert 0 < found.total["held_out"] < found.activations[name]["held_out"]


@pytest.mark.parametrize("factor", [0.7, 1])
def test_the_count_is_that_of_each_text_alone(graphs: Graphs, factor: float) -> None:
    """Padding does not count, nor does a value that is rounded to the end of the range."""
    path = with_steps(graphs.write(SCHEMES["static"]), f"times-{factor}.onnx", [factor])
    found = count_clipped(path, KINDS)
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    step, zero = (tensors[name].astype(np.float64) for name in node.input[1:3])
    model.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    onnx.save(model, str(path))
    session = open_session(path)
    for kind, texts in KINDS.items():
        batches = Batches(texts, graphs.plain, [one.name for one in session.get_inputs()])
        values = np.concatenate([session.run([node.input[0]], batch)[0].ravel() for batch in batches.of(1)])
        rounded = np.round(values / step) + zero
        expected = ((rounded < 0) | (rounded > 255)).mean()
        assert found.activations[node.input[0]][kind] == pytest.approx(expected, abs=1e-12)
        assert (expected > 0) == (factor < 1)


def test_the_figures_are_said_on_a_line() -> None:
    shares = {"a": {"held_out": 0.0, "typos": 0.0}, "b": {"held_out": 0.0, "few_words": 0.25, "typos": 0.0}}
    one = Clipping(total={"held_out": 0.0, "few_words": 0.0001, "typos": 0.0}, activations=shares)
    assert one.to_text() == (
        "0 % of the activations' values on held-out text lie outside the calibrated ranges and are clipped, 0.01 % on "
        "few words text, where it is most; the worst activation is b, 25 % on few words text"
    )
