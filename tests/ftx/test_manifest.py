from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ftx.errors import OnnxFileError
from ftx.manifest import PROBLEM_TYPES, Manifest, Probe, read_manifest, write_manifest
from ftx.onnx_metadata import append_metadata

words = st.text(max_size=20).filter(lambda text: text.isprintable())
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
probes = st.builds(Probe, text=words, logits=st.tuples(numbers, numbers), reference=st.tuples(numbers, numbers))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    labels = draw(st.lists(words, min_size=1, max_size=5, unique=True))
    return Manifest(
        problem_type=draw(st.sampled_from(PROBLEM_TYPES)),
        id2label=dict(enumerate(labels)),
        max_length=draw(st.integers(1, 512)),
        input_names=("input_ids", "attention_mask"),
        pad_token_id=draw(st.integers(0, 5)),
        thresholds=draw(st.dictionaries(st.sampled_from(labels), st.floats(0, 1))),
        metrics=draw(st.dictionaries(words, st.floats(0, 1))),
        probes=tuple(draw(st.lists(probes, max_size=3))),
        probe_atol=draw(st.floats(0, 1)),
    )


@given(manifest=manifests())
def test_round_trip_by_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def onnx_file(path: Path) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    onnx.save(helper.make_model(graph), str(path))
    return path


def good(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "problem_type": "single_label_classification",
        "id2label": {0: "no", 1: "yes"},
        "max_length": 8,
        "input_names": ("input_ids",),
    }
    return Manifest(**values | changes)


def test_round_trip_by_file(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "model.onnx")
    assert read_manifest(path) is None
    write_manifest(path, good(), '{"tokenizer": "電影"}')
    assert read_manifest(path) == (good(), '{"tokenizer": "電影"}')


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problem_type": "translation"}, "problem_type"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": {0: "a", 2: "b"}}, "without a gap"),
        ({"max_length": 0}, "max_length"),
        ({"thresholds": {"maybe": 0.5}}, "no labels"),
    ],
)
def test_senseless_values_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        good(**changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "can't be used"),
        ("[]", "format_version"),
        ('{"format_version": 99}', "update ftx"),
        ('{"format_version": 1}', "missing"),
        (json.dumps({**json.loads(good().to_json()), "more": 1}), "wrong kind"),
    ],
)
def test_a_manifest_that_is_none_is_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    path = onnx_file(tmp_path / "model.onnx")
    append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": text})
    with pytest.raises(OnnxFileError, match=reason):
        read_manifest(path)


def test_labels_come_in_the_order_of_the_columns() -> None:
    assert good(id2label={1: "yes", 0: "no"}).labels == ["no", "yes"]
