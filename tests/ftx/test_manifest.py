from __future__ import annotations

import json
import re
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


def probes(num_labels: int) -> st.SearchStrategy[Probe]:
    logits = st.tuples(*[numbers] * num_labels)
    texts = st.one_of(words, st.tuples(words, words))
    return st.builds(Probe, text=texts, logits=logits, reference=logits, best=st.none() | words)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    labels = draw(st.lists(words, min_size=1, max_size=5, unique=True))
    return Manifest(
        problem_type=draw(st.sampled_from(PROBLEM_TYPES if len(labels) == 1 else PROBLEM_TYPES[:2])),
        id2label=dict(enumerate(labels)),
        max_length=draw(st.integers(1, 512)),
        input_names=("input_ids", "attention_mask"),
        pad_token_id=draw(st.integers(0, 5)),
        thresholds=draw(st.dictionaries(st.sampled_from(labels), st.floats(0, 1))),
        metrics=draw(st.dictionaries(words, st.floats(0, 1))),
        probes=tuple(draw(st.lists(probes(len(labels)), max_size=3))),
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
        ({"id2label": {0: "same", 1: "same"}}, "columns 0 and 1 'same': give each its own name"),
        ({"problem_type": "regression"}, "regression with 2 labels, expected 1"),
    ],
)
def test_senseless_values_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        good(**changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "can't be used"),
        ("[]", "it is a list, expected a JSON object"),
        ("{}", "format_version is null"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
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


PROBE = {"text": "a", "logits": [0.5, 1], "reference": [0.5, 1.0], "best": "yes"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("format_version", True, "format_version is true"),
        ("format_version", "1", "format_version is '1'"),
        ("problem_type", ["regression"], "problem_type"),
        ("problem_type", None, "problem_type None"),
        ("id2label", ["no", "yes"], "id2label is a list, expected an object"),
        ("id2label", {"0": "no", "1": 7}, "the label of column 1 is 7, expected a string"),
        ("id2label", {"0": "no", "1": ["yes"]}, "the label of column 1 is a list"),
        ("id2label", {"0": "no", "2": "yes"}, "without a gap"),
        ("id2label", {"0": "no", "1.0": "yes"}, "the column '1.0', expected a whole number"),
        ("id2label", {"0": "no", "-1": "yes"}, "the column '-1'"),
        ("id2label", {"0": "no", "1": "yes", "01": "perhaps"}, "names a column twice"),
        ("id2label", {"0": "no", "9" * 5000: "yes"}, "the column '999"),
        ("max_length", 1.5, "max_length is 1.5, expected a whole number from 1 to"),
        ("max_length", "12", "max_length is '12'"),
        ("max_length", True, "max_length is true"),
        ("max_length", 10**30, "max_length is 1000000"),
        ("max_length", -1, "max_length is -1"),
        ("max_length", None, "max_length is null"),
        ("max_length", float("nan"), "max_length is nan"),
        ("input_names", "input_ids", "input_names is 'input_ids', expected a list"),
        ("input_names", [1], "an input's name is 1"),
        ("text_pair", "yes", "text_pair is 'yes', expected true or false"),
        ("text_pair", 1, "text_pair is 1"),
        ("pad_token_id", None, "pad_token_id is null"),
        ("pad_token_id", 0.0, "pad_token_id is 0.0"),
        ("pad_token_id", -1, "pad_token_id is -1"),
        ("pad_token_id", 2**40, "pad_token_id is 1099511627776"),
        ("thresholds", [0.5], "thresholds is a list"),
        ("thresholds", {"yes": "0.5"}, "the threshold of 'yes' is '0.5', expected a number from 0 to 1"),
        ("thresholds", {"yes": float("nan")}, "the threshold of 'yes' is nan"),
        ("thresholds", {"yes": float("inf")}, "the threshold of 'yes' is inf"),
        ("thresholds", {"yes": 10**400}, "the threshold of 'yes' is 1000"),
        ("quantization", ["int8"], "quantization is a list"),
        ("quantization", {"scheme": 8}, "scheme is 8"),
        ("quantization", {"safe_on": "any"}, "safe_on is 'any', expected a list"),
        ("quantization", {"safe_on": [["any"]]}, "one of safe_on is a list"),
        ("quantization", {"safe_setting": {}}, "safe_setting is an object"),
        ("quantization", {"gate": 0.99}, "gate is 0.99, expected an object"),
        ("quantization", {"gate": {"min_agreement": "0.99"}}, "min_agreement of the gate is '0.99'"),
        ("metrics", [], "metrics is a list"),
        ("parity", 1, "parity is 1"),
        ("producer", "me", "producer is 'me'"),
        ("probes", "abc", "probes is 'abc', expected a list"),
        ("probes", ["abc"], "a probe is 'abc', expected an object"),
        ("probes", [{**PROBE, "text": 1}], "a probe's text is 1"),
        ("probes", [{**PROBE, "text": ["a"]}], "has 1 parts"),
        ("probes", [{**PROBE, "text": ["a", 2]}], "a probe's text is 2"),
        ("probes", [{**PROBE, "logits": [0.5]}], "a probe has 1 logits for 2 labels"),
        ("probes", [{**PROBE, "logits": ["a", "b"]}], "one of a probe's logits is 'a'"),
        ("probes", [{**PROBE, "logits": [1, float("inf")]}], "one of a probe's logits is inf"),
        ("probes", [{**PROBE, "reference": None}], "a probe's reference is null"),
        ("probes", [{**PROBE, "best": 1}], "a probe's best is 1"),
        ("probe_atol", float("nan"), "probe_atol is nan"),
        ("probe_atol", -1, "probe_atol is -1"),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_one_clear_line(
    tmp_path: Path, field: str, value: Any, reason: str
) -> None:
    path = onnx_file(tmp_path / "model.onnx")
    text = json.dumps({**json.loads(good(probes=(Probe(**{**PROBE, "best": None}),)).to_json()), field: value})
    append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": text})
    with pytest.raises(OnnxFileError, match=re.escape(reason)) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_number_of_5000_digits_is_one_clear_line(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "model.onnx")
    text = good().to_json().replace('"max_length":8', '"max_length":' + "9" * 5000)
    append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": text})
    with pytest.raises(OnnxFileError, match="carries a manifest that can't be used") as caught:
        read_manifest(path)
    assert len(str(caught.value)) < 600


def test_metrics_that_are_no_number_are_null(tmp_path: Path) -> None:
    manifest = good(metrics={"pearson": float("nan"), "of": {"each": [1.0, float("inf")]}})
    path = onnx_file(tmp_path / "model.onnx")
    write_manifest(path, manifest, "{}")
    assert "NaN" not in manifest.to_json()
    read, _ = read_manifest(path) or (None, "")
    assert read == good(metrics={"pearson": None, "of": {"each": [1.0, None]}})
    old = json.dumps({**json.loads(good().to_json()), "metrics": {"pearson": float("nan")}})
    assert Manifest.from_json(old).metrics == {"pearson": None}
