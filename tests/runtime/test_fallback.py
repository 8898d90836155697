"""Texts near the boundary that an fp32 file answers, and texts longer than static int8 was calibrated on."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ftx import Predictor, predict_file
from ftx.cli import ftx
from ftx.errors import OnnxFileError, OutputError
from ftx.manifest import Probe
from ftx.quantization import Quantization
from tests.runtime.conftest import save_words

# Each word moves the logits by 2, so these have margins of 0, 0.96 and 0.
TEXTS = ["good bad", "good", "bad good"]
INT8 = Quantization(kind="dynamic", scheme="dynamic int8")
FP32 = Quantization(kind="none", scheme="fp32")
# The fallback likes every word a little more: its answers can be told apart, and differ near the boundary.
FP32_TABLE = [[0, 0], [-1, 1.1], [1, -0.9]]
LONG = "good " * 5 + "bad"


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    return save_words(tmp_path / "int8.onnx", quantization=INT8, parity={"margin_error": 0.5})


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    return save_words(tmp_path / "fp32.onnx", table=FP32_TABLE, quantization=FP32)


@pytest.mark.parametrize("settings", [{}, {"invariant": True}, {"long_text": "window", "stride": 0}])
def test_texts_near_the_boundary_are_answered_by_the_fallback(int8: Path, fp32: Path, settings: dict[str, Any]) -> None:
    texts = [*TEXTS, "good " * 40, "good bad " * 20] * 2
    both, first, second = Predictor(int8, fallback=fp32, **settings), Predictor(int8), Predictor(fp32, **settings)
    found = both(texts)
    assert [one.fallback for one in found] == [True, False, True, False, True] * 2
    assert all(one.near_boundary is one.fallback for one in found)
    assert found[0].label == second(texts)[0].label != first(texts)[0].label
    alone = Predictor(int8, **settings).predict_proba(texts)
    expected = [(second if one.fallback else alone) for one in found]
    rows = [one.predict_proba(texts)[place] if one is second else one[place] for place, one in enumerate(expected)]
    np.testing.assert_allclose(both.predict_proba(texts), rows, atol=1e-6)
    np.testing.assert_allclose([list(one.scores.values()) for one in found], rows, atol=1e-6)
    if "long_text" not in settings:
        assert both.logits(texts)[0] == pytest.approx(second.logits(texts)[0])
    assert found[0].to_dict()["fallback"] is True
    assert "fallback" not in found[1].to_dict()
    again = pickle.loads(pickle.dumps(both))
    assert again(texts) == found
    both.close()
    with pytest.raises(ValueError, match="closed"):
        both(texts[:1])


def test_a_pickled_predictor_wants_the_same_fallback(int8: Path, fp32: Path) -> None:
    kept = pickle.dumps(Predictor(int8, fallback=fp32))
    save_words(fp32, quantization=FP32)
    with pytest.raises(OnnxFileError, match=r"fp32\.onnx is another file than expected"):
        pickle.loads(kept)


PROBE = Probe(text="good", logits=(-1.0, 1.0), reference=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        ({}, {"quantization": INT8}, "is dynamic int8, expected fp32"),
        ({"parity": {}}, {}, r"int8\.onnx has no margin_error in its manifest"),
        ({}, {"id2label": {0: "a", 1: "b"}}, "its id2label is .*'a'.*, expected .*'negative'"),
        ({}, {"max_length": 8}, "its max_length is 8, expected 16"),
        ({}, {"problem_type": "multi_label_classification"}, "its problem_type is multi_label"),
        ({}, {"text_pair": True}, "its text_pair is True, expected None"),
        ({"probes": (PROBE,)}, {"probes": (replace(PROBE, reference=(0.0, 1.0)),)}, "is of another checkpoint"),
    ],
)
def test_a_fallback_is_the_fp32_file_of_the_same_model(
    tmp_path: Path, own: dict[str, Any], other: dict[str, Any], said: str
) -> None:
    first = save_words(tmp_path / "int8.onnx", **{"quantization": INT8, "parity": {"margin_error": 0.5}, **own})
    second = save_words(tmp_path / "fp32.onnx", **{"quantization": FP32, **other})
    done = CliRunner().invoke(ftx, ["predict", "--onnx", str(first), "--fallback", str(second), "good"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(OnnxFileError, match=said):
        Predictor(first, fallback=second)


def test_a_fallback_has_the_same_tokenizer(int8: Path, tmp_path: Path) -> None:
    labels = {"0": "negative", "1": "positive"}
    config = {"id2label": labels, "max_position_embeddings": 16, "pad_token_id": 0, "model_type": "bert"}
    (tmp_path / "other").mkdir()
    other = save_words(tmp_path / "other" / "model.onnx", table=FP32_TABLE, siblings=config)
    assert Predictor(int8, fallback=other.parent)(TEXTS)[0].fallback
    tokenizer = other.with_name("tokenizer.json")
    tokenizer.write_text(tokenizer.read_text().replace('"good"', '"fine"'))
    with pytest.raises(OnnxFileError, match=r"model\.onnx has another tokenizer than .*int8\.onnx"):
        Predictor(int8, fallback=other)
    with pytest.raises(OnnxFileError, match=r"holds no model_quantized\.onnx"):
        Predictor(int8, fallback=int8.parent)


def test_an_export_is_a_cascade(tiny_export: Path) -> None:
    both = Predictor(tiny_export / "model_quantized.onnx", fallback=tiny_export / "model.onnx")
    texts = ["The movie was great!", "The plot was dull but the cast was lovely!"]
    assert [one.fallback for one in both(texts)] == [one.near_boundary for one in Predictor(both.path)(texts)]


def test_the_commands(int8: Path, fp32: Path, tmp_path: Path) -> None:
    both = ["predict", "--onnx", str(int8), "--fallback", str(fp32)]
    done = CliRunner().invoke(ftx, [*both, "--json", *TEXTS])
    assert [json.loads(line).get("fallback") for line in done.stdout.splitlines()] == [True, None, True]
    piped = CliRunner().invoke(ftx, [*both, "--json"], input="\n".join(TEXTS))
    assert piped.stdout == done.stdout
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(TEXTS) + "\n")
    job = CliRunner().invoke(ftx, [*both, "--input", str(source), "--output", str(tmp_path / "out.jsonl")])
    assert job.exit_code == 0, job.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["predicted_near_boundary"] for row in rows] == [True, False, True]
    assert [row["predicted_label"] for row in rows] == [one.label for one in Predictor(int8, fallback=fp32)(TEXTS)]


def test_a_job_is_resumed_with_its_fallback_only(int8: Path, fp32: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    source.write_text("\n".join(TEXTS * 4) + "\n")

    def stop(_: object) -> None:
        raise RuntimeError

    def run(predictor: Predictor, *, on_chunk: Any = None) -> None:
        predict_file(predictor, source, target, chunk_rows=3, resume=True, on_chunk=on_chunk)

    with pytest.raises(RuntimeError):
        predict_file(Predictor(int8, fallback=fp32), source, target, chunk_rows=3, on_chunk=stop)
    other = save_words(tmp_path / "other.onnx", table=[[0, 0], [-1, 1], [1.2, -1]], quantization=FP32)
    for predictor in (Predictor(int8), Predictor(int8, fallback=other)):
        with pytest.raises(OutputError, match="another model: fallback_sha256 was"):
            run(predictor)
    moved = shutil.copy(fp32, tmp_path / "moved.onnx")  # the same file elsewhere
    run(Predictor(int8, fallback=moved))
    labels = [json.loads(line)["predicted_label"] for line in target.read_text().splitlines()]
    assert labels == [one.label for one in Predictor(int8, fallback=fp32)(TEXTS)] * 4


def test_text_beyond_calibration_is_named(tmp_path: Path) -> None:
    static = replace(INT8, kind="static", scheme="static int8", calibrated_tokens=4)
    path = save_words(tmp_path / "static.onnx", quantization=static, parity={"margin_error": 0.1})
    texts = ["good", "good good bad bad", LONG]
    assert [one.beyond_calibration for one in Predictor(path)(texts)] == [False, False, True]
    done = CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--json", *texts])
    assert [json.loads(line).get("beyond_calibration") for line in done.stdout.splitlines()] == [None, None, True]
    [notice] = done.stderr.splitlines()
    assert "1 text is longer than the 4 tokens" in notice
    # In windows of that length nothing is.
    [pooled] = Predictor(path, long_text="window", stride=0)([LONG])
    assert (pooled.windows, pooled.beyond_calibration) == (2, False)
    with pytest.raises(ValueError, match="stride 4, expected from 0 to 3"):
        Predictor(path, long_text="window", stride=4)
    # The fallback reads any length.
    fp32 = save_words(tmp_path / "fp32.onnx", quantization=FP32)
    near = "good bad " * 3
    assert [one.beyond_calibration for one in Predictor(path, fallback=fp32)([near, LONG])] == [False, True]
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(texts) + "\n")
    job = CliRunner().invoke(
        ftx, ["predict", "--onnx", str(path), "--input", str(source), "--output", str(tmp_path / "o.csv")]
    )
    assert "1 text is longer than the 4 tokens" in job.stderr
    header, *rows = (tmp_path / "o.csv").read_text().splitlines()
    assert header.endswith(",predicted_beyond_calibration")
    assert [row.rpartition(",")[2].lower() for row in rows] == ["false", "false", "true"]
    for quantization in (replace(static, kind="dynamic"), replace(static, calibrated_tokens=16)):
        free = save_words(tmp_path / "free.onnx", quantization=quantization)
        assert not Predictor(free)([LONG])[0].beyond_calibration
