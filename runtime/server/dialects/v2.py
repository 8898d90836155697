"""`/v2`: the Open Inference Protocol, which clients of KServe, MLServer and Triton speak."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.dialects.http import Handler, decode, json_response, route
from ftx.runtime.server.dialects.tensors import HEADER_LENGTH, read_strings, write_strings
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.models import Model
from ftx.runtime.server.service import Answered, Service

__all__ = ["routes"]

EXTENSIONS = ["binary_tensor_data", "classification"]


class Input(msgspec.Struct):
    """A tensor of texts."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Output(msgspec.Struct):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Body(msgspec.Struct):
    """Of a request."""

    inputs: list[Input]
    outputs: list[Output] = []
    id: str | None = None
    parameters: dict[str, Any] = {}


def routes(service: Service) -> list[Route]:
    """Give the routes, each with and without a slash at its end."""
    found: list[tuple[str, Handler, str]] = [
        ("/v2", server, "GET"),
        ("/v2/health/live", live, "GET"),
        ("/v2/health/ready", server_ready, "GET"),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [(path, metadata, "GET"), (f"{path}/ready", model_ready, "GET"), (f"{path}/infer", infer, "POST")]
    return [
        route(service, "v2", path + end, handle, lambda error: {"error": error.detail}, method)
        for path, handle, method in found
        for end in ("", "/")
    ]


async def server(service: Service, request: Request) -> Response:
    """Tell what the server speaks."""
    return json_response({"name": "ftx", "version": "2", "extensions": EXTENSIONS})


async def live(service: Service, request: Request) -> Response:
    """Tell that the process answers; it never waits."""
    return json_response({"live": True})


async def server_ready(service: Service, request: Request) -> Response:
    """Tell whether all models answer, and rightly."""
    return await readiness(service, list(service.models.values()))


async def model_ready(service: Service, request: Request) -> Response:
    """Tell whether a model answers, and rightly."""
    return await readiness(service, [named(service, request)])


async def readiness(service: Service, models: list[Model]) -> Response:
    """Ask models' golden probes; 503 while one is not ready."""
    if service.draining:
        raise RequestError(503, "unavailable", "the server is shutting down")
    for model in models:
        if (why := await anyio.to_thread.run_sync(model.ready)) is not None:
            raise RequestError(503, "unavailable", f"{model.name}: {why}")
    return json_response({"ready": True})


def named(service: Service, request: Request) -> Model:
    """Give the model of a path; its files have one version, 1."""
    if request.path_params.get("version", "1") != "1":
        raise RequestError(404, "not_found", "expected version 1")
    return service.model(request.path_params["name"])


async def metadata(service: Service, request: Request) -> Response:
    """Describe a model's tensors."""
    model = named(service, request)
    if model.loaded is None:
        raise RequestError(503, "unavailable", "the model is not loaded")
    manifest = model.loaded.manifest
    columns = len(manifest.labels)
    outputs = [(name, "FP32", [-1, columns]) for name in ("logits", "probabilities")] + [("label", "BYTES", [-1])]
    return json_response(
        {
            "name": model.name,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 2 if manifest.text_pair else 1]}],
            "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
            "parameters": {
                "labels": manifest.labels,
                "sha256": model.loaded.sha256,
                "reload_failed": model.last_error is not None,
            },
        }
    )


async def infer(service: Service, request: Request) -> Response:
    """Answer a tensor of texts with those that are asked for."""
    model = named(service, request)
    raw = await service.body(request)
    header, binary = split(raw, request.headers.get(HEADER_LENGTH))
    body = decode(header, Body)
    if len(body.inputs) != 1:
        raise RequestError(422, "validation", f"{len(body.inputs)} inputs, expected one, of texts")
    texts = read_texts(body.inputs[0], binary, bool(model.loaded and model.loaded.manifest.text_pair))
    answered = await service.answer(texts, request, model=model.name, timeout_sec=timeout(body))
    return write(body, model, answered)


def split(raw: bytes, length: str | None) -> tuple[bytes, bytes]:
    """Split a body into its JSON and the tensors behind it."""
    if length is None:
        return raw, b""
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > len(raw):
        raise RequestError(400, "validation", f"{HEADER_LENGTH}: expected the bytes of the JSON, at most {len(raw)}")
    return raw[: int(length)], raw[int(length) :]


