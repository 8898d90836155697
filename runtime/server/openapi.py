"""The OpenAPI document: made of the types that requests are read with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ftx.runtime.server.dialects.http import Endpoint
from ftx.runtime.server.dialects.tensors import HEADER_LENGTH
from ftx.runtime.server.service import TIMEOUT_HEADER, Service

__all__ = ["describe"]

NO_TOKEN, NO_MODEL = "The token is missing or wrong.", "There is no such model."
NOT_READY = "Loading, failing its golden probe, or shutting down."
FAILURES = {
    "400": "The body is not JSON, or the host is not allowed.", "404": NO_MODEL,
    "408": "The body did not arrive in time.", "413": "The body or a text is too long, or there are too many texts.",
    "415": "The body is compressed, which is not supported.",
    "422": "The JSON does not match the schema, or the texts do not fit the model.",
    "429": "The queue is too long; Retry-After says when to try again.", "500": "The model failed on a text.",
    "503": NOT_READY, "504": "The deadline passed.",
}  # fmt: skip
TIMEOUT = {
    "name": TIMEOUT_HEADER, "in": "header", "description": "How long the client waits, in milliseconds.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e12},
}  # fmt: skip
WHOLE = {"type": "integer", "minimum": 1}
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds.", "schema": WHOLE},
    "Retry-After-Ms": {"description": "The same in milliseconds.", "schema": WHOLE},
}


def describe(service: Service, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Describe every path, its requests and its responses."""
    endpoints = [endpoint for endpoint in endpoints if endpoint.described]
    kinds = dict.fromkeys(kind for one in endpoints for kind in (*one.body, *one.answer, one.dialect.error))
    schemas, components = msgspec.json.schema_components(list(kinds), ref_template="#/components/schemas/{name}")
    schema = dict(zip(kinds, schemas, strict=True))
    guarded = service.settings.token is not None
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        path = paths.setdefault(endpoint.path, {})
        path[endpoint.method.lower()] = operation(endpoint, schema, guarded=guarded)
        if parameters := [parameter(name, service) for name in ("name", "version") if f"{{{name}}}" in endpoint.path]:
            path["parameters"] = parameters
    document: dict[str, Any] = {
        "openapi": "3.1.0", "info": {"title": "ftx serve", "version": "2"}, "paths": paths,
        "components": {"schemas": components},
    }  # fmt: skip
    if guarded:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document


def parameter(name: str, service: Service) -> dict[str, Any]:
    """Describe a part of a path. With a token, the names of the models are not for everybody."""
    known = ["1"] if name == "version" else list(service.models)
    schema = {"type": "string"} if name == "name" and service.settings.token else {"type": "string", "enum": known}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def operation(endpoint: Endpoint, schema: dict[Any, dict[str, Any]], *, guarded: bool) -> dict[str, Any]:
    """Describe an endpoint."""
    answer: dict[str, Any] = {"description": "OK"}
    if endpoint.answer:
        answer["content"] = {"application/json": {"schema": one_of([schema[kind] for kind in endpoint.answer])}}
    if endpoint.binary:
        answer["content"]["application/octet-stream"] = {}
        answer["headers"] = {HEADER_LENGTH: {"description": "Bytes of the JSON.", "schema": {"type": "integer"}}}
    statuses = dict(FAILURES) if endpoint.body else {"503": NOT_READY}
    if not endpoint.body and endpoint.guard != "none":
        statuses["400"] = FAILURES["400"]
    if "{name}" in endpoint.path:
        statuses["404"] = NO_MODEL
    said: dict[str, Any] = {"summary": endpoint.summary, "responses": {"200": answer}}
    if guarded and endpoint.guard == "token":
        statuses["401"] = NO_TOKEN
        said["security"] = [{"token": []}]
    content = {endpoint.dialect.media_type: {"schema": schema[endpoint.dialect.error]}}
    for status, why in sorted(statuses.items()):
        said["responses"][status] = {"description": why, "content": content}
        if status == "429":
            said["responses"][status]["headers"] = RETRY_AFTER
    if endpoint.body:
        said["parameters"] = [TIMEOUT]
        said["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": one_of([schema[kind] for kind in endpoint.body])}},
        }
    return said


def one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a value of one of several types."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
