"""A classifier that counts words, made in a moment, for tests about files rather than models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from ftx.manifest import Manifest, write_manifest

WORDS = ["[UNK]", "good", "bad", "nan", "inf"]
# A word's row is added to the logits: of "nan" and "inf" no number comes of it.
TABLE = [[0, 0], [-1, 1], [1, -1], [np.nan, np.nan], [np.inf, 0]]


def save_words(
    path: Path,
    *,
    table: Any = TABLE,
    nodes: list[Any] | None = None,
    output: tuple[int, Any] = (TensorProto.FLOAT, ["batch", 2]),
    input_type: int = TensorProto.INT64,
    siblings: dict[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """Write a classifier that adds up its words.

    Args:
        path: Where to.
        table: What each word adds to the logits.
        nodes: What becomes of `sum` and makes `logits`; default: nothing.
        output: Type and shape of `logits`.
        input_type: Of `input_ids`.
        siblings: config.json, which then stands beside the file with a tokenizer.json, in place of a manifest inside.
        manifest: More of the manifest.
    """
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = numpy_helper.from_array(np.array(table, dtype=np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0),
            *(nodes or [helper.make_node("Identity", ["sum"], ["logits"])]),
        ],
        "words",
        [helper.make_tensor_value_info("input_ids", input_type, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", *output)],
        [rows, numpy_helper.from_array(np.array([1]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    if siblings is not None:
        path.with_name("config.json").write_text(json.dumps(siblings))
        path.with_name("tokenizer.json").write_text(tokenizer.to_str())
        return path
    values: dict[str, Any] = {
        "problem_type": "single_label_classification",
        "id2label": {0: "negative", 1: "positive"},
        "max_length": 16,
        "input_names": ("input_ids",),
    }
    write_manifest(path, Manifest(**values | manifest), tokenizer.to_str())
    return path


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory, tiny_export: Path) -> Path:
    """The tiny classifier as other toolkits write it: without a manifest, and with its siblings."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_export / name, folder)
    config = json.loads((tiny_export / "config.json").read_text())
    config.pop("text_pair", None)
    (folder / "config.json").write_text(json.dumps(config))
    model = onnx.load(tiny_export / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.fixture(scope="session")
def dynamic(tmp_path_factory: pytest.TempPathFactory, foreign: Path) -> Path:
    """A tiny classifier with dynamically quantised activations, as any other toolkit makes it: without a manifest."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = shutil.copytree(foreign, tmp_path_factory.mktemp("dynamic") / "model")
    quantize_dynamic(folder / "model.onnx", folder / "model_quantized.onnx", weight_type=QuantType.QInt8)
    return folder / "model_quantized.onnx"


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., Path]:
    """Make such a classifier in a folder of its own."""

    def make(name: str = "words", **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return save_words(folder / "model.onnx", **options)

    return make
