"""`POST /classify` and `/v1/classify`: what clients of vLLM and SGLang speak."""

from __future__ import annotations

import time
import uuid

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.dialects.http import decode, json_response, route
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = ["routes"]


class Body(msgspec.Struct):
    """Of a request."""

    input: str | list[str]
    model: str | None = None


def routes(service: Service) -> list[Route]:
    """Give the routes."""
    return [route(service, "classify", path, classify, explain) for path in ("/classify", "/v1/classify")]


async def classify(service: Service, request: Request) -> Response:
    """Answer each text with its label and all probabilities."""
    body = decode(await service.body(request), Body)
    texts = [body.input] if isinstance(body.input, str) else body.input
    # Clients of a server with one model send whatever name they know it by.
    name = body.model if body.model in service.models or len(service.models) > 1 else None
    model = service.model(name)
    answered = await service.answer(list(texts), request, model=model.name)
    tokens = sum(answer.tokens for answer in answered.answers)
    data = []
    for index, (prediction, answer) in enumerate(zip(answered.predictions(), answered.answers, strict=True)):
        label = prediction.label if prediction.labels is None else "|".join(prediction.labels)
        probs = [float(score) for score in answer.probabilities]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    return json_response(
        {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": model.name,
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }
    )


def explain(error: RequestError) -> dict[str, object]:
    """Write an error as OpenAI's interface does."""
    return {"error": {"message": error.detail, "type": error.kind, "param": None, "code": error.status}}
