"""The clients that people have: tritonclient and huggingface_hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import review_rows
from tests.runtime.server.serving import WAIT_SEC, Running, serve

TEXTS = [*[text for text, _ in review_rows()][::5], "", "電影", "Ünï ☃ 🎬 " * 20]


@pytest.fixture
def triton(tiny: Running) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http", reason="the extra clients is not installed")
    client = http.InferenceServerClient(tiny.url.removeprefix("http://"), connection_timeout=WAIT_SEC)
    yield client
    client.close()


def test_triton_reads_health_and_metadata(tiny: Running, triton: Any) -> None:
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready(tiny.name)
    assert triton.is_model_ready(tiny.name, "1") and not triton.is_model_ready(tiny.name, "2")
    assert not triton.is_model_ready("other")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    metadata = triton.get_model_metadata(tiny.name)
    assert metadata["name"] == tiny.name and metadata["inputs"][0]["datatype"] == "BYTES"


@pytest.mark.parametrize("sends_binary", [True, False])
@pytest.mark.parametrize("asks", [None, True, False], ids=["all outputs", "binary", "JSON"])
def test_triton_infers(tiny: Running, triton: Any, sends_binary: bool, asks: bool | None) -> None:
    http = pytest.importorskip("tritonclient.http")
    tensor = http.InferInput("text", [len(TEXTS), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text] for text in TEXTS], dtype=object), binary_data=sends_binary)
    outputs = None
    if asks is not None:
        names = ("logits", "probabilities", "label")
        outputs = [http.InferRequestedOutput(name, binary_data=asks) for name in names]
    found = triton.infer(tiny.name, [tensor], request_id="7", outputs=outputs, timeout=60_000_000)
    assert found.get_response()["id"] == "7"
    wanted = tiny.predictor(TEXTS)
    assert found.as_numpy("logits").dtype == np.float32
    np.testing.assert_allclose(found.as_numpy("logits"), tiny.predictor.logits(TEXTS), atol=1e-5)
    np.testing.assert_allclose(found.as_numpy("probabilities"), tiny.predictor.predict_proba(TEXTS), atol=1e-5)
    labels = [one.decode() if isinstance(one, bytes) else one for one in found.as_numpy("label")]
    assert labels == [one.label for one in wanted]


def test_triton_asks_for_classes(tiny: Running, triton: Any) -> None:
    http = pytest.importorskip("tritonclient.http")
    tensor = http.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array(["The movie was great!"], dtype=object))
    found = triton.infer(tiny.name, [tensor], outputs=[http.InferRequestedOutput("probabilities", class_count=2)])
    best = found.as_numpy("probabilities")[0]
    score, index, label = best[0].decode().split(":")
    [wanted] = tiny.predictor(["The movie was great!"])
    assert label == wanted.label == tiny.predictor.manifest.labels[int(index)]
    assert float(score) == pytest.approx(wanted.score, abs=1e-5)


def test_triton_is_told_what_is_wrong(tiny: Running, triton: Any) -> None:
    http, utils = pytest.importorskip("tritonclient.http"), pytest.importorskip("tritonclient.utils")
    numbers = http.InferInput("text", [1], "FP32")
    numbers.set_data_from_numpy(np.array([1.0], dtype=np.float32))
    with pytest.raises(utils.InferenceServerException, match="FP32"):
        triton.infer(tiny.name, [numbers])
    text = http.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["good"], dtype=object))
    with pytest.raises(utils.InferenceServerException, match="no model 'other'"):
        triton.infer("other", [text])
    compressed = pytest.raises(utils.InferenceServerException, match="compressed")
    with compressed:
        triton.infer(tiny.name, [text], request_compression_algorithm="gzip")


@pytest.fixture
def hub() -> Iterator[Any]:
    found = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    requests = pytest.importorskip("requests")
    found.configure_http_backend(requests.Session)  # the tests are offline, but for the loopback
    yield found
    found.configure_http_backend()


@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none"])
def test_hugging_face(tiny: Running, hub: Any, function: Any) -> None:
    client = hub.InferenceClient(tiny.url, timeout=WAIT_SEC)
    for text in TEXTS[:5]:
        found = client.text_classification(text, top_k=1, function_to_apply=function)
        [wanted] = tiny.predictor([text])
        assert [one.label for one in found] == [wanted.label]
        if function in (None, "softmax"):
            assert found[0].score == pytest.approx(wanted.score, abs=1e-5)


def test_hugging_face_gives_all_labels(head: Callable[[str], Running], hub: Any) -> None:
    server = head("multi")
    found = hub.InferenceClient(server.url, timeout=WAIT_SEC).text_classification("good")
    [wanted] = server.predictor(["good"])
    assert {one.label: one.score for one in found} == wanted.scores


def test_hugging_face_sends_a_token(heads: dict[str, Path], hub: Any) -> None:
    with serve(heads["single"], token="secret") as server:
        client = hub.InferenceClient(server.url, token="secret", timeout=WAIT_SEC)
        assert client.text_classification("good")[0].label == "positive"
