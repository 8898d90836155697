"""`POST /`: what `huggingface_hub.InferenceClient.text_classification` speaks."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.heads import probabilities
from ftx.runtime.server.dialects.http import decode, json_response, route
from ftx.runtime.server.engine import Answer
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Answered, Service

__all__ = ["routes"]


class Pair(msgspec.Struct):
    """Two texts, as transformers' pipelines write them."""

    text: str
    text_pair: str | None = None


class Parameters(msgspec.Struct):
    """What a client may ask for."""

    top_k: int | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class Body(msgspec.Struct):
    """Of a request."""

    inputs: str | Pair | list[str | Pair]
    parameters: Parameters | None = None


def routes(service: Service) -> list[Route]:
    """Give the route."""
    return [route(service, "hugging_face", "/", classify, lambda error: {"error": error.detail})]


async def classify(service: Service, request: Request) -> Response:
    """Answer each text with its labels, the best first."""
    body = decode(await service.body(request), Body)
    asked = body.parameters or Parameters()
    if asked.top_k is not None and asked.top_k < 1:
        raise RequestError(422, "validation", f"top_k {asked.top_k}, expected at least 1")
    inputs = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    texts = [text if isinstance(text, str) else plain(text) for text in inputs]
    answered = await service.answer(texts, request)
    return json_response([ranked(answered, answer, asked) for answer in answered.answers])


def plain(pair: Pair) -> Any:
    """Read a text, or a pair."""
    return pair.text if pair.text_pair is None else (pair.text, pair.text_pair)


def ranked(answered: Answered, answer: Answer, asked: Parameters) -> list[dict[str, Any]]:
    """Give the best labels with their scores."""
    scores = answer.probabilities
    if asked.function_to_apply is not None:
        if answer.logits is None:
            raise RequestError(422, "validation", "a text that is read in windows has no logits for a function")
        kind = {
            "sigmoid": "multi_label_classification", "softmax": "single_label_classification", "none": "regression",
        }[asked.function_to_apply]  # fmt: skip
        scores = probabilities(answer.logits[None], kind)[0]
    labels = answered.loaded.manifest.labels
    order = np.argsort(-scores, kind="stable")[: asked.top_k]
    return [{"label": labels[row], "score": float(scores[row])} for row in order]
