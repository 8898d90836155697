from __future__ import annotations

import json
from typing import Any

import pytest

from ftx.manifest import Manifest
from ftx.quantization import EXACT_SETTING, Quantization

VNNI = ["avx512_vnni", "avx_vnni", "amx_int8", "arm64"]
# As ftx 0.1.0 wrote them, without a kind.
STATIC = {
    "scheme": "static int8: weights s8 per channel, smoothed, 2 rescued: outlying channels in fp32",
    "name": "static-outliers-x2",
    "activations": "static",
    "smooth": True,
    "per_channel": True,
    "weight_bits": 8,
    "weight_type": "s8",
    "attention": True,
    "embeddings": True,
    "rescued_nodes": ["/layer.0/MatMul", "/layer.1/MatMul"],
    "rescue": "outliers",
    "safe_on": VNNI,
    "safe_setting": EXACT_SETTING,
    "target": "vnni",
    "gate": {"min_agreement": 0.995, "max_accuracy_loss": 0.003, "max_batch_flips": 0.005},
}
FP16 = {
    "scheme": "fp16: half precision for a GPU", "name": "fp16", "activations": "none", "rescued_nodes": [],
    "rescue": None, "safe_on": ["any"], "safe_setting": None,
}  # fmt: skip


def test_a_manifest_of_an_earlier_version_is_read_and_written_with_all_its_fields() -> None:
    text = json.dumps(
        {
            "problem_type": "single_label_classification", "id2label": {"0": "no", "1": "yes"}, "max_length": 8,
            "input_names": ["input_ids"], "text_pair": None, "pad_token_id": 0, "thresholds": {},
            "quantization": STATIC, "metrics": {}, "parity": {}, "probes": [], "probe_atol": 0.05, "producer": {},
            "format_version": 1,
        }
    )  # fmt: skip
    manifest = Manifest.from_json(text)
    found = manifest.quantization
    assert (found.kind, found.is_int8, found.is_reduced) == ("static", True, True)
    assert (found.fallback, found.fallback_nodes) == ("outliers", ("/layer.0/MatMul", "/layer.1/MatMul"))
    assert (found.target, found.gate["min_agreement"]) == ("vnni", 0.995)
    assert found.safe_on == tuple(VNNI)
    assert json.loads(manifest.to_json())["quantization"] == {**STATIC, "kind": "static"}
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"scheme": "none: fp32", "safe_on": ["any"]}, "none"),
        (FP16, "fp16"),
        (STATIC, "static"),
        ({"scheme": "dynamic int8: weights s8 per channel", "activations": "dynamic"}, "dynamic"),
        ({"scheme": "blockwise int8: weights s8 per channel", "activations": "blockwise"}, "blockwise"),
        ({"scheme": "dynamic int8: weights s8 per channel, activations u8 per tensor"}, "dynamic"),
        ({"scheme": "my own int8"}, "dynamic"),
        ({"scheme": "unknown"}, "unknown"),
        ({"scheme": None}, "unknown"),
        ({"scheme": "ternary", "kind": "ternary"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_kind_of_files_of_earlier_versions_and_other_makers(values: dict[str, Any], kind: str) -> None:
    found = Quantization.from_dict(values)
    assert found.kind == kind
    assert found.is_reduced is (kind not in ("none", "unknown"))
    assert Quantization.from_dict(found.to_dict()) == found


def test_files_made_before_the_setting_was_recorded_are_exact_with_it() -> None:
    before = {name: value for name, value in STATIC.items() if name != "safe_setting"}
    assert Quantization.from_dict(before).safe_setting == EXACT_SETTING
    assert Quantization.from_dict({**STATIC, "safe_setting": None}).safe_setting is None


def test_fields_that_this_version_does_not_know_are_kept() -> None:
    found = Quantization.from_dict({**STATIC, "sparsity": {"ratio": 0.5}})
    assert found.details["sparsity"] == {"ratio": 0.5}
    assert found.to_dict()["sparsity"] == {"ratio": 0.5}


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'int3', expected one of none, fp16, static"):
        Quantization(kind="int3")
