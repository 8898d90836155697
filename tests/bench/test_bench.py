from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx.bench.engine import EngineSpec, load_onnx, start_engine
from ftx.cli import ftx
from ftx.errors import FtxError, OnnxFileError


def test_the_report_has_every_figure_for_every_engine(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    arguments = [
        "--onnx",
        tiny_export,
        "--against",
        tiny_run,
        "--texts",
        24,
        "--rounds",
        2,
        "--output",
        tmp_path / "out",
    ]
    result = CliRunner().invoke(ftx, ["bench", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out/bench.json").read_text())
    assert (tmp_path / "out/bench.md").read_text() == result.stdout
    names = [engine["name"] for engine in report["engines"]]
    assert names == ["ftx int8", "ftx fp32 (model.onnx)", "PyTorch eager"]
    for engine in report["engines"]:
        latency = engine["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]
        assert engine["texts_per_sec"]["batch_1"] > 0
        assert engine["texts_per_sec"]["batch_32"] > 0
        assert engine["load_ms"] > 0
        assert engine["size_bytes"] > 10_000
        assert engine["label_agreement"] >= 0.99
        assert engine["accuracy"] >= 0.9
        assert engine["name"] in result.stdout
    int8, fp32, pytorch = report["engines"]
    # Each engine's memory is its own: the one with torch holds far more.
    assert pytorch["peak_rss_bytes"] > 2 * int8["peak_rss_bytes"] > 0
    assert int8["size_bytes"] < fp32["size_bytes"]
    assert report["speedup_over_pytorch"]["PyTorch eager"] == {"batch_1": 1.0, "batch_32": 1.0}
    assert report["environment"]["versions"]["torch"]


def test_an_engine_that_cannot_load_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    spec = EngineSpec(name="broken", path=tmp_path / "model.onnx", threads=1, load=load_onnx)
    with pytest.raises(OnnxFileError, match="not an ONNX file"), start_engine(spec):
        pass


def test_an_engine_that_dies_says_so(tiny_export: Path) -> None:
    spec = EngineSpec(name="mortal", path=tiny_export / "model.onnx", threads=1, load=load_onnx)
    with start_engine(spec) as engine:
        child = multiprocessing.active_children()[0]
        child.kill()
        child.join()
        for _ in range(2):  # a broken pipe is no reader that has left
            with pytest.raises(FtxError, match="mortal died while it was measured"):
                engine.batch_sec(["a text"], 1)
