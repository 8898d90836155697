"""Wherever an ONNX file may keep numbers in another file, or loop: refused, also where it is sealed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import AttributeProto, GraphProto, SparseTensorProto, TensorProto, TrainingInfoProto, helper, numpy_helper

from ftx.errors import OnnxFileError
from ftx.onnx_metadata import append_metadata
from ftx.snapshot import Snapshot

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
X, Y = (helper.make_tensor_value_info(name, FLOAT, [6]) for name in "xy")
ADD = helper.make_node("Add", ["x", "w"], ["y"])
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def external(name: str, kind: int = FLOAT) -> TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=[6], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="indices.bin" if kind == INT64 else "weights.bin")
    return tensor


def sparse(where: str) -> SparseTensorProto:
    values = numpy_helper.from_array(np.full(6, 7, dtype=np.float32), "w")
    indices = numpy_helper.from_array(np.arange(6), "i")
    return SparseTensorProto(
        values=external("w") if where == "values" else values,
        indices=external("i", INT64) if where == "indices" else indices,
        dims=[6],
    )


def graph(nodes: list[Any], *, weights: list[TensorProto] | None = None, name: str = "g", inputs: Any = (X,)) -> Any:
    return helper.make_graph(nodes, name, list(inputs), [Y], weights or [])


def constant(attribute: str, kind: int, **values: Any) -> Any:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name=attribute, type=kind, **values)
    return node


def function(nodes: list[Any], **options: Any) -> Any:
    return helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)], **options)


def call(**attributes: Any) -> Any:
    return helper.make_node("F", ["x"], ["y"], domain="own", **attributes)


def model(graph: Any, **options: Any) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, **options)


def in_initializer() -> onnx.ModelProto:
    return model(graph([ADD], weights=[external("w")]))


def in_sparse_initializer(where: str) -> onnx.ModelProto:
    made = model(graph([ADD]))
    made.graph.sparse_initializer.append(sparse(where))
    return made


def in_attribute() -> onnx.ModelProto:
    return model(graph([helper.make_node("Constant", [], ["w"], value=external("w")), ADD]))


def in_sparse_attribute(where: str) -> onnx.ModelProto:
    node = constant("sparse_value", AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse(where))
    return model(graph([node, ADD]))


def in_list_of_tensors() -> onnx.ModelProto:
    node = call()
    node.attribute.add(name="k", type=AttributeProto.TENSORS, tensors=[external("w")])
    return model(graph([node]), functions=[function([helper.make_node("Identity", ["x"], ["y"])], attributes=["k"])])


def in_list_of_sparse_tensors() -> onnx.ModelProto:
    node = call()
    node.attribute.add(name="k", type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse("values")])
    return model(graph([node]), functions=[function([helper.make_node("Identity", ["x"], ["y"])], attributes=["k"])])


def in_subgraph() -> onnx.ModelProto:
    inner = graph([ADD], weights=[external("w")], name="inner", inputs=[])
    node = helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)
    return model(graph([node], weights=[helper.make_tensor("b", TensorProto.BOOL, [], [True])]))


def in_list_of_graphs() -> onnx.ModelProto:
    node = call()
    node.attribute.add(name="k", type=AttributeProto.GRAPHS, graphs=[graph([ADD], weights=[external("w")])])
    return model(graph([node]), functions=[function([helper.make_node("Identity", ["x"], ["y"])], attributes=["k"])])


def in_function_body() -> onnx.ModelProto:
    body = [helper.make_node("Constant", [], ["w"], value=external("w")), ADD]
    return model(graph([call()]), functions=[function(body)])


def in_functions_default() -> onnx.ModelProto:
    node = constant("value", AttributeProto.TENSOR, ref_attr_name="k")
    made = function([node, ADD])
    made.attribute_proto.add(name="k", type=AttributeProto.TENSOR, t=external("w"))
    return model(graph([call()]), functions=[made])


def in_functions_argument() -> onnx.ModelProto:
    node = constant("value", AttributeProto.TENSOR, ref_attr_name="k")
    return model(graph([call(k=external("w"))]), functions=[function([node, ADD], attributes=["k"])])


def in_training_info(where: str) -> onnx.ModelProto:
    made = model(graph([helper.make_node("Identity", ["x"], ["y"])]))
    made.training_info.append(TrainingInfoProto(**{where: GraphProto(initializer=[external("w")])}))
    return made


PLACES: dict[str, Callable[[], onnx.ModelProto]] = {
    "initializer": in_initializer,
    "sparse_initializer values": lambda: in_sparse_initializer("values"),
    "sparse_initializer indices": lambda: in_sparse_initializer("indices"),
    "attribute": in_attribute,
    "sparse attribute values": lambda: in_sparse_attribute("values"),
    "sparse attribute indices": lambda: in_sparse_attribute("indices"),
    "list of tensors": in_list_of_tensors,
    "list of sparse tensors": in_list_of_sparse_tensors,
    "subgraph": in_subgraph,
    "list of graphs": in_list_of_graphs,
    "function body": in_function_body,
    "function default": in_functions_default,
    "function argument": in_functions_argument,
    "training initialization": lambda: in_training_info("initialization"),
    "training algorithm": lambda: in_training_info("algorithm"),
}
# Where onnxruntime 1.22 and 1.31 do not read the file; others may. Indices are read by 1.31, not by 1.23.
NOT_READ = {
    "list of tensors", "list of sparse tensors", "list of graphs", "training initialization", "training algorithm",
}  # fmt: skip


def answer(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros(6, dtype=np.float32)})[0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sealed", [False, True])
def test_weights_in_another_file_are_refused_wherever_they_are(tmp_path: Path, place: str, sealed: bool) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(PLACES[place]().SerializeToString())
    (tmp_path / "weights.bin").write_bytes(np.full(6, 7, dtype=np.float32).tobytes())
    (tmp_path / "indices.bin").write_bytes(np.arange(6).tobytes())
    if sealed:
        append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": "{}"})
    new = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 31)
    if place not in NOT_READ and (new or "indices" not in place):  # so that there is something to refuse
        np.testing.assert_array_equal(answer(path), np.full(6, 7, dtype=np.float32))
    with pytest.raises(OnnxFileError, match="keeps weights in other files"):
        Snapshot(path)


@pytest.mark.parametrize("location", [b"\x70\x81\x00", b"\x70\x81\x80\x80\x80\x10", b"\x70\x00\x70\x01"])
def test_a_data_location_that_is_written_in_another_way_is_refused(tmp_path: Path, location: bytes) -> None:
    """The same enum value 1: of two bytes, of more than 32 bits, after another."""
    tensor = external("w")
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")
    content = tensor.SerializeToString() + location
    read = TensorProto.FromString(content)
    assert read.data_location == TensorProto.EXTERNAL
    made = model(graph([ADD]))
    path = tmp_path / "model.onnx"
    initializer = b"\x2a" + bytes([len(content)]) + content  # of the graph, field 5
    path.write_bytes(made.SerializeToString() + b"\x3a" + bytes([len(initializer)]) + initializer)
    assert onnx.load_model_from_string(path.read_bytes()).graph.initializer[0].data_location == TensorProto.EXTERNAL
    with pytest.raises(OnnxFileError, match="keeps weights in other files"):
        Snapshot(path)


def test_a_file_that_names_its_own_bytes_is_fine(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.full(6, 7, dtype=np.float32), "w")
    weight.data_location = TensorProto.DEFAULT
    path = tmp_path / "model.onnx"
    path.write_bytes(model(graph([ADD], weights=[weight])).SerializeToString())
    assert weight.HasField("data_location")
    assert Snapshot(path).metadata == {}


def endless_loop() -> Any:
    """Runs for as long as its condition holds, which it does."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("n", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", FLOAT, [6]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", FLOAT, [6]),
        ],
        [numpy_helper.from_array(np.ones(6, dtype=np.float32), "one")],
    )
    return helper.make_node("Loop", ["", "b", "x"], ["y"], body=body)


