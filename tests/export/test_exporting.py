from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ftx import Predictor
from ftx.errors import DataError, OutputError, ParityError
from ftx.export import compare, export, exporting, quantize
from ftx.export.graph import export_graph
from ftx.export.parity import INT8_MIN_AGREEMENT
from ftx.export.reference import Reference
from ftx.heldout import read_held_out, write_held_out
from ftx.run_folder import find_checkpoint


def test_the_export_folder_holds_what_is_promised(tiny_export: Path) -> None:
    names = {path.name for path in tiny_export.iterdir()}
    assert {"model.onnx", "model_quantized.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {"parity.json", "README.md", "SHA256SUMS"} <= names
    assert not names & {"trial.onnx", "switched.onnx"}
    for line in (tiny_export / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tiny_export / name).read_bytes()).hexdigest() == digest
        names.discard(name)
    assert names == {"SHA256SUMS"}
    assert [path.name for path in tiny_export.parent.iterdir()] == ["onnx"]


def test_parity_json_says_what_was_measured(tiny_export: Path, tiny_run: Path) -> None:
    report = json.loads((tiny_export / "parity.json").read_text())
    rows = len(read_held_out(tiny_run / "eval.jsonl"))
    assert report["passed"] is True
    assert [result["batch_size"] for result in report["fp32"]] == [32, 1]
    assert all(result["texts"] == rows and result["max_abs_logit_diff"] <= 1e-4 for result in report["fp32"])
    assert all(result["label_agreement"] >= 0.99 for result in report["int8"]["parity"])
    assert report["environment"]["versions"]["onnxruntime"]
    assert report["size_bytes"]["model_quantized.onnx"] == (tiny_export / "model_quantized.onnx").stat().st_size


def test_the_card_carries_the_figures(tiny_export: Path) -> None:
    card = (tiny_export / "README.md").read_text()
    report = json.loads((tiny_export / "parity.json").read_text())
    assert f"{report['fp32'][0]['max_abs_logit_diff']:.2g}" in card
    assert "ftx predict --onnx model_quantized.onnx" in card
    assert "negative, positive" in card


def test_the_manifest_carries_figures_and_probes(tiny_export: Path) -> None:
    fp32 = Predictor(tiny_export / "model.onnx").manifest
    int8 = Predictor(tiny_export / "model_quantized.onnx").manifest
    assert not fp32.is_int8
    assert int8.is_int8
    assert int8.quantization["safe_on"]
    assert int8.max_length == 32
    assert set(int8.parity) == {"batch_1", "batch_32"}
    assert fp32.metrics["accuracy"] >= 0.9
    np.testing.assert_allclose(
        [probe.logits for probe in fp32.probes], [probe.reference for probe in fp32.probes], atol=1e-4
    )


def test_int8_weights_are_in_the_graph(tiny_export: Path) -> None:
    kinds = {node.op_type for node in onnx.load(str(tiny_export / "model_quantized.onnx")).graph.node}
    assert "MatMulInteger" in kinds
    assert "MatMulInteger" not in {node.op_type for node in onnx.load(str(tiny_export / "model.onnx")).graph.node}


def test_optimum_and_transformers_read_the_folder(tiny_export: Path) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    texts = ["The movie was great!", "The plot was awful!"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_export)
    for name in ("model.onnx", "model_quantized.onnx"):
        model = ORTModelForSequenceClassification.from_pretrained(tiny_export, file_name=name)
        answers = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(texts)
        assert [answer["label"] for answer in answers] == ["positive", "negative"]
        found = model(**tokenizer(texts[0], return_tensors="np")).logits
        np.testing.assert_allclose(found, Predictor(tiny_export / name).logits(texts[:1]), atol=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "model_quantized.onnx"])
def test_a_file_passes_against_its_checkpoint(tiny_export: Path, tiny_run: Path, name: str) -> None:
    comparison = compare(tiny_export / name, tiny_run)
    assert comparison.passed
    assert json.loads(json.dumps(comparison.to_dict()))["parity"][0]["texts"] == 24
    assert compare(tiny_export / name, tiny_run / "checkpoint", data=tiny_run / "eval.jsonl").passed


