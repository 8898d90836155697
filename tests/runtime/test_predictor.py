from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftx import Predictor
from ftx.errors import OnnxFileError

if TYPE_CHECKING:
    from ftx.export.parity.reference import Reference

TEXTS = ["The movie was great!", "", "The plot was awful!", "great " * 300, "é 電影 😀", "a", "The cast was fine, " * 3]
DEEP = '{"a": ' * 100_000 + "1" + "}" * 100_000
HEADS = ["single_label_classification", "multi_label_classification", "regression"]


@pytest.fixture(scope="module")
def graph(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]
) -> Callable[[str], tuple[Reference, Path]]:
    """A tiny checkpoint and its fp32 graph with Optimum's siblings, by head. Needs PyTorch."""
    from ftx.export.graph.convert import export_graph
    from ftx.export.parity.reference import Reference

    made: dict[str, tuple[Reference, Path]] = {}

    def make(problem_type: str) -> tuple[Reference, Path]:
        if problem_type not in made:
            reference = Reference(tiny_model(problem_type))
            made[problem_type] = (reference, export_graph(reference, tmp_path_factory.mktemp("graph")))
        return made[problem_type]

    return make


@pytest.mark.parametrize("problem_type", HEADS)
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_full_logits_are_pytorchs(
    graph: Callable[[str], tuple[Reference, Path]], problem_type: str, batch_size: int
) -> None:
    reference, path = graph(problem_type)
    predictor = Predictor(path, batch_size=batch_size)
    assert predictor.manifest.problem_type == problem_type
    expected = reference.logits(TEXTS)
    assert expected.std() > 1e-3  # texts differ, so that agreement means something
    np.testing.assert_allclose(predictor.logits(TEXTS), expected, atol=1e-5, rtol=0)


def test_single_label_head(graph: Callable[[str], tuple[Reference, Path]]) -> None:
    predictor = Predictor(graph("single_label_classification")[1])
    rows = predictor.predict_proba(TEXTS)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    for prediction, row in zip(predictor(TEXTS), rows, strict=True):
        assert prediction.label == predictor.manifest.labels[row.argmax()]
        assert prediction.score == pytest.approx(row.max())
        assert prediction.to_dict().keys() - {"truncated"} == {"text", "label", "score", "scores", "margin"}


def test_multi_label_head(graph: Callable[[str], tuple[Reference, Path]]) -> None:
    import torch

    reference, path = graph("multi_label_classification")
    predictor = Predictor(path)
    expected = torch.sigmoid(torch.from_numpy(reference.logits(TEXTS))).numpy()
    np.testing.assert_allclose(predictor.predict_proba(TEXTS), expected, atol=1e-5)
    for prediction, row in zip(predictor(TEXTS), expected, strict=True):
        assert prediction.labels == [n for n, p in zip(["funny", "sad", "long"], row, strict=True) if p >= 0.5]
        assert prediction.to_dict().keys() - {"truncated"} == {"text", "labels", "scores", "margin"}


def test_regression_head(graph: Callable[[str], tuple[Reference, Path]]) -> None:
    reference, path = graph("regression")
    expected = reference.logits(TEXTS)[:, 0]
    predictions = Predictor(path)(TEXTS)
    assert [prediction.value for prediction in predictions] == pytest.approx(list(expected), abs=1e-5)
    assert predictions[0].to_dict().keys() == {"text", "value"}


