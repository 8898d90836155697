"""What all dialects need of HTTP: JSON in and out, and errors in the dialect's own shape."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.service import Service

__all__ = ["Handler", "decode", "json_response", "route"]

T = TypeVar("T")
Handler = Callable[[Service, Request], Awaitable[Response]]
log = logging.getLogger("ftx.server")
INTERNAL = RequestError(500, "backend", "an internal error, which the server's log names")


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
        raise RequestError(400, "validation", f"the body is no JSON: {error!s:.200}") from None
    except RecursionError:
        raise RequestError(400, "validation", "the body is nested too deeply") from None


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write JSON. A number that is not finite becomes null."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def route(
    service: Service,
    dialect: str,
    path: str,
    handle: Handler,
    explain: Callable[[RequestError], Any],
    method: str = "POST",
) -> Route:
    """Make a route whose failures come in its dialect's shape, and which is counted.

    Args:
        service: What answers.
        dialect: Its name, in metrics.
        path: Of the route.
        handle: Turns a request into a response, or raises a `RequestError`.
        explain: Turns an error into the JSON of the dialect.
        method: Of HTTP.
    """
    latency = service.metrics.latency.labels(dialect)

    async def run(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            service.check_token(request)
            response = await handle(service, request)
        except RequestError as error:
            response = failure(error)
        except Exception:
            log.exception("a request failed: %s %s", request.method, path)
            response = failure(INTERNAL)
        service.metrics.requests.labels(dialect, str(response.status_code)).inc()
        latency.observe(time.perf_counter() - begun)
        return response

    def failure(error: RequestError) -> Response:
        return json_response(explain(error), error.status, error.headers)

    return Route(path, run, methods=[method])
