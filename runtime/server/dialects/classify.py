"""`POST /classify` and `/v1/classify`: what clients of vLLM and SGLang speak."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ftx.runtime.server.dialects.http import Dialect, Endpoint, decode, json_response
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = ["DIALECT", "endpoints"]


class Cause(TypedDict):
    """Of an error."""

    message: str
    type: str
    param: None
    code: int


class ClassifyError(TypedDict):
    """An error of OpenAI's interface."""

    error: Cause


@dataclass(frozen=True, kw_only=True)
class ClassifyDialect(Dialect):
    """Writes errors as OpenAI's interface does."""

    error: Any = ClassifyError

    def explain(self, error: RequestError) -> ClassifyError:
        """Return the error in the shape of this dialect."""
        return {"error": {"message": error.detail, "type": error.kind, "param": None, "code": error.status}}


DIALECT = ClassifyDialect(name="classify")


class ClassifyBody(msgspec.Struct):
    """A request."""

    input: str | list[str]
    model: str | None = None


class Classified(TypedDict):
    """Of a text."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class Usage(TypedDict):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: None


class Classification(TypedDict):
    """A response."""

    id: str
    object: str
    created: int
    model: str
    data: list[Classified]
    usage: Usage


def endpoints() -> list[Endpoint]:
    """Return the endpoints."""
    return [
        Endpoint(
            dialect=DIALECT, path=path, handle=classify, body=(ClassifyBody,), answer=(Classification,),
            summary="Classification as vLLM and SGLang do it",
        )
        for path in ("/classify", "/v1/classify")
    ]  # fmt: skip


async def classify(service: Service, request: Request) -> Response:
    """Return the label and the probabilities of each text."""
    body = decode(await service.body(request), ClassifyBody)
    texts: list[Any] = [body.input] if isinstance(body.input, str) else list(body.input)
    # Clients of a server with one model send whatever name they know it by.
    name = body.model if body.model in service.models or len(service.models) > 1 else None
    model = service.model(name)
    answered = await service.answer(texts, request, model=model.name)
    data: list[Classified] = []
    for index, (prediction, answer) in enumerate(zip(answered.predictions(), answered.answers, strict=True)):
        label = prediction.label if prediction.labels is None else "|".join(prediction.labels)
        probs = [float(score) for score in answer.probabilities]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    tokens = sum(answer.tokens for answer in answered.answers)
    return json_response(
        Classification(
            id=f"classify-{uuid.uuid4().hex}", object="list", created=int(time.time()), model=model.name, data=data,
            usage=Usage(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0, prompt_tokens_details=None),
        )
    )  # fmt: skip
