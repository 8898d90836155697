"""`POST /predict`: ours, `{"texts": [...]}`, and that of text-embeddings-inference, `{"inputs": ...}`."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.dialects.http import decode, json_response, route
from ftx.runtime.server.engine import Answer
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Answered, Service

__all__ = ["ranked", "routes"]

# The words of text-embeddings-inference for what went wrong.
TEI_TYPES = {
    "validation": "Validation", "too_large": "Validation", "overloaded": "Overloaded", "backend": "Backend",
    "unavailable": "Unhealthy",
}  # fmt: skip


class Body(msgspec.Struct):
    """Of a request, in either dialect."""

    texts: list[str | tuple[str, str]] | UnsetType = UNSET
    model: str | None = None
    inputs: str | list[str | list[str]] | UnsetType = UNSET
    truncate: bool | None = None
    raw_scores: bool = False


def routes(service: Service) -> list[Route]:
    """Give the routes of both."""
    return [route(service, "predict", "/predict", predict, problem)]


async def predict(service: Service, request: Request) -> Response:
    """Answer in the dialect of the question."""
    raw = await service.body(request)
    body = decode(raw, Body)
    if body.texts is not UNSET and body.inputs is not UNSET:
        raise RequestError(422, "validation", "expected texts or inputs, got both")
    if body.texts is not UNSET:
        answered = await service.answer(body.texts, request, model=body.model)
        return json_response([one.to_dict() for one in answered.predictions()])
    if body.inputs is UNSET:
        raise RequestError(422, "validation", 'expected {"texts": ["..."]} or {"inputs": "..."}')
    try:
        return await tei(service, request, body)
    except RequestError as error:
        kind = TEI_TYPES.get(error.kind, "Backend")
        return json_response({"error": error.detail, "error_type": kind}, error.status, error.headers)


async def tei(service: Service, request: Request, body: Body) -> Response:
    """Answer as text-embeddings-inference does."""
    inputs = body.inputs
    assert inputs is not UNSET
    if isinstance(inputs, str) or (inputs and all(isinstance(text, str) for text in inputs)):
        texts, batch = [one(inputs)], False
    else:
        texts, batch = [one(text) for text in inputs], True
    answered = await service.answer(texts, request, model=body.model)
    if body.truncate is False:
        for place, answer in enumerate(answered.answers):
            if answer.truncated:
                length = answered.loaded.manifest.max_length
                raise RequestError(413, "validation", f"text {place} has more than {length} tokens; set truncate")
    found = [ranked(answered, answer, raw=body.raw_scores) for answer in answered.answers]
    return json_response(found if batch else found[0])


def one(text: str | list[Any]) -> Any:
    """Read a text, or a pair, as text-embeddings-inference writes it."""
    if isinstance(text, str):
        return text
    if len(text) == 1 and isinstance(text[0], str):
        return text[0]
    if len(text) == 2 and all(isinstance(part, str) for part in text):
        return tuple(text)
    raise RequestError(422, "validation", "expected a text, or a list of one or two")


def ranked(answered: Answered, answer: Answer, *, raw: bool = False) -> list[dict[str, Any]]:
    """Give all labels with their scores, the best first."""
    if raw and answer.logits is None:
        raise RequestError(422, "validation", "a text that is read in windows has no raw scores")
    scores = answer.logits if raw and answer.logits is not None else answer.probabilities
    labels = answered.loaded.manifest.labels
    return [{"score": float(scores[row]), "label": labels[row]} for row in np.argsort(-scores, kind="stable")]


def problem(error: RequestError) -> dict[str, Any]:
    """Write an error as RFC 9457 does."""
    return {"type": "about:blank", "title": error.kind, "status": error.status, "detail": error.detail}
