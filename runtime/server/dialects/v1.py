"""`POST /v1/models/M:predict`: the first protocol of KServe, which clients of TensorFlow Serving speak."""

from __future__ import annotations

from typing import TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from ftx.runtime.server.dialects.http import Dialect, Endpoint, decode, json_response
from ftx.runtime.server.dialects.hugging_face import Pair, plain
from ftx.runtime.server.dialects.predict import PredictionBody
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = ["DIALECT", "endpoints"]

DIALECT = Dialect(name="v1")
Instances = list[str | Pair | tuple[str, str]]


class InstancesBody(msgspec.Struct):
    """A request: texts, pairs as lists of two, or objects with `text` and `text_pair`."""

    instances: Instances


class InputsBody(msgspec.Struct):
    """A request with the other field name that KServe accepts."""

    inputs: Instances


class EitherBody(msgspec.Struct):
    """A request with either field name."""

    instances: Instances | UnsetType = UNSET
    inputs: Instances | UnsetType = UNSET


class Predictions(TypedDict):
    """A response."""

    predictions: list[PredictionBody]


class Models(TypedDict):
    """The names of the models."""

    models: list[str]


class Ready(TypedDict):
    """Whether a model answers."""

    name: str
    ready: bool


def endpoints() -> list[Endpoint]:
    """Return the endpoints."""
    return [
        Endpoint(
            dialect=DIALECT, path="/v1/models/{name}:predict", handle=predict, body=(InstancesBody, InputsBody),
            answer=(Predictions,), summary="Predictions in the V1 protocol of KServe and TensorFlow Serving",
        ),
        Endpoint(
            dialect=DIALECT, path="/v1/models/{name}", handle=ready, answer=(Ready,), summary="Readiness of a model"
        ),
        Endpoint(
            dialect=DIALECT, path="/v1/models", handle=models, answer=(Models,), summary="List the models"
        ),
    ]  # fmt: skip


async def predict(service: Service, request: Request) -> Response:
    """Return a prediction for each instance, as `ftx predict --json` prints it."""
    model = service.model(request.path_params["name"])
    body = decode(await service.body(request), EitherBody)
    given = body.inputs if body.instances is UNSET else body.instances
    if given is UNSET or (body.inputs is not UNSET and body.instances is not UNSET):
        raise RequestError(422, "validation", "expected either instances or inputs")
    texts = [plain(text) if isinstance(text, Pair) else text for text in given]
    answered = await service.answer(texts, request, model=model.name)
    return json_response({"predictions": [one.to_dict() for one in answered.predictions()]})


async def ready(service: Service, request: Request) -> Response:
    """Return the readiness of a model; 503 if it fails its golden probe."""
    model = service.model(request.path_params["name"])
    await service.check_ready([model])
    return json_response(Ready(name=model.name, ready=True))


async def models(service: Service, request: Request) -> Response:
    """Return the names of the models."""
    return json_response(Models(models=list(service.models)))
