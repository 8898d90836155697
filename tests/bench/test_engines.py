"""Every engine, on a real model."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftx.bench.apart import run_apart
from ftx.bench.engine import EngineSpec, start_engine
from ftx.bench.engines import pytorch, sentence_transformers
from ftx.bench.engines.kind import Sources
from ftx.text import Text

pytestmark = pytest.mark.slow


def test_every_engine_runs_once(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    # With byte code: all its processes import the same large packages.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "byte_code")
    command = [sys.executable, "-m", "ftx", "bench", "--onnx", str(tiny_export), "--against", str(tiny_run)]
    options = ["--texts", "8", "--rounds", "1", "--peers", "--workload", "training", "--quick", "--json"]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    ran = {engine["name"]: engine for engine in report["engines"]}
    # What does not fit the model or the CPU, or is not installed, says so; nothing else is left out.
    fits = "reads pairs of texts|does not compute in bf16"
    for name, reason in report["left_out"].items():
        missing = "" if os.environ.get("FTX_REQUIRE_EXTRAS") else "|No module named"
        assert re.search(fits + missing, reason), (name, reason)
    int8, both = ran["ftx int8"], ran["ftx int8 with fallback"]
    assert both["size_bytes"] == int8["size_bytes"] + ran["ftx fp32 (model.onnx)"]["size_bytes"]
    assert both["label_agreement"] >= int8["label_agreement"]
    for name in ("PyTorch, dynamic int8", "transformers pipeline", "Optimum ORTModel fp32", "onnxruntime fp32, bare"):
        assert ran[name]["label_agreement"] > 0.9, name
    for name in ("OpenVINO fp32", "OpenVINO int8 (NNCF)", "CTranslate2 int8"):
        assert name not in ran or ran[name]["label_agreement"] > 0.9, name
    assert ran["transformers pipeline"]["max_abs_prob_diff"] < 1e-4
    assert report["training"]["rows_per_sec"] > 0


@pytest.mark.skipif(not importlib.util.find_spec("sentence_transformers"), reason="needs sentence-transformers")
def test_sentence_transformers_reads_pairs_as_pytorch_does(tiny_run: Path, tmp_path: Path) -> None:
    pairs: list[Text] = [("The movie was great!", "The plot was dull!"), ("The cast was poor!", "The music was fine!")]
    sources = Sources(onnx=tmp_path, checkpoint=tiny_run / "checkpoint", work=tmp_path, threads=1, calibration=pairs)
    run_apart("preparing", sentence_transformers.prepare, sources)
    its = EngineSpec(name="its", path=tmp_path / "model.onnx", threads=1, load=sentence_transformers.load)
    reference = EngineSpec(name="reference", path=sources.checkpoint, threads=1, load=pytorch.load)
    with start_engine(its) as engine, start_engine(reference) as torch:
        assert engine.logits(pairs, 2) == pytest.approx(torch.logits(pairs, 2), abs=1e-4)
