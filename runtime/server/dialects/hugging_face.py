"""`POST /`: what `huggingface_hub.InferenceClient.text_classification` speaks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from ftx.runtime.heads import probabilities
from ftx.runtime.server.dialects.http import Dialect, Endpoint, decode, json_response
from ftx.runtime.server.dialects.predict import LabelScore
from ftx.runtime.server.engine import Answer
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Answered, Service

__all__ = ["DIALECT", "Pair", "endpoints", "plain"]

DIALECT = Dialect(name="hugging_face")
# The head whose probabilities a function gives.
HEADS = {"sigmoid": "multi_label_classification", "softmax": "single_label_classification", "none": "regression"}


class Pair(msgspec.Struct):
    """A text, or two, as pipelines of transformers write them."""

    text: str
    text_pair: str | None = None


class Parameters(msgspec.Struct):
    """Optional parameters."""

    top_k: Annotated[int, Meta(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class HuggingFaceBody(msgspec.Struct):
    """A request."""

    inputs: str | Pair | list[str | Pair]
    parameters: Parameters | None = None


def endpoints() -> list[Endpoint]:
    """Return the endpoint."""
    return [
        Endpoint(
            dialect=DIALECT, path="/", handle=classify, body=(HuggingFaceBody,), answer=(list[list[LabelScore]],),
            summary="Text classification for huggingface_hub.InferenceClient",
        )
    ]  # fmt: skip


async def classify(service: Service, request: Request) -> Response:
    """Return the labels of each text, best first."""
    body = decode(await service.body(request), HuggingFaceBody)
    inputs = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    texts = [text if isinstance(text, str) else plain(text) for text in inputs]
    answered = await service.answer(texts, request)
    asked = body.parameters or Parameters()
    return json_response([ranked(answered, answer, asked) for answer in answered.answers])


def plain(pair: Pair) -> Any:
    """Read a text, or a pair."""
    return pair.text if pair.text_pair is None else (pair.text, pair.text_pair)


def ranked(answered: Answered, answer: Answer, asked: Parameters) -> list[LabelScore]:
    """Return the best labels with their scores."""
    scores = answer.probabilities
    if asked.function_to_apply is not None:
        if answer.logits is None:
            raise RequestError(422, "validation", "function_to_apply: a text that was read in windows has no logits")
        scores = probabilities(answer.logits[None], HEADS[asked.function_to_apply])[0]
    labels = answered.loaded.manifest.labels
    order = np.argsort(-scores, kind="stable")[: asked.top_k]
    return [{"label": labels[row], "score": float(scores[row])} for row in order]
