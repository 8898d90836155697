"""The ASGI application: every dialect, health, metrics, documentation and a page, over the same service."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ftx.runtime.server.dialects import classify, hugging_face, predict, v1, v2
from ftx.runtime.server.dialects.http import json_response, route
from ftx.runtime.server.dialects.predict import problem
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.models import Model, find_models
from ftx.runtime.server.openapi import describe
from ftx.runtime.server.service import Service
from ftx.runtime.server.settings import ServeSettings

__all__ = ["app", "application", "load"]

# The page and its scripts are ours, and nothing else may run on it.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def app(onnx: str | Path, settings: ServeSettings | None = None) -> Starlette:
    """Make an ASGI application to mount in one's own: it serves a file, or a folder, as `ftx serve` does.

    Raises:
        FtxError: A model can't be served.
    """
    return application(load(Path(onnx), settings or ServeSettings()))


def load(path: Path, settings: ServeSettings) -> Service:
    """Open the models of a path.

    Raises:
        FtxError: One can't be served.
    """
    models = {name: Model(name, its, settings) for name, its in find_models(path).items()}
    service = Service(models, settings)
    for model in models.values():
        model.load()
    return service


def application(service: Service) -> Starlette:
    """Make the application of a service."""
    routes: list[Route] = []
    for dialect in (predict, hugging_face, classify, v2, v1):
        routes += dialect.routes(service)
    routes += [
        route(service, "health", "/health", health, problem, "GET"),
        route(service, "health", "/health/live", v2.live, problem, "GET"),
        route(service, "health", "/health/ready", health, problem, "GET"),
        route(service, "metrics", "/metrics", metrics, problem, "GET"),
        route(service, "info", "/info", info, problem, "GET"),
        Route("/openapi.json", lambda request: json_response(describe(service)), methods=["GET"]),
        Route("/docs", lambda request: page("docs.html"), methods=["GET"]),
        Route("/", lambda request: page("index.html"), methods=["GET"]),
    ]
    middleware: Sequence[Middleware] = []
    if service.settings.allowed_hosts:
        middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(service.settings.allowed_hosts))]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={404: not_found, 405: not_found})


async def health(service: Service, request: Request) -> Response:
    """Tell whether the server is ready."""
    return await v2.server_ready(service, request)


async def metrics(service: Service, request: Request) -> Response:
    """Give what Prometheus asks for."""
    return Response(
        await anyio.to_thread.run_sync(service.metrics.render), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def info(service: Service, request: Request) -> Response:
    """Describe the models and the limits, as far as a client needs them."""
    limits = service.settings
    models: list[dict[str, Any]] = []
    for model in service.models.values():
        manifest = model.loaded.manifest if model.loaded else None
        if manifest is not None:
            models.append(
                {
                    "name": model.name, "problem_type": manifest.problem_type, "labels": manifest.labels,
                    "max_length": manifest.max_length, "text_pair": manifest.text_pair,
                }
            )  # fmt: skip
    return json_response(
        {
            "models": models, "max_texts": limits.max_texts, "max_text_chars": limits.max_text_chars,
            "max_body_bytes": limits.max_body_bytes, "long_text": limits.long_text,
        }
    )  # fmt: skip


def page(name: str) -> Response:
    """Give a page of ours."""
    text = resources.files("ftx.runtime.server").joinpath("pages", name).read_text(encoding="utf-8")
    return HTMLResponse(text, headers=HEADERS)


def not_found(request: Request, error: Exception) -> Response:
    """Say what a path or a method that there is not could have been."""
    status = getattr(error, "status_code", 404)
    said = RequestError(status, "not_found", "there is no such path and method; /docs lists them")
    return json_response(problem(said), status, getattr(error, "headers", None))
