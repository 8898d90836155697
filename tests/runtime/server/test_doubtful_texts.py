"""Texts near the boundary that the fp32 file answers, and texts longer than static int8 was calibrated on, served."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from ftx import Predictor
from ftx.errors import OnnxFileError
from ftx.manifest import Probe
from ftx.quantization import Quantization
from ftx.runtime.server import ServeSettings, app
from tests.runtime.conftest import save_words

# Each word moves the logits by 2, so these have margins of 0, 0.96 and 0.
TEXTS = ["good bad", "good", "bad good"]
INT8 = Quantization(kind="dynamic", scheme="dynamic int8")
FP32 = Quantization(kind="none", scheme="fp32")
FP32_TABLE = [[0, 0], [-1, 1.1], [1, -0.9]]
# The second lies near the boundary: it is the fallback that answers it, with PyTorch's logits.
PROBES = (
    Probe(text="good", logits=(-1.0, 1.0), reference=(-1.0, 1.1)),
    Probe(text="good bad", logits=(0.0, 0.0), reference=(0.0, 0.2)),
)


def ask(served: Starlette, method: str, path: str, **options: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    return asyncio.run(call())


@pytest.mark.parametrize("settings", [{}, {"invariant": True}, {"long_text": "window"}])
def test_a_server_with_a_fallback_predicts_as_the_predictor_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    int8 = save_words(tmp_path / "int8.onnx", quantization=INT8, parity={"margin_error": 0.5}, probes=PROBES)
    fp32 = save_words(tmp_path / "fp32.onnx", table=FP32_TABLE, quantization=FP32, probes=PROBES)
    served = app(int8, ServeSettings(fallback=fp32, **settings))
    texts = [*TEXTS, "good " * 40, "good bad " * 20]
    expected = [one.to_dict() for one in Predictor(int8, fallback=fp32, **settings)(texts)]
    assert [one.get("fallback", False) for one in expected] == [True, False, True, False, True]
    found = ask(served, "POST", "/predict", json={"texts": texts}).json()
    assert [one.keys() for one in found] == [one.keys() for one in expected]
    for one, its in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(its["scores"])
        assert (one["label"], one["near_boundary"]) == (its["label"], its["near_boundary"])
    assert ask(served, "GET", "/v2/health/ready").status_code == 200
    assert 'ftx_fallback_texts_total{model="int8"} 3.0' in ask(served, "GET", "/metrics").text


def test_a_fallback_that_does_not_give_pytorchs_logits_is_not_served(tmp_path: Path) -> None:
    int8 = save_words(tmp_path / "int8.onnx", quantization=INT8, parity={"margin_error": 0.5}, probes=PROBES)
    wrong = save_words(tmp_path / "fp32.onnx", quantization=FP32)
    with pytest.raises(OnnxFileError, match="does not reproduce its golden probes"):
        app(int8, ServeSettings(fallback=wrong))


def test_several_models_have_no_common_fallback(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        save_words(tmp_path / "models" / name / "model.onnx", quantization=INT8, parity={"margin_error": 0.5})
    fp32 = save_words(tmp_path / "fp32.onnx", quantization=FP32)
    with pytest.raises(OnnxFileError, match="has 2 models, expected one"):
        app(tmp_path / "models", ServeSettings(fallback=fp32))


def test_texts_beyond_the_calibration_are_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    static = Quantization(kind="static", scheme="static int8", calibrated_tokens=5)
    served = app(save_words(tmp_path / "int8.onnx", quantization=static))
    with caplog.at_level(logging.WARNING, "ftx.server"):
        for _ in range(2):
            found = ask(served, "POST", "/predict", json={"texts": ["good", "good " * 6]}).json()
            assert [one.get("beyond_calibration") for one in found] == [None, True]
    assert [one.message.partition(", so")[0] for one in caplog.records] == [
        "int8 gets texts of more than the 5 tokens that its int8 was calibrated on"
    ]
    assert 'ftx_beyond_calibration_texts_total{model="int8"} 2.0' in ask(served, "GET", "/metrics").text
