"""`/v2`: the Open Inference Protocol, which clients of KServe, MLServer and Triton speak."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from ftx.runtime.server.dialects.http import Dialect, Endpoint, decode, json_response
from ftx.runtime.server.dialects.messages import (
    InferBody,
    Inference,
    Input,
    Live,
    Metadata,
    ModelReady,
    Output,
    OutputName,
    OutputParameters,
    OutputTensor,
    Server,
    ServerReady,
)
from ftx.runtime.server.dialects.tensors import HEADER_LENGTH, read_strings, write_strings
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.models import Model
from ftx.runtime.server.service import Answered, Service

__all__ = ["DIALECT", "endpoints"]

DIALECT = Dialect(name="v2")
EXTENSIONS = ["binary_tensor_data", "classification"]


def endpoints() -> list[Endpoint]:
    """Return the endpoints, each with and without a trailing slash."""
    found = [
        Endpoint(dialect=DIALECT, path="/v2", handle=server, answer=(Server,), summary="Server metadata"),
        Endpoint(
            dialect=DIALECT, path="/v2/health/live", handle=live, answer=(Live,), guard="none",
            summary="Liveness",
        ),
        Endpoint(
            dialect=DIALECT, path="/v2/health/ready", handle=server_ready, answer=(ServerReady,), guard="none",
            summary="Readiness: every model answers its golden probe",
        ),
    ]  # fmt: skip
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            Endpoint(dialect=DIALECT, path=path, handle=metadata, answer=(Metadata,), summary="Model metadata"),
            Endpoint(
                dialect=DIALECT, path=f"{path}/ready", handle=model_ready, answer=(ModelReady,),
                summary="Readiness of a model",
            ),
            Endpoint(
                dialect=DIALECT, path=f"{path}/infer", handle=infer, answer=(Inference,), body=(InferBody,),
                binary=True, summary="Inference in the Open Inference Protocol: one BYTES tensor of texts",
            ),
        ]  # fmt: skip
    return found + [replace(one, path=f"{one.path}/", described=False) for one in found]


async def server(service: Service, request: Request) -> Response:
    """Return the server metadata."""
    return json_response(Server(name="ftx", version="2", extensions=EXTENSIONS))


async def live(service: Service, request: Request) -> Response:
    """Return liveness; never queued."""
    return json_response(Live(live=True))


async def server_ready(service: Service, request: Request) -> Response:
    """Return readiness; 503 if a model fails its golden probe."""
    await service.check_ready(list(service.models.values()))
    return json_response(ServerReady(live=True, ready=True))


async def model_ready(service: Service, request: Request) -> Response:
    """Return the readiness of a model; 503 if it fails its golden probe."""
    model = named(service, request)
    await service.check_ready([model])
    return json_response(ModelReady(name=model.name, ready=True))


def named(service: Service, request: Request) -> Model:
    """Return the model that the path names. The only version is 1."""
    if request.path_params.get("version", "1") != "1":
        raise RequestError(404, "not_found", "no such version; the only version is 1")
    return service.model(request.path_params["name"])


async def metadata(service: Service, request: Request) -> Response:
    """Return the metadata of a model."""
    model = named(service, request)
    loaded = service.loaded(model)
    columns = 2 if loaded.manifest.text_pair else 1
    return json_response(
        Metadata(
            name=model.name, versions=["1"], platform="onnxruntime_onnx",
            inputs=[{"name": "text", "datatype": "BYTES", "shape": [-1, columns]}],
            outputs=[
                {"name": name, "datatype": "BYTES", "shape": [-1]} if name == "label"
                else {"name": name, "datatype": "FP32", "shape": [-1, len(loaded.manifest.labels)]}
                for name in outputs_of(loaded.manifest.problem_type)
            ],
            parameters={
                "labels": loaded.manifest.labels, "sha256": loaded.sha256,
                "reload_failed": model.last_error is not None,
            },
        )
    )  # fmt: skip


async def infer(service: Service, request: Request) -> Response:
    """Run a tensor of texts, and return the requested outputs."""
    model = named(service, request)
    raw = await service.body(request)
    header, binary = split(raw, request.headers.get(HEADER_LENGTH))
    body = decode(header, InferBody)
    texts = read_texts(body.inputs[0], binary, pairs=bool(service.loaded(model).manifest.text_pair))
    timeout_us = body.parameters.timeout if body.parameters else None
    answered = await service.answer(
        texts, request, model=model.name, timeout_sec=timeout_us / 1e6 if timeout_us else None
    )
    return write(body, model, answered)


def split(raw: bytes, length: str | None) -> tuple[bytes, bytes]:
    """Split a body into the JSON and the binary data after it."""
    if length is None:
        return raw, b""
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > len(raw):
        raise RequestError(400, "validation", f"{HEADER_LENGTH}: expected the bytes of the JSON, at most {len(raw)}")
    return raw[: int(length)], raw[int(length) :]


def outputs_of(problem_type: str) -> list[OutputName]:
    """List the output tensors of a head."""
    return ["logits", "probabilities"] if problem_type == "regression" else ["logits", "probabilities", "label"]


def read_texts(tensor: Input, binary: bytes, *, pairs: bool) -> list[Any]:
    """Read the texts of a tensor: of the shape `[]`, `[n]` or `[n, 1]`, pairs `[2]` or `[n, 2]`."""
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None:
        strings = read_strings(binary, size)
    elif binary:
        raise RequestError(400, "validation", "binary data follows the JSON, but the input has no binary_data_size")
    elif tensor.data is None:
        raise RequestError(422, "validation", "the input has neither data nor binary_data_size")
    else:
        strings = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    count, shape = len(strings), tuple(tensor.shape)
    if pairs:
        fits = shape == (2,) == (count,) or (shape == (count // 2, 2) and not count % 2)
    else:
        fits = shape in ((count,), (count, 1)) or (shape == () and count == 1)
    if not fits:
        expected = "[n, 2] or [2]" if pairs else "[n, 1], [n] or []"
        raise RequestError(422, "validation", f"shape {tensor.shape} with {count} texts, expected {expected}")
    return list(zip(strings[::2], strings[1::2], strict=True)) if pairs else strings


def write(body: InferBody, model: Model, answered: Answered) -> Response:
    """Write the requested outputs, as JSON or as binary data after it."""
    known = outputs_of(answered.loaded.manifest.problem_type)
    everywhere = body.parameters is not None and body.parameters.binary_data_output is True
    outputs: list[OutputTensor] = []
    behind: list[bytes] = []
    for output in body.outputs or [Output(name=name) for name in known]:
        name, asked = output.name, output.parameters or OutputParameters()
        if name not in known:
            raise RequestError(422, "validation", f"no output {name}; the outputs are {', '.join(known)}")
        values = tensor(name, asked.classification, answered)
        kind = "FP32" if values.dtype == np.float32 else "BYTES"
        written = OutputTensor(name=name, datatype=kind, shape=list(values.shape))
        if everywhere if asked.binary_data is None else asked.binary_data:
            data = values.astype("<f4").tobytes() if kind == "FP32" else write_strings(values.ravel().tolist())
            written["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            written["data"] = values.ravel().tolist()
        outputs.append(written)
    said = Inference(model_name=model.name, model_version="1", outputs=outputs)
    if body.id is not None:
        said["id"] = body.id
    if not behind:
        return json_response(said)
    header = msgspec.json.encode(said)
    return Response(
        header + b"".join(behind), headers={HEADER_LENGTH: str(len(header))}, media_type="application/octet-stream"
    )


def tensor(name: str, classes: int | None, answered: Answered) -> np.ndarray[Any, Any]:
    """Build an output tensor.

    Args:
        name: Its name.
        classes: Return this many of the best classes as `value:index:label`, as in Triton's classification extension.
        answered: The answers.

    Returns:
        *Shape:* `(num_texts, num_labels)`, `(num_texts,)` of labels, or `(num_texts, classes)`.
    """
    answers, labels = answered.answers, answered.loaded.manifest.labels
    if name == "label":
        said = [one.label if one.labels is None else "|".join(one.labels) for one in answered.predictions()]
        return np.array(said, dtype=object)
    if name == "logits" and any(one.logits is None for one in answers):
        raise RequestError(422, "validation", "a text that was read in windows has no logits")
    rows = [one.logits if name == "logits" else one.probabilities for one in answers]
    values = np.asarray(rows, dtype=np.float32).reshape(len(answers), len(labels))
    if classes is None:
        return values
    count = min(classes, len(labels))
    best = [
        f"{row[column]:f}:{column}:{labels[column]}"
        for row in values
        for column in np.argsort(-row, kind="stable")[:count]
    ]
    return np.array(best, dtype=object).reshape(len(values), count)
