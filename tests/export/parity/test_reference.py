from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftx import Predictor
from ftx.errors import ModelError
from ftx.export.graph.convert import export_graph
from ftx.export.parity.reference import Reference
from ftx.export.sealing import describe_fp32

# The tiny model has 64 positions, and its tokenizer a limit of 32.
LONG = ["great " * 100 + "bad " * 100, "The plot was awful!"]
TRUNCATION = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0,
    "pad_token": "[PAD]",
}  # fmt: skip


@pytest.fixture
def checkpoint(tiny_model: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """The tiny checkpoint with other settings, by file."""

    def make(**changes: dict[str, Any]) -> Path:
        folder = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "checkpoint")
        for name, values in changes.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return folder

    return make


@pytest.mark.parametrize(
    ("limit", "max_length"), [(32, 32), (64, 64), (65, 64), (512, 64), (10**30, 64), (1e30, 64), (None, 64)]
)
def test_no_text_is_longer_than_the_model_has_positions(
    checkpoint: Callable[..., Path], limit: Any, max_length: int
) -> None:
    reference = Reference(checkpoint(tokenizer_config={"model_max_length": limit}))
    assert reference.max_length == max_length
    assert reference.logits(LONG).shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokenizer_config": {"model_max_length": 1.5}}, "model_max_length is 1.5"),
        ({"tokenizer_config": {"model_max_length": "12"}}, "model_max_length is '12'"),
        ({"tokenizer_config": {"model_max_length": 0}}, "model_max_length is 0"),
        ({"tokenizer_config": {"model_max_length": 2}}, "max_length is 2"),
        ({"config": {"id2label": {"0": "same", "1": "same"}}}, "columns 0 and 1 'same'"),
    ],
)
def test_settings_that_make_no_sense_are_one_clear_line(
    checkpoint: Callable[..., Path], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        Reference(checkpoint(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"tokenizer": {"truncation": TRUNCATION, "padding": PADDING}}, "left"),
        ({"tokenizer_config": {"truncation_side": "left", "padding_side": "left"}}, "left"),
        ({"tokenizer_config": {"padding_side": "left"}}, "right"),
    ],
)
def test_padding_and_truncation_of_the_tokenizers_own_are_the_same_everywhere(
    checkpoint: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], side: str
) -> None:
    reference = Reference(checkpoint(**changes))
    assert reference.max_length == 32
    assert reference.tokenizer.truncation_side == side
    expected = reference.logits(LONG)
    np.testing.assert_allclose(expected[1], reference.logits(LONG[1:])[0], atol=1e-5)
    folder = tmp_path / "onnx"
    folder.mkdir()
    with Predictor(export_graph(reference, folder)) as predictor:
        np.testing.assert_allclose(predictor.logits(LONG), expected, atol=1e-5)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_metrics_that_can_not_be_read_are_one_clear_line(checkpoint: Callable[..., Path], content: str) -> None:
    folder = checkpoint()
    folder.with_name("metrics.json").write_text(content)
    with pytest.raises(ModelError, match="can't be exported"):
        describe_fp32(Reference(folder), folder)
