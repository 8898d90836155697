"""`POST /v1/models/M:predict`: KServe's first protocol, which TensorFlow Serving's clients speak."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.dialects.http import decode, json_response, route
from ftx.runtime.server.dialects.hugging_face import Pair, plain
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = ["routes"]


class Body(msgspec.Struct):
    """Of a request."""

    instances: list[str | Pair | list[str]]


def routes(service: Service) -> list[Route]:
    """Give the routes."""
    return [
        route(service, "v1", "/v1/models/{name}:predict", predict, explain),
        route(service, "v1", "/v1/models/{name}", ready, explain, "GET"),
    ]


async def predict(service: Service, request: Request) -> Response:
    """Answer each instance as `ftx predict --json` does."""
    body = decode(await service.body(request), Body)
    texts = [
        text if isinstance(text, str) else plain(text) if isinstance(text, Pair) else tuple(text)
        for text in body.instances
    ]
    answered = await service.answer(texts, request, model=request.path_params["name"])
    return json_response({"predictions": [one.to_dict() for one in answered.predictions()]})


async def ready(service: Service, request: Request) -> Response:
    """Tell whether a model answers."""
    model = service.model(request.path_params["name"])
    return json_response({"name": model.name, "ready": model.loaded is not None and not service.draining})


def explain(error: RequestError) -> dict[str, str]:
    """Write an error."""
    return {"error": error.detail}