TRUE = helper.make_tensor("b", TensorProto.BOOL, [], [True])


@pytest.mark.parametrize("place", ["graph", "subgraph", "function"])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_loop_is_refused_by_name(tmp_path: Path, place: str, sealed: bool) -> None:
    loop = endless_loop()
    if place == "graph":
        made = model(graph([loop], weights=[TRUE]))
    elif place == "subgraph":
        inner = graph([loop], name="inner", inputs=[])
        made = model(
            graph([helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)], weights=[TRUE])
        )
    else:
        body = [helper.make_node("Constant", [], ["b"], value=TRUE), loop]
        made = model(graph([call()]), functions=[function(body)])
    onnx.checker.check_model(made)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    if sealed:
        append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": "{}"})
    with pytest.raises(OnnxFileError, match="has the operator Loop"):
        Snapshot(path)


@pytest.mark.parametrize("operator", ["Scan", "SequenceMap", "BeamSearch", "EPContext"])
def test_other_operators_that_no_classifier_needs_are_refused(tmp_path: Path, operator: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(graph([helper.make_node(operator, ["x"], ["y"])])).SerializeToString())
    with pytest.raises(OnnxFileError, match=f"has the operator {operator}"):
        Snapshot(path)


@pytest.mark.parametrize("depth", [50, 2000])
def test_a_graph_that_is_nested_deep_ends_in_one_line(tmp_path: Path, depth: int) -> None:
    content = graph([ADD], weights=[external("w")]).SerializeToString()
    for _ in range(depth):  # a graph in an attribute of a node of a graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            content = tag + varint(len(content)) + content
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08\x3a" + varint(len(content)) + content)
    with pytest.raises(OnnxFileError, match="keeps weights in other files" if depth == 50 else "damaged"):
        Snapshot(path)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def test_bytes_alone_would_be_no_protection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a model's bytes, onnxruntime looks for its sparse weights in the working directory."""
    path = tmp_path / "model.onnx"
    path.write_bytes(PLACES["sparse_initializer values"]().SerializeToString())
    (tmp_path / "weights.bin").write_bytes(np.full(6, 7, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros(6, dtype=np.float32)})[0].tolist() == [7] * 6
