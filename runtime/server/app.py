"""The ASGI application: every dialect, health, metrics, documentation and a page, over the same service."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TypedDict

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from ftx.errors import OnnxFileError
from ftx.runtime.server.dialects import classify, hugging_face, predict, v1, v2
from ftx.runtime.server.dialects.http import Endpoint, Handler, ProblemDialect, json_response, refuse, route
from ftx.runtime.server.dialects.messages import Live, ServerReady
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.models import Model, find_models
from ftx.runtime.server.openapi import describe
from ftx.runtime.server.service import Service
from ftx.runtime.server.settings import ServeSettings

__all__ = ["app", "application", "load"]

OURS = ProblemDialect(name="ours")
# Whose error a path gets that there is not, or a method that it has not.
BY_PATH = (
    (r"/v2(/|$)", v2.DIALECT), (r"/v1/models(/|$)", v1.DIALECT), (r"(/v1)?/classify$", classify.DIALECT),
    (r"/$", hugging_face.DIALECT),
)  # fmt: skip
# The page and its scripts are ours, and nothing else may run on it.
HEADERS = {
    "vary": "accept",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class ModelInfo(TypedDict):
    """A model, as far as a client needs to know it."""

    name: str
    problem_type: str
    labels: list[str]
    max_length: int
    text_pair: bool | None


class Labels(TypedDict):
    """The labels of a classifier, as text-embeddings-inference tells them."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(TypedDict):
    """The kind of a model, as text-embeddings-inference tells it."""

    classifier: Labels


class Info(TypedDict):
    """The models and the limits; with the names that text-embeddings-inference has for those of the first model."""

    model_id: str
    model_sha: str
    model_type: ModelType
    max_input_length: int
    max_client_batch_size: int
    auto_truncate: bool
    models: list[ModelInfo]
    max_texts: int
    max_text_chars: int
    max_body_bytes: int
    long_text: str


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
    if settings.fallback is not None and len(models) > 1:
        raise OnnxFileError(
            f"{path} has {len(models)} models, expected one, as {settings.fallback} can be the fallback of one only: "
            "serve its file, or omit the fallback"
        )
    service = Service(models, settings)
    for model in models.values():
        model.load()
    return service


class Application(Starlette):
    """Starlette, but for paths without parameters: they are found at once, which saves a fifth of a request's time.

    Attributes:
        direct: What answers a method of a path.
        service: What is asked.
        posts: The endpoints that read a body, by path.
    """

    direct: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {}
    service: Service
    posts: Mapping[str, Endpoint] = {}

    def refuse(self, scope: Scope) -> Response | None:
        """Refuse a request by its head, where every queue is full; None: it may be answered."""
        endpoint = self.posts.get(scope["path"]) if scope["method"] == "POST" and self.service.full else None
        return None if endpoint is None else refuse(self.service, endpoint, Request(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        direct = self.direct.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if direct is None or scope.get("root_path"):
            return await super().__call__(scope, receive, send)
        response = await direct(Request(scope, receive, send))
        return await response(scope, receive, send)


def application(service: Service) -> Application:
    """Make the application of a service."""
    endpoints = [one for dialect in (predict, hugging_face, classify, v2, v1) for one in dialect.endpoints()]
    endpoints += [
        Endpoint(
            dialect=OURS, path=path, handle=v2.server_ready, answer=(ServerReady,), guard="none",
            summary="Readiness: every model answers its golden probe",
        )
        for path in ("/health", "/health/ready")
    ]  # fmt: skip
    endpoints += [
        Endpoint(
            dialect=OURS, path="/health/live", handle=v2.live, answer=(Live,), guard="none",
            summary="Liveness",
        ),
        Endpoint(dialect=OURS, path="/metrics", handle=metrics, summary="Metrics for Prometheus"),
        Endpoint(dialect=OURS, path="/info", handle=info, answer=(Info,), summary="Models and limits"),
    ]  # fmt: skip
    document = describe(service, endpoints)

    async def openapi(service: Service, request: Request) -> Response:
        return json_response(document)

    index = page("index.html")

    async def root(service: Service, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return await index(service, request)
        return json_response({"status": "alive"}, headers={"vary": "accept"})  # liveness in KServe's V1 protocol

    # A page needs no token: it asks for one.
    for path, handle in (("/openapi.json", openapi), ("/docs", page("docs.html")), ("/", root)):
        endpoints.append(
            Endpoint(dialect=OURS, path=path, handle=handle, guard="host", summary="A page", described=False)
        )
    routes = [route(service, endpoint) for endpoint in endpoints]

    async def not_found(request: Request, error: Exception) -> Response:
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        allowed = {method for one in routes if one.path_regex.match(path) for method in one.methods or ()}
        said = RequestError(404, "not_found", "no such path; /docs lists them")
        if allowed:
            said = RequestError(405, "validation", f"expected one of the methods {', '.join(sorted(allowed))}")
        dialect = next((its for start, its in BY_PATH if re.match(start, path)), OURS)
        headers = {"allow": ", ".join(sorted(allowed))} if allowed else None
        return json_response(dialect.explain(said), said.status, headers, dialect.media_type)

    made = Application(routes=routes, exception_handlers={404: not_found, 405: not_found})
    made.direct = {(method, one.path): one.endpoint for one in routes for method in one.methods or ()}
    made.service = service
    made.posts = {
        one.path.replace("{name}", name): one for one in endpoints if one.method == "POST" for name in service.models
    }
    made.router.redirect_slashes = False  # a redirect would send a client to whatever host it named
    return made


async def metrics(service: Service, request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(
        await anyio.to_thread.run_sync(service.metrics.render), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def info(service: Service, request: Request) -> Response:
    """Return the models and the limits that a client needs to know."""
    limits = service.settings
    found = [(model.name, service.loaded(model)) for model in service.models.values()]
    name, first = found[0]
    labels = first.manifest.labels
    return json_response(
        Info(
            model_id=name, model_sha=first.sha256,
            model_type={
                "classifier": {
                    "id2label": {str(place): label for place, label in enumerate(labels)},
                    "label2id": {label: place for place, label in enumerate(labels)},
                }
            },
            max_input_length=first.manifest.max_length, max_client_batch_size=limits.max_texts, auto_truncate=True,
            models=[
                {
                    "name": name, "problem_type": its.manifest.problem_type, "labels": its.manifest.labels,
                    "max_length": its.manifest.max_length, "text_pair": its.manifest.text_pair,
                }
                for name, its in found
            ],
            max_texts=limits.max_texts, max_text_chars=limits.max_text_chars, max_body_bytes=limits.max_body_bytes,
            long_text=limits.long_text,
        )
    )  # fmt: skip


def page(name: str) -> Handler:
    """Make the handler of an HTML page."""
    text = resources.files("ftx.runtime.server").joinpath("pages", name).read_text(encoding="utf-8")

    async def give(service: Service, request: Request) -> Response:
        return HTMLResponse(text, headers=HEADERS)

    return give
