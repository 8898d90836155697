"""The OpenAPI document of all dialects."""

from __future__ import annotations

from typing import Any

from ftx.runtime.server.service import Service

__all__ = ["describe"]

TEXT = {"type": "string"}
PAIR = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}
SCORES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["label", "score"],
        "properties": {"label": TEXT, "score": {"type": "number"}},
    },
}
ERROR = {"type": "object", "properties": {"error": {}}}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
}
FAILURES = {
    "400": "The body is no JSON.", "401": "The token is missing or wrong.", "404": "No such model.",
    "408": "The body did not come in time.", "413": "Too many texts, or too long.", "415": "The body is compressed.",
    "422": "The JSON is not what is expected.", "429": "The queue is too long; Retry-After says when to try again.",
    "500": "The model failed on a text.", "503": "Loading, or shutting down.", "504": "The deadline passed.",
}  # fmt: skip


def describe(service: Service) -> dict[str, Any]:
    """Describe every path, its requests and its responses."""
    names = list(service.models)
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": TEXT, "shape": {"type": "array", "items": {"type": "integer"}}, "datatype": {"const": "BYTES"},
            "data": {"type": "array", "items": TEXT}, "parameters": {"type": "object"},
        },
    }  # fmt: skip
    infer = operation(
        "Open Inference Protocol: one tensor of texts", {"type": "object"},
        body({"inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}, "id": TEXT}, "inputs"),
    )  # fmt: skip
    paths: dict[str, Any] = {
        "/predict": {
            "post": operation(
                "Predictions as `ftx predict --json` prints them",
                {"type": "array", "items": {"type": "object"}},
                {
                    "oneOf": [
                        body({"texts": {"type": "array", "items": {"oneOf": [TEXT, PAIR]}}, "model": TEXT}, "texts"),
                        body(
                            {
                                "inputs": {"oneOf": [TEXT, {"type": "array"}]},
                                "truncate": {"type": "boolean"},
                                "raw_scores": {"type": "boolean"},
                            },
                            "inputs",
                        ),
                    ]
                },
                PROBLEM,
            )
        },
        "/": {
            "post": operation(
                "The Hugging Face text classification task",
                {"type": "array", "items": SCORES},
                body(
                    {"inputs": {"oneOf": [TEXT, {"type": "array", "items": TEXT}]}, "parameters": {"type": "object"}},
                    "inputs",
                ),
            )
        },
    }
    for path in ("/classify", "/v1/classify"):
        paths[path] = {
            "post": operation(
                "vLLM's and SGLang's classification",
                {"type": "object"},
                body({"input": {"oneOf": [TEXT, {"type": "array", "items": TEXT}]}, "model": TEXT}, "input"),
            )
        }
    named = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": names}}]
    paths["/v1/models/{name}:predict"] = {
        "parameters": named,
        "post": operation(
            "KServe's first protocol", {"type": "object"}, body({"instances": {"type": "array"}}, "instances")
        ),
    }
    paths["/v2/models/{name}/infer"] = {"parameters": named, "post": infer}
    paths["/v2/models/{name}"] = {"parameters": named, "get": reading("A model's tensors")}
    paths["/v2/models/{name}/ready"] = {"parameters": named, "get": reading("Whether a model answers")}
    for path, said in (
        ("/v2", "What the server speaks"), ("/v2/health/live", "Whether the process answers"),
        ("/v2/health/ready", "Whether the models answer rightly"), ("/health", "The same"),
        ("/info", "Models and limits"), ("/metrics", "Metrics for Prometheus"),
    ):  # fmt: skip
        paths[path] = {"get": reading(said)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ftx serve", "version": "2"},
        "paths": paths,
    }
    if service.settings.token is not None:
        document["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"token": []}]
    return document


def body(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Describe an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


def operation(
    said: str, answer: dict[str, Any], asked: dict[str, Any], failure: dict[str, Any] = ERROR
) -> dict[str, Any]:
    """Describe a POST."""
    return {
        "summary": said,
        "parameters": [{
            "name": "X-Request-Timeout-Ms", "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "Milliseconds that the client waits.",
        }],
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
            **{
                status: {"description": why, "content": {"application/json": {"schema": failure}}}
                for status, why in FAILURES.items()
            },
        },
    }  # fmt: skip


def reading(said: str) -> dict[str, Any]:
    """Describe a GET."""
    return {"summary": said, "responses": {"200": {"description": "OK"}, "503": {"description": FAILURES["503"]}}}