def test_thresholds_decide_multi_label(graph: Callable[[str], tuple[Reference, Path]], tmp_path: Path) -> None:
    import json

    folder = shutil.copytree(graph("multi_label_classification")[1].parent, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for threshold, given_labels in ((0.0, ["funny", "sad", "long"]), (1.0, [])):
        config["thresholds"] = dict.fromkeys(["funny", "sad", "long"], threshold)
        (folder / "config.json").write_text(json.dumps(config))
        assert Predictor(folder)(["text"])[0].labels == given_labels


def test_results_keep_the_order_of_the_texts(tiny_export: Path) -> None:
    texts = [f"The movie was great{' indeed' * (n % 7)} {n}" for n in range(100)]
    batched = Predictor(tiny_export / "model.onnx")
    single = Predictor(tiny_export / "model.onnx", batch_size=1)
    assert [prediction.text for prediction in batched(texts)] == texts
    np.testing.assert_allclose(batched.logits(texts), single.logits(texts), atol=1e-5)


def test_no_texts_give_no_predictions(tiny_export: Path) -> None:
    predictor = Predictor(tiny_export)
    assert predictor([]) == []
    assert predictor.logits([]).shape == (0, 2)


def test_a_lone_string_and_other_things_are_refused(tiny_export: Path) -> None:
    predictor = Predictor(tiny_export)
    with pytest.raises(TypeError, match="one string"):
        predictor("The movie was great!")
    with pytest.raises(TypeError, match="NoneType"):
        predictor(["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size"):
        Predictor(tiny_export, batch_size=0)


@given(texts=st.lists(st.text(st.characters(), max_size=50), max_size=5))
@settings(max_examples=100)
def test_any_text_predicts_and_probabilities_sum_to_1(tiny_export: Path, texts: list[str]) -> None:
    rows = Predictor(tiny_export / "model.onnx").predict_proba(texts)
    assert rows.shape == (len(texts), 2)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


def test_half_of_a_surrogate_pair_predicts(tiny_export: Path) -> None:
    predictions = Predictor(tiny_export)(["\ud83d alone", "\ud83d\ude00 together", "\ude00"])
    assert [prediction.text for prediction in predictions] == ["\ud83d alone", "\ud83d\ude00 together", "\ude00"]


def test_threads_share_a_predictor(tiny_export: Path) -> None:
    predictor = Predictor(tiny_export)
    expected = predictor.logits(TEXTS)
    failures: list[object] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(predictor.logits(TEXTS), expected):
                failures.append("differs")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_one_file_alone_is_enough(tiny_export: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(tiny_export / "model_quantized.onnx", tmp_path / "model.onnx"))
    assert [prediction.label for prediction in Predictor(alone)(["The movie was great!", "The plot was awful!"])] == [
        "positive",
        "negative",
    ]


def test_a_file_without_a_manifest_needs_its_siblings(foreign: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(foreign, tmp_path / "model")
    assert Predictor(folder)(["text"])[0].label in ("negative", "positive")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(OnnxFileError, match=r"no ftx\.manifest inside and no tokenizer\.json beside it"):
        Predictor(folder)
    (folder / "config.json").unlink()
    with pytest.raises(OnnxFileError, match=r"no config\.json and no tokenizer\.json"):
        Predictor(folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", "{", "can't be read as JSON"),
        ("config.json", "[]", "expected a JSON object"),
        ("config.json", DEEP, "can't be read as JSON: it is nested too deep"),
        ("config.json", '{"num_labels": 3}', "2 logits for 3 labels"),
        ("config.json", '{"num_labels": "2"}', "num_labels is '2'"),
        ("config.json", '{"num_labels": 1000000000}', "num_labels is 1000000000"),
        ("config.json", '{"id2label": {"0": "a", "1": "b", "2": "c"}}', "2 logits for 3 labels"),
        ("config.json", '{"id2label": {}}', "id2label numbers"),
        ("config.json", '{"id2label": ["a", "b"]}', "id2label is a list"),
        ("config.json", '{"id2label": {"0": "a", "2": "b"}}', "without a gap"),
        ("config.json", '{"id2label": {"0": "a", "1": "a"}}', "give each its own name"),
        ("config.json", '{"id2label": {"0": "a", "1": ["b"]}}', "the label of column 1 is a list"),
        ("config.json", '{"id2label": {"0": "a", "1": %s}}' % ("7" * 5000), "digits"),
        ("config.json", '{"max_position_embeddings": 1.5}', "max_position_embeddings is 1.5"),
        ("config.json", '{"max_position_embeddings": "12"}', "max_position_embeddings is '12'"),
        ("config.json", '{"max_position_embeddings": true}', "max_position_embeddings is true"),
        ("config.json", '{"max_position_embeddings": 0}', "max_position_embeddings is 0"),
        ("config.json", '{"max_position_embeddings": 2, "model_type": "roberta"}', "max_length is 0"),
        ("config.json", '{"max_position_embeddings": NaN}', "max_position_embeddings is nan"),
        ("config.json", '{"pad_token_id": -1}', "pad_token_id is -1"),
        ("config.json", '{"pad_token_id": 0.5}', "pad_token_id is 0.5"),
        ("config.json", '{"pad_token_id": 1099511627776}', "pad_token_id is 1099511627776"),
        ("config.json", '{"model_type": ["bert"]}', "model_type is a list"),
        ("config.json", '{"problem_type": "guess"}', "problem_type 'guess'"),
        ("config.json", '{"problem_type": 1}', "problem_type 1"),
        ("config.json", '{"text_pair": "yes"}', "text_pair is 'yes'"),
        ("config.json", '{"thresholds": [0.5]}', "thresholds is a list"),
        ("config.json", '{"thresholds": {"LABEL_0": NaN}}', "the threshold of 'LABEL_0' is nan"),
        ("tokenizer_config.json", '{"model_max_length": 1.5}', "model_max_length is 1.5"),
        ("tokenizer_config.json", '{"model_max_length": "12"}', "model_max_length is '12'"),
        ("tokenizer_config.json", '{"model_max_length": true}', "model_max_length is true"),
        ("tokenizer_config.json", '{"model_max_length": 0}', "model_max_length is 0"),
        ("tokenizer_config.json", '{"model_max_length": -512}', "model_max_length is -512"),
        ("tokenizer_config.json", '{"model_max_length": 2}', "its tokenizer adds 3: none is left"),
        ("tokenizer_config.json", DEEP, "can't be read as JSON: it is nested too deep"),
        ("tokenizer.json", DEEP, "tokenizer of"),
        ("tokenizer.json", "{}", "tokenizer of"),
    ],
)
def test_siblings_that_do_not_fit_are_one_clear_error(
    foreign: Path, tmp_path: Path, name: str, content: str, reason: str
) -> None:
    folder = shutil.copytree(foreign, tmp_path / "model")
    (folder / name).write_text(content)
    with pytest.raises(OnnxFileError, match=reason) as caught:
        Predictor(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


def test_a_graph_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(tmp_path / "model.onnx"))
    (tmp_path / "config.json").write_text('{"id2label": {"0": "a", "1": "b"}}')
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    with pytest.raises(OnnxFileError, match="not a text classifier: inputs image"):
        Predictor(tmp_path)


def test_onnxruntime_keeps_nothing_about_the_user(foreign: Path, tmp_path: Path) -> None:
    """Its telemetry leaves files in the user's cache as soon as it is imported, and sends them later."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | home
    command = [sys.executable, "-m", "ftx", "predict", "--onnx", str(foreign), "great"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.endswith("\tgreat\n")
    assert list(tmp_path.iterdir()) == []
