"""`POST /predict`: ours, `{"texts": [...]}`, and that of text-embeddings-inference, `{"inputs": ...}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from ftx.runtime.server.dialects.http import Endpoint, ProblemDialect, decode, json_response
from ftx.runtime.server.engine import Answer
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Answered, Service

__all__ = ["DIALECT", "LabelScore", "PredictionBody", "endpoints"]

DIALECT = ProblemDialect(name="predict")
STRING = {"type": "string"}
ROW = {"type": "array", "items": STRING, "minItems": 1, "maxItems": 2}


class LabelScore(TypedDict):
    """A label of a text."""

    label: str
    score: float


class PredictionBody(TypedDict):
    """What `ftx predict --json` prints of a text."""

    text: str
    text_pair: NotRequired[str]
    label: NotRequired[str]
    score: NotRequired[float]
    labels: NotRequired[list[str]]
    scores: NotRequired[dict[str, float]]
    value: NotRequired[float]
    truncated: NotRequired[bool]
    windows: NotRequired[int]
    pooling: NotRequired[str]
    margin: NotRequired[float]
    near_boundary: NotRequired[bool]
    fallback: NotRequired[bool]
    beyond_calibration: NotRequired[bool]


class Given(msgspec.Struct):
    """Tells the two dialects apart."""

    texts: msgspec.Raw | UnsetType = UNSET
    inputs: msgspec.Raw | UnsetType = UNSET


class Texts(msgspec.Struct):
    """A request in the dialect of ftx; a pair of texts is a list of two."""

    texts: list[str | tuple[str, str]]
    model: str | None = None


class Inputs(msgspec.Struct):
    """A request of text-embeddings-inference: a text, `[text]`, one pair `[text, text]`, or a list of such lists."""

    inputs: Annotated[
        str | list[str | list[str]],
        Meta(extra_json_schema={"anyOf": [STRING, ROW, {"type": "array", "items": ROW, "minItems": 1}]}),
    ]
    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] | None = None
    raw_scores: bool = False
    model: str | None = None


def endpoints() -> list[Endpoint]:
    """Return the endpoint of both dialects."""
    return [
        Endpoint(
            dialect=DIALECT, path="/predict", handle=predict, body=(Texts, Inputs),
            answer=(list[PredictionBody], list[LabelScore], list[list[LabelScore]]),
            summary="Predictions as ftx predict --json prints them, or as text-embeddings-inference gives them",
        )
    ]  # fmt: skip


async def predict(service: Service, request: Request) -> Response:
    """Predict, in the dialect of the request."""
    raw = await service.body(request)
    given = decode(raw, Given)
    if (given.texts is UNSET) == (given.inputs is UNSET):
        raise RequestError(422, "validation", 'expected either {"texts": ["..."]} or {"inputs": "..."}')
    if given.inputs is not UNSET:
        return await tei(service, request, decode(raw, Inputs))
    body = decode(raw, Texts)
    answered = await service.answer(body.texts, request, model=body.model)
    return json_response([one.to_dict() for one in answered.predictions()])


async def tei(service: Service, request: Request, body: Inputs) -> Response:
    """Predict as text-embeddings-inference does."""
    inputs = body.inputs
    batch = not isinstance(inputs, str) and not all(isinstance(text, str) for text in inputs)
    if not inputs and not isinstance(inputs, str):
        raise RequestError(400, "empty", "inputs: expected at least one text")
    texts = [one(text) for text in inputs] if batch else [one(inputs)]
    answered = await service.answer(texts, request, model=body.model)
    if body.truncate is False:
        for place, answer in enumerate(answered.answers):
            if answer.truncated:
                length = answered.loaded.manifest.max_length
                raise RequestError(422, "validation", f"text {place} has more than {length} tokens; set truncate")
    found = [ranked(answered, answer, raw=body.raw_scores) for answer in answered.answers]
    return json_response(found if batch else found[0])


def one(text: str | list[Any]) -> Any:
    """Read a text, or a pair, as text-embeddings-inference writes it."""
    if isinstance(text, str):
        return text
    if not 1 <= len(text) <= 2 or not all(isinstance(part, str) for part in text):
        raise RequestError(422, "validation", "inputs: expected a text, a list of one or two, or a list of such lists")
    return text[0] if len(text) == 1 else tuple(text)


def ranked(answered: Answered, answer: Answer, *, raw: bool) -> list[LabelScore]:
    """Return all labels with their scores, best first."""
    if raw and answer.logits is None:
        raise RequestError(422, "validation", "a text that was read in windows has no raw scores")
    scores = answer.logits if raw and answer.logits is not None else answer.probabilities
    labels = answered.loaded.manifest.labels
    return [{"score": float(scores[row]), "label": labels[row]} for row in np.argsort(-scores, kind="stable")]
