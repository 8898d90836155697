"""Each dialect gives what `Predictor` gives: for each head, alone, and to many clients at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ftx import Predictor
from tests.conftest import review_rows
from tests.runtime.server.serving import Running, serve
from tests.runtime.server.speaking import DIALECTS, Row, binary_request, read_binary

TEXTS = [*[text for text, _ in review_rows()][::3], "", "電影 great", "a\x00b", "The " * 100, "Ünï ☃ 🎬"]
WORDS = ["good", "bad", "good good bad", "", "who knows"]
PAIRS = [("good", "bad"), ("good", "good"), ("", "bad bad")]


def expected(predictor: Predictor, texts: list[Any]) -> list[Row]:
    labels = predictor.manifest.labels
    found = []
    for one in predictor(texts):
        said = one.label if one.labels is None else one.labels
        found.append((said, one.scores if one.value is None else {labels[0]: one.value}))
    return found


def check(found: list[Row], wanted: list[Row], *, exact: bool) -> None:
    assert len(found) == len(wanted)
    for (said, scores), (label, probabilities) in zip(found, wanted, strict=True):
        assert said in (None, label, "|".join(label) if isinstance(label, list) else label)
        assert set(scores) == set(probabilities)
        for name, value in probabilities.items():
            given = float(np.float32(scores[name]))
            assert given == value if exact else given == pytest.approx(value, abs=1e-5), (name, given, value)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("file", "invariant"), [("model.onnx", False), ("model_quantized.onnx", True)], ids=["fp32", "int8 invariant"]
)
def test_alone_and_by_32_clients_at_once(tiny_export: Path, dialect: str, file: str, invariant: bool) -> None:
    predictor = Predictor(tiny_export / file, invariant=invariant)
    wanted = expected(predictor, TEXTS)
    with serve(tiny_export / file, invariant=invariant) as server, server.client() as client:
        ask, labels = DIALECTS[dialect], predictor.manifest.labels
        check(ask(client, server.name, TEXTS, labels), wanted, exact=invariant)

        def one(number: int) -> None:
            with server.client() as own:
                for turn in range(3):
                    place = (number + 7 * turn) % len(TEXTS)
                    part = slice(place, place + 1 + number % 5)
                    check(ask(own, server.name, TEXTS[part], labels), wanted[part], exact=invariant)

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(32)))
        assert server.log == []
    predictor.close()


def test_with_invariant_no_answer_of_a_dynamic_file_depends_on_its_batch(dynamic: Path) -> None:
    texts = [text + " and dull" * (place % 5) for place, text in enumerate(TEXTS)]
    with Predictor(dynamic, batch_size=1) as predictor:
        wanted = expected(predictor, texts)
        labels = predictor.manifest.labels
    rest = list(range(len(texts)))
    with serve(dynamic, invariant=True) as server, server.client() as client:
        assert server.predictor.alone

        def one(number: int) -> None:
            chosen = random.Random(number).sample(rest, 1 + number % len(rest))
            check(DIALECTS["ours"](client, server.name, [texts[row] for row in chosen], labels),
                  [wanted[row] for row in chosen], exact=True)  # fmt: skip

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(128)))
    # Without it they do, or nothing was shown.
    with serve(dynamic) as server, server.client() as client, pytest.raises(AssertionError):
        check(DIALECTS["ours"](client, server.name, texts, labels), wanted, exact=True)


@pytest.mark.parametrize(
    ("dialect", "name"),
    # vLLM's dialect has no pairs.
    [pair for pair in product(DIALECTS, ["single", "multi", "regression", "pair"]) if pair != ("classify", "pair")],
)
def test_every_head(head: Callable[[str], Running], dialect: str, name: str) -> None:
    server = head(name)
    texts = PAIRS if name == "pair" else WORDS
    with server.client() as client:
        found = DIALECTS[dialect](client, server.name, texts, server.predictor.manifest.labels)
    check(found, expected(server.predictor, texts), exact=True)


def test_multi_label_thresholds(head: Callable[[str], Running]) -> None:
    with head("multi").client() as client:
        [found] = client.post("/predict", json={"texts": ["good"]}).json()
        assert found["labels"] == ["negative"]  # at 0.27, its threshold is 0.2; positive at 0.73 misses 0.9
        assert found["scores"]["negative"] + found["scores"]["positive"] == pytest.approx(1.0)
        [found] = client.post("/predict", json={"texts": ["good bad"]}).json()
        assert found["scores"] == {"negative": 0.5, "positive": 0.5}


def test_text_embeddings_inference(head: Callable[[str], Running], tiny: Running) -> None:
    with head("single").client() as client:
        assert client.post("/predict", json={"inputs": ["good"]}).json()[0]["label"] == "positive"
        raw = client.post("/predict", json={"inputs": "good", "raw_scores": True}).json()
        assert raw == [{"score": 1.0, "label": "positive"}, {"score": -1.0, "label": "negative"}]
        empty = client.post("/predict", json={"inputs": []})
        assert (empty.status_code, empty.json()["error_type"]) == (400, "Empty")
    with tiny.client() as client:
        long = client.post("/predict", json={"inputs": "movie " * 100, "truncate": False})
        assert (long.status_code, long.json()["error_type"]) == (422, "Validation")
        assert "32 tokens" in long.json()["error"]
        assert client.post("/predict", json={"inputs": "movie " * 100}).status_code == 200
        info = client.get("/info").json()
        assert info["models"][0]["max_length"] == info["max_input_length"] == 32
        assert info["model_type"]["classifier"]["label2id"] == {"negative": 0, "positive": 1}


def test_hugging_face(head: Callable[[str], Running]) -> None:
    with head("single").client() as client:
        [[best]] = client.post("/", json={"inputs": "good", "parameters": {"top_k": 1}}).json()
        assert best == {"label": "positive", "score": pytest.approx(0.8808, abs=1e-4)}
        for function, score in (("sigmoid", 0.7311), ("softmax", 0.8808), ("none", 1.0)):
            [found] = client.post("/", json={"inputs": ["good"], "parameters": {"function_to_apply": function}}).json()
            assert found[0]["score"] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(("shape", "data"), [([], ["good"]), ([1], ["good"]), ([1, 1], [["good"]])])
@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_v2_shapes_and_paths(
    head: Callable[[str], Running], shape: list[int], data: Any, end: str, version: str
) -> None:
    server = head("single")
    path = f"/v2/models/{server.name}{version}"
    with server.client() as client:
        tensor = {"name": "x", "shape": shape, "datatype": "BYTES", "data": data}
        found = client.post(f"{path}/infer{end}", json={"inputs": [tensor]}).json()
        assert [one["name"] for one in found["outputs"]] == ["logits", "probabilities", "label"]
        assert [one["shape"] for one in found["outputs"]] == [[1, 2], [1, 2], [1]]
        assert found["outputs"][2]["data"] == ["positive"]
        assert "id" not in found
        ready = client.get(f"{path}/ready{end}")
        assert (ready.status_code, ready.json()) == (200, {"name": server.name, "ready": True})
        metadata = client.get(path + end).json()
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
        assert [(one["name"], one["datatype"], one["shape"]) for one in metadata["outputs"]] == [
            ("logits", "FP32", [-1, 2]), ("probabilities", "FP32", [-1, 2]), ("label", "BYTES", [-1]),
        ]  # fmt: skip
        assert metadata["versions"] == ["1"]


def test_v2_no_texts(head: Callable[[str], Running]) -> None:
    server = head("single")
    with server.client() as client:
        for shape in ([0], [0, 1]):
            body, headers = binary_request([], shape, {"parameters": {"binary_data_output": True}})
            response = client.post(f"/v2/models/{server.name}/infer", content=body, headers=headers)
            tensors = read_binary(response)
            assert {name: its.shape for name, its in tensors.items()} == {
                "logits": (0, 2), "probabilities": (0, 2), "label": (0,),
            }  # fmt: skip


def test_v2_outputs_that_are_asked_for(head: Callable[[str], Running]) -> None:
    server = head("single")
    tensor = {"name": "x", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}

    def ask(*outputs: Any, **more: Any) -> httpx.Response:
        return client.post(f"/v2/models/{server.name}/infer", json={"inputs": [tensor], "outputs": outputs, **more})

    with server.client() as client:
        found = ask({"name": "label"}, {"name": "logits"}).json()["outputs"]
        assert found == [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["positive", "negative"]},
            {"name": "logits", "datatype": "FP32", "shape": [2, 2], "data": [-1.0, 1.0, 1.0, -1.0]},
        ]
        [found] = ask({"name": "logits", "parameters": {"classification": 1}}).json()["outputs"]
        assert found == {
            "name": "logits", "datatype": "BYTES", "shape": [2, 1],
            "data": ["1.000000:1:positive", "1.000000:0:negative"],
        }  # fmt: skip
        [found] = ask({"name": "logits", "parameters": {"classification": 99}}).json()["outputs"]
        assert found["shape"] == [2, 2]
        binary = read_binary(ask({"name": "logits", "parameters": {"classification": 2, "binary_data": True}}))
        assert binary["logits"].tolist()[0] == ["1.000000:1:positive", "-1.000000:0:negative"]
        mixed = ask({"name": "label", "parameters": {"binary_data": False}}, {"name": "logits"},
                    parameters={"binary_data_output": True})  # fmt: skip
        assert mixed.headers["content-type"] == "application/octet-stream"
        assert b'"data":["positive","negative"]' in mixed.content
        assert ask({"name": "other"}).status_code == 422


def test_server_and_health(head: Callable[[str], Running]) -> None:
    server = head("single")
    with server.client() as client:
        assert client.get("/v2").json() == client.get("/v2/").json() == {
            "name": "ftx", "version": "2", "extensions": ["binary_tensor_data", "classification"],
        }  # fmt: skip
        for path in ("/health", "/health/ready", "/v2/health/ready"):
            assert client.get(path).json() == {"live": True, "ready": True}
        for path in ("/health/live", "/v2/health/live"):
            assert client.get(path).json() == {"live": True}
        assert client.get("/").json() == {"status": "alive"}  # what no browser asks, as KServe's first protocol has it
        assert client.get("/v1/models").json() == {"models": [server.name]}
        assert client.get(f"/v1/models/{server.name}").json() == {"name": server.name, "ready": True}
        assert client.head("/health").status_code == 200


def test_a_text_whose_logits_are_not_finite_is_an_error_of_its_request(head: Callable[[str], Running]) -> None:
    with head("single").client() as client:
        for path, body in (
            ("/predict", {"texts": ["good", "nan"]}), ("/", {"inputs": "inf"}), ("/classify", {"input": "nan"}),
        ):  # fmt: skip
            response = client.post(path, json=body)
            assert response.status_code == 500 and "not finite" in response.text
        assert client.post("/predict", json={"texts": ["good"]}).json()[0]["label"] == "positive"
        answer = client.post("/predict", json={"inputs": "nan"})
        assert answer.json()["error_type"] == "Backend"


def test_a_deadline_that_passed(tiny: Running) -> None:
    tensor = {"name": "x", "shape": [1000], "datatype": "BYTES", "data": ["movie " * 30] * 1000}
    path = f"/v2/models/{tiny.name}/infer"
    with tiny.client() as client:
        for headers, parameters in (({"X-Request-Timeout-Ms": "0.001"}, None), ({}, {"timeout": 1})):
            response = client.post(path, json={"inputs": [tensor], "parameters": parameters}, headers=headers)
            assert response.status_code == 504, response.text
        ok = client.post(path, json={"inputs": [tensor], "parameters": {"timeout": 0}})
        assert ok.status_code == 200