def shift_bias(model: Path, amount: float) -> None:
    """Make a graph wrong: move the classifier's bias."""
    proto = onnx.load(str(model))
    for tensor in proto.graph.initializer:
        if tensor.name == "classifier.bias":
            moved = numpy_helper.to_array(tensor) + np.array([amount, 0], dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
            break
    else:
        raise AssertionError("no classifier.bias")
    onnx.save(proto, str(model))


def test_a_graph_that_says_something_else_is_not_exported(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(reference: Reference, folder: Path) -> Path:
        model = export_graph(reference, folder)
        shift_bias(model, 2e-4)
        return model

    monkeypatch.setattr(exporting, "export_graph", wrong)
    with pytest.raises(ParityError, match=r"max \|Δlogit\| 0\.0002"):
        export(tiny_run, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_when_no_int8_passes_fp32_is_kept_and_status_is_1(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from ftx.cli import ftx

    plain = quantize.write_int8

    def wrong(fp32: Path, target: Path, nodes_to_exclude: list[str]) -> None:
        plain(fp32, target, nodes_to_exclude)
        shift_bias(target, 100)

    monkeypatch.setattr(quantize, "write_int8", wrong)
    result = CliRunner().invoke(ftx, ["export", str(tiny_run), "--output", str(tmp_path / "onnx")])
    assert result.exit_code == 1
    assert "none of" in result.stdout
    names = {path.name for path in (tmp_path / "onnx").iterdir()}
    assert "model.onnx" in names
    assert "model_quantized.onnx" not in names
    report = json.loads((tmp_path / "onnx/parity.json").read_text())
    assert report["passed"] is False
    assert report["int8"] is None
    # The last attempt left all operators but one in fp32; one with none in int8 would be no int8 file.
    assert len(report["attempts"]) == len(report["ranking"]) == 15
    assert len(report["attempts"][-1]["fp32_nodes"]) == len(report["ranking"]) - 1
    assert Predictor(tmp_path / "onnx")(["The movie was great!"])[0].label == "positive"


def test_the_worst_operators_stay_in_fp32_until_the_gate_passes(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, victim = quantize.write_int8, "/bert/encoder/layer.1/output/dense/MatMul"

    def hurting(fp32: Path, target: Path, nodes_to_exclude: list[str]) -> None:
        """Quantise, and spoil the scale of one operator's weights, which only leaving it in fp32 mends."""
        plain(fp32, target, nodes_to_exclude)
        proto = onnx.load(str(target))
        weights = [node.input[1] for node in proto.graph.node if node.name == f"{victim}_quant"]
        assert bool(weights) is (victim not in nodes_to_exclude)
        for tensor in proto.graph.initializer:
            if weights and tensor.name == weights[0].replace("_quantized", "_scale"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * -50, tensor.name))
        onnx.save(proto, str(target))

    monkeypatch.setattr(quantize, "write_int8", hurting)
    report = export(tiny_run, tmp_path / "onnx")
    assert report.int8 is not None
    assert len(report.attempts) == 2
    assert report.int8.fp32_nodes == [report.ranking[0].node] == [victim]
    assert report.ranking[0].rms_logit_error > 5 * report.ranking[1].rms_logit_error
    assert report.attempts[0].parity[0].label_agreement < INT8_MIN_AGREEMENT


def test_content_is_not_overwritten_unless_asked(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/mine.txt").write_text("x")
    with pytest.raises(OutputError, match="--overwrite"):
        export(tiny_run, tmp_path / "onnx")
    export(tiny_run, tmp_path / "onnx", overwrite=True)
    assert (tmp_path / "onnx/mine.txt").read_text() == "x"
    assert (tmp_path / "onnx/model.onnx").is_file()


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_other_heads_export_and_pass(tiny_model: Callable[[str], Path], tmp_path: Path, problem_type: str) -> None:
    texts = [
        f"The {noun} was {word}" for noun in ("movie", "plot", "cast") for word in ("great", "bad", "fine", "dull")
    ]
    reference = Reference(tiny_model(problem_type))
    labels: list[list[str] | float] = [
        float(row[0]) if problem_type == "regression" else [reference.id2label[c] for c in np.flatnonzero(row > 0)]
        for row in reference.logits(texts)
    ]
    write_held_out(tmp_path / "data.jsonl", zip(texts, labels, strict=True))
    report = export(tiny_model(problem_type), tmp_path / "onnx", data=tmp_path / "data.jsonl")
    assert report.fp32[0].label_agreement == 1
    assert report.fp32[0].accuracy == (None if problem_type == "regression" else 1)
    predictor = Predictor(tmp_path / "onnx/model.onnx")
    np.testing.assert_allclose(predictor.logits(texts), reference.logits(texts), atol=1e-4)


def test_held_out_text_with_other_labels_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    write_held_out(tmp_path / "data.jsonl", [("text", "neutral")])
    with pytest.raises(DataError, match="label 'neutral'; the model has negative, positive"):
        export(tiny_run, tmp_path / "onnx", data=tmp_path / "data.jsonl")
    assert not (tmp_path / "onnx").exists()


def test_another_models_file_fails_against_a_checkpoint(
    tiny_export: Path, tiny_run: Path, tiny_model: Callable[[str], Path]
) -> None:
    untrained = tiny_model("single_label_classification")
    comparison = compare(tiny_export / "model.onnx", untrained, data=tiny_run / "eval.jsonl")
    assert not comparison.passed


def test_a_permuted_label_list_is_caught(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(find_checkpoint(tiny_run), tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    config["id2label"] = {"0": "positive", "1": "negative"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ParityError, match="not the same model"):
        compare(tiny_export, checkpoint, data=tiny_run / "eval.jsonl")
