"""What all dialects share: an endpoint with its types, JSON in and out, and errors in the dialect's own shape."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = [
    "Dialect",
    "Endpoint",
    "ErrorBody",
    "Problem",
    "ProblemDialect",
    "decode",
    "json_response",
    "refuse",
    "route",
]

T = TypeVar("T")
Handler = Callable[[Service, Request], Awaitable[Response]]
log = logging.getLogger("ftx.server")
INTERNAL = RequestError(500, "backend", "an internal error, which the server's log names")


class ErrorBody(TypedDict):
    """An error of KServe, Triton and Hugging Face."""

    error: str


class Problem(TypedDict):
    """An error as RFC 9457 describes it, with the two fields of text-embeddings-inference."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Empty"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a dialect writes its errors.

    Attributes:
        name: In metrics.
        error: The type of the JSON.
        media_type: Of an error's response.
    """

    name: str
    error: Any = ErrorBody
    media_type: str = "application/json"

    def explain(self, error: RequestError) -> Any:
        """Return the error in the shape of this dialect."""
        return ErrorBody(error=error.detail)


# The words of text-embeddings-inference for what went wrong.
ERROR_TYPES: dict[str, Literal["Unhealthy", "Backend", "Overloaded", "Empty"]] = {
    "overloaded": "Overloaded", "backend": "Backend", "timeout": "Backend", "unavailable": "Unhealthy",
    "empty": "Empty",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ProblemDialect(Dialect):
    """Writes errors as RFC 9457 describes them, with the two fields of text-embeddings-inference."""

    error: Any = Problem
    media_type: str = "application/problem+json"

    def explain(self, error: RequestError) -> Problem:
        """Return the error in the shape of this dialect."""
        return Problem(
            type="about:blank", title=error.kind, status=error.status, detail=error.detail,
            error=error.detail, error_type=ERROR_TYPES.get(error.kind, "Validation"),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A method of a path, which the application routes and the OpenAPI document describes.

    Attributes:
        dialect: Its dialect.
        path: Of the URL.
        handle: Turns a request into a response, or raises a `RequestError`.
        summary: A line about it.
        answer: The type of its JSON, or several; none: it gives no JSON.
        body: The type of the JSON that it reads, or several to choose from; none: it reads no body.
        guard: What a request needs: `token` (if there is one) and an allowed host; `host`, an allowed host; `none`.
        binary: Whether tensors may come behind the JSON.
        described: Whether the OpenAPI document has it.
    """

    dialect: Dialect
    path: str
    handle: Handler
    summary: str
    answer: tuple[Any, ...] = ()
    body: tuple[Any, ...] = ()
    guard: Literal["token", "host", "none"] = "token"
    binary: bool = False
    described: bool = True

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return "POST" if self.body else "GET"


def decode(body: bytes, kind: type[T]) -> T:
    """Read a JSON body as a value of a type.

    Raises:
        RequestError: It is no JSON, or not such a value.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RequestError(422, "validation", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, "validation", f"the body is not JSON: {error!s:.200}") from None
    except RecursionError:
        raise RequestError(400, "validation", "the body is nested too deeply") from None


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    """Write JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type=media_type)


def route(service: Service, endpoint: Endpoint) -> Route:
    """Make a route that checks who asks, counts requests, and writes failures as its dialect does."""

    async def run(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            check(service, endpoint, request)
            response = await endpoint.handle(service, request)
        except RequestError as error:
            response = failure(endpoint.dialect, error)
        except Exception:
            log.exception("a request failed: %s %s", request.method, endpoint.path)
            response = failure(endpoint.dialect, INTERNAL)
        service.metrics.answered(endpoint.dialect.name, response.status_code, time.perf_counter() - begun)
        return response

    return Route(endpoint.path, run, methods=[endpoint.method])


def refuse(service: Service, endpoint: Endpoint, request: Request) -> Response | None:
    """Refuse a request of which only the head was read, where there is no room for any; None: it may be answered."""
    begun = time.perf_counter()
    try:
        check(service, endpoint, request)
        service.check_room()
    except RequestError as error:
        service.metrics.answered(endpoint.dialect.name, error.status, time.perf_counter() - begun)
        return failure(endpoint.dialect, error)
    return None


def check(service: Service, endpoint: Endpoint, request: Request) -> None:
    """Check who asks.

    Raises:
        RequestError: The host is not allowed, the page, or the token.
    """
    if endpoint.guard != "none":
        service.check_host(request)
    if endpoint.guard == "token":
        service.check_token(request)


def failure(dialect: Dialect, error: RequestError) -> Response:
    """Write an error as its dialect does."""
    return json_response(dialect.explain(error), error.status, error.headers, dialect.media_type)