def timeout(body: Body) -> float | None:
    """Read the seconds that a client waits, which it gives in microseconds."""
    given = body.parameters.get("timeout")
    if given is None or given == 0:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise RequestError(422, "validation", "parameters.timeout: expected microseconds")
    return given / 1e6


def read_texts(tensor: Input, binary: bytes, pairs: bool) -> list[Any]:
    """Read the texts of a tensor: of the shape `[]`, `[n]` or `[n, 1]`, for pairs `[2]` or `[n, 2]`."""
    if tensor.datatype != "BYTES":
        raise RequestError(422, "validation", f"datatype {tensor.datatype!r:.40}, expected BYTES")
    size = tensor.parameters.get("binary_data_size")
    if size is not None:
        strings = read_strings(binary, size)
    elif binary:
        raise RequestError(400, "validation", "there are bytes behind the JSON, and no binary_data_size")
    else:
        strings = flat(tensor.data)
    columns = 2 if pairs else 1
    fits = {(), (len(strings),), (len(strings), 1)} if not pairs else {(2,), (len(strings) // 2, 2)}
    expected = 1 if not tensor.shape and not pairs else len(strings)
    if tuple(tensor.shape) not in fits or len(strings) != expected or len(strings) % columns:
        raise RequestError(
            422, "validation",
            f"shape {tensor.shape} with {len(strings)} texts, expected [n, {columns}]" + ("" if pairs else " or [n]"),
        )  # fmt: skip
    return strings if not pairs else list(zip(strings[::2], strings[1::2], strict=True))


def flat(data: list[Any] | None) -> list[str]:
    """Read a tensor's strings, nested or not."""
    if data is None:
        raise RequestError(422, "validation", "an input without data")
    found: list[str] = []
    for value in data:
        row = value if isinstance(value, list) else [value]
        for text in row:
            if not isinstance(text, str):
                raise RequestError(422, "validation", f"data holds a {type(text).__name__}, expected strings")
            found.append(text)
    return found


def write(body: Body, model: Model, answered: Answered) -> Response:
    """Write the tensors that are asked for, as JSON or behind it."""
    manifest = answered.loaded.manifest
    known = (
        ["logits", "probabilities", "label"] if manifest.problem_type != "regression" else ["logits", "probabilities"]
    )
    asked = body.outputs or [Output(name=name) for name in known]
    everywhere = body.parameters.get("binary_data_output") is True
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for output in asked:
        if output.name not in known:
            raise RequestError(422, "validation", f"no output {output.name!r:.80}; there are {', '.join(known)}")
        values = tensor(output, answered)
        kind = "FP32" if values.dtype == np.float32 else "BYTES"
        written: dict[str, Any] = {"name": output.name, "datatype": kind, "shape": list(values.shape)}
        if output.parameters.get("binary_data", everywhere) is True:
            data = values.astype("<f4").tobytes() if kind == "FP32" else write_strings(values.ravel().tolist())
            written["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            written["data"] = values.ravel().tolist()
        outputs.append(written)
    said = {"model_name": model.name, "model_version": "1", "outputs": outputs}
    if body.id is not None:
        said["id"] = body.id
    if not behind:
        return json_response(said)
    header = msgspec.json.encode(said)
    return Response(
        header + b"".join(behind), headers={HEADER_LENGTH: str(len(header))}, media_type="application/octet-stream"
    )


def tensor(output: Output, answered: Answered) -> np.ndarray[Any, Any]:
    """Make a tensor of the answers. *Shape:* `(num_texts, num_labels)`, or `(num_texts,)` of labels."""
    answers, labels = answered.answers, answered.loaded.manifest.labels
    if output.name == "label":
        said = [one.label if one.labels is None else "|".join(one.labels) for one in answered.predictions()]
        return np.array(said, dtype=object)
    if output.name == "logits":
        if any(one.logits is None for one in answers):
            raise RequestError(422, "validation", "a text that is read in windows has no logits")
        rows = [one.logits for one in answers]
    else:
        rows = [one.probabilities for one in answers]
    values = np.asarray(rows, dtype=np.float32).reshape(len(answers), len(labels))
    count = output.parameters.get("classification")
    if count is None:
        return values
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RequestError(422, "validation", "classification: expected how many classes")
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    best = [
        [f"{values[row, column]:f}:{column}:{labels[column]}" for column in order[row]] for row in range(len(values))
    ]
    return np.array(best, dtype=object).reshape(len(values), min(count, len(labels)))
