from __future__ import annotations

import json
import multiprocessing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx.bench.engine import Engine, EngineSpec, start_engine
from ftx.bench.engines.ftx import load
from ftx.bench.noise import Calibration
from ftx.bench.timing import time_engines
from ftx.cli import ftx
from ftx.errors import FtxError, OnnxFileError
from ftx.text import Text


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
        "--quick",
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
    assert report["rounds"] == 2
    assert not report["interrupted"]
    assert len(report["calibration_sec"]) == 2 * len(names) + 1  # before, between and after the turns
    for engine in report["engines"]:
        assert [len(some) for some in engine["samples"]["latencies_ms"]] == [12, 12]
        assert engine["latency_ms"]["max"] == max(map(max, engine["samples"]["latencies_ms"]))
        assert engine["latency_interval_ms"]["p99"] is None  # of 24 samples
        low, high = engine["latency_interval_ms"]["p50"]
        assert low <= engine["latency_ms"]["p50"] <= high
        low, high = report["speedup_interval"][engine["name"]]["batch_32"]
        assert low <= report["speedup_over_pytorch"][engine["name"]]["batch_32"] <= high
    assert f"{report['speedup_over_pytorch']['ftx int8']['batch_32']:.2f} times as many texts" in result.stdout


@pytest.mark.parametrize("complete", [0, 2])
def test_ctrl_c_keeps_the_complete_rounds(tiny_export: Path, monkeypatch: pytest.MonkeyPatch, complete: int) -> None:
    batches = iter(range(2 * complete + 1))

    def batch_sec(engine: Engine, texts: list[Text], batch_size: int, least_sec: float) -> float:
        if (number := next(batches)) == 2 * complete:
            raise KeyboardInterrupt
        return float(number + 1)

    monkeypatch.setattr(Engine, "batch_sec", batch_sec)
    spec = EngineSpec(name="one", path=tiny_export / "model.onnx", threads=1, load=load)
    with start_engine(spec) as engine:
        measure = partial(time_engines, [engine, engine], ["a text"], Calibration(), batch_size=1, rounds=5)
        if not complete:
            with pytest.raises(KeyboardInterrupt):
                measure()
            return
        timings, interrupted = measure()
    assert interrupted
    # The second engine begins the second round.
    assert [timing.batch_sec.tolist() for timing in timings] == [[1, 4], [2, 3]]
    assert all(timing.latencies_ms.shape == (2, 1) for timing in timings)


def test_an_engine_that_cannot_load_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    spec = EngineSpec(name="broken", path=tmp_path / "model.onnx", threads=1, load=load)
    with pytest.raises(OnnxFileError, match="not an ONNX file"), start_engine(spec):
        pass


def test_an_engine_that_dies_says_so(tiny_export: Path) -> None:
    spec = EngineSpec(name="mortal", path=tiny_export / "model.onnx", threads=1, load=load)
    with start_engine(spec) as engine:
        child = multiprocessing.active_children()[0]
        child.kill()
        child.join()
        for _ in range(2):  # a broken pipe is no reader that has left
            with pytest.raises(FtxError, match="mortal died while it was measured"):
                engine.batch_sec(["a text"], 1)
