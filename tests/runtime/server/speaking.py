"""What a client says in each dialect, and how it reads the answer: the same texts, the same form for all."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

__all__ = ["DIALECTS", "Row", "binary_request", "read_binary"]

# Of a text: its label or labels (None: not told), and the probability or value by label name.
Row = tuple[Any, dict[str, float]]
Ask = Callable[[httpx.Client, str, list[Any], list[str]], list[Row]]


def post(client: httpx.Client, path: str, body: Any, **options: Any) -> Any:
    response = client.post(path, json=body, **options)
    assert response.status_code == 200, response.text
    return response.json()


def predictions(found: list[dict[str, Any]], labels: list[str]) -> list[Row]:
    return [
        (one.get("label", one.get("labels")), one["scores"] if "scores" in one else {labels[0]: one["value"]})
        for one in found
    ]


def ranked(found: list[list[dict[str, Any]]]) -> list[Row]:
    for row in found:
        scores = [one["score"] for one in row]
        assert scores == sorted(scores, reverse=True)
    return [(None, {one["label"]: one["score"] for one in row}) for row in found]


def ours(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    return predictions(post(client, "/predict", {"texts": texts, "model": name}), labels)


def tei(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    rows = [[text] if isinstance(text, str) else list(text) for text in texts]
    found = post(client, "/predict", {"inputs": rows, "truncate": True})
    first = texts[0] if isinstance(texts[0], str) else list(texts[0])
    assert post(client, "/predict", {"inputs": first}) == found[0]
    return ranked(found)


def hugging_face(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    inputs = [text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]} for text in texts]
    assert post(client, "/", {"inputs": inputs[0]}) == post(client, "/", {"inputs": inputs[:1]})
    return ranked(post(client, "/", {"inputs": inputs}))


def classify(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    found = post(client, "/v1/classify", {"input": texts, "model": "any"})
    assert found["object"] == "list" and found["model"] == name and found["usage"]["prompt_tokens"] >= len(texts)
    assert [one["index"] for one in found["data"]] == list(range(len(texts)))
    assert {one["num_classes"] for one in found["data"]} == {len(labels)}
    return [(one["label"], dict(zip(labels, one["probs"], strict=True))) for one in found["data"]]


def v1(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    found = post(client, f"/v1/models/{name}:predict", {"instances": texts})
    assert found == post(client, f"/v1/models/{name}:predict", {"inputs": texts})
    return predictions(found["predictions"], labels)


def flat(texts: list[Any]) -> list[str]:
    return [part for text in texts for part in ([text] if isinstance(text, str) else text)]


def shape(texts: list[Any]) -> list[int]:
    return [len(texts), 1 if isinstance(texts[0], str) else 2]


def v2(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    tensor = {"name": "any", "shape": shape(texts), "datatype": "BYTES", "data": flat(texts)}
    found = post(client, f"/v2/models/{name}/infer", {"id": "7", "inputs": [tensor]})
    assert (found["model_name"], found["model_version"], found["id"]) == (name, "1", "7")
    return rows({one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in found["outputs"]}, labels)


def rows(tensors: dict[str, Any], labels: list[str]) -> list[Row]:
    values = tensors["probabilities"]
    said = tensors["label"].tolist() if "label" in tensors else [None] * len(values)
    return [(label, dict(zip(labels, row.tolist(), strict=True))) for label, row in zip(said, values, strict=True)]


def v2_binary(client: httpx.Client, name: str, texts: list[Any], labels: list[str]) -> list[Row]:
    body, headers = binary_request(flat(texts), shape(texts), {"parameters": {"binary_data_output": True}})
    response = client.post(f"/v2/models/{name}/infer", content=body, headers=headers)
    assert response.status_code == 200, response.text
    return rows(read_binary(response), labels)


def binary_request(texts: list[str], shape: list[int], more: Any) -> tuple[bytes, dict[str, str]]:
    """Make a request of the binary extension, and its headers."""
    data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    tensor = {"name": "any", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    header = json.dumps({"inputs": [tensor], **more}).encode()
    return header + data, {"Inference-Header-Content-Length": str(len(header))}


def read_binary(response: httpx.Response) -> dict[str, Any]:
    """Read the tensors of a response, all of them behind the JSON."""
    size = int(response.headers["inference-header-content-length"])
    place, found = size, {}
    for one in json.loads(response.content[:size])["outputs"]:
        data = response.content[place : place + one["parameters"]["binary_data_size"]]
        place += len(data)
        if one["datatype"] == "FP32":
            values: Any = np.frombuffer(data, "<f4")
        else:
            strings = []
            while data:
                end = 4 + struct.unpack("<I", data[:4])[0]
                strings.append(data[4:end].decode())
                data = data[end:]
            values = np.array(strings, dtype=object)
        found[one["name"]] = values.reshape(one["shape"])
    assert place == len(response.content)
    return found


DIALECTS: dict[str, Ask] = {
    "ours": ours, "tei": tei, "hugging_face": hugging_face, "classify": classify, "v1": v1, "v2": v2,
    "v2_binary": v2_binary,
}  # fmt: skip
