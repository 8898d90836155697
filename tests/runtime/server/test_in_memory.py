"""The application without a socket: mounted in another one, with several models, and given whatever bytes."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from ftx.runtime.server import ServeSettings, app
from ftx.runtime.server.dialects.classify import ClassifyBody
from ftx.runtime.server.dialects.http import decode
from ftx.runtime.server.dialects.hugging_face import HuggingFaceBody
from ftx.runtime.server.dialects.messages import InferBody, Input
from ftx.runtime.server.dialects.predict import Inputs, Texts
from ftx.runtime.server.dialects.tensors import read_strings, write_strings
from ftx.runtime.server.dialects.v1 import EitherBody
from ftx.runtime.server.dialects.v2 import read_texts
from ftx.runtime.server.failures import RequestError

BODIES = [Texts, Inputs, HuggingFaceBody, ClassifyBody, EitherBody, InferBody]
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def served(heads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    """A server of two models, mounted below a path."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("multi", "single"):
        (folder / name).mkdir()
        shutil.copy(heads[name], folder / name / "model.onnx")
    inner = app(folder, ServeSettings(max_queue_sec=1e6))
    yield Starlette(routes=[Mount("/classifier", inner)])


@pytest.fixture
def ask(served: Starlette) -> Ask:
    def request(method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(served)
            async with httpx.AsyncClient(transport=transport, base_url="http://x/classifier") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    return request


def test_models_are_chosen_by_name(ask: Ask) -> None:
    assert ask("GET", "/v1/models").json() == {"models": ["multi", "single"]}
    for name, key in (("multi", "labels"), ("single", "label")):
        [found] = ask("POST", "/predict", json={"texts": ["good"], "model": name}).json()
        assert key in found
        assert ask("POST", f"/v1/models/{name}:predict", json={"instances": ["good"]}).json()["predictions"] == [found]
        assert ask("POST", "/classify", json={"input": "good", "model": name}).json()["model"] == name
    # The first one is meant where a dialect, or a request, names none.
    assert "labels" in ask("POST", "/predict", json={"texts": ["good"]}).json()[0]
    assert ask("POST", "/classify", json={"input": "good", "model": "other"}).status_code == 404


def test_errors_below_a_path_are_of_their_dialect(ask: Ask) -> None:
    for path, keys in (
        ("/v2/nothing", ["error"]), ("/v1/models/single/nothing", ["error"]),
        ("/nothing", ["type", "title", "status", "detail", "error", "error_type"]),
    ):  # fmt: skip
        response = ask("GET", path)
        assert (response.status_code, list(response.json())) == (404, keys)
    wrong = ask("DELETE", "/classify")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert list(wrong.json()["error"]) == ["message", "type", "param", "code"]
    assert ask("PUT", "/").headers["allow"] == "GET, HEAD, POST"


@settings(max_examples=200)
@given(
    raw=st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["texts", "inputs", "input", "instances", "model", "name", "shape", "datatype", "data", "parameters",
                 "outputs", "id", "text", "text_pair", "top_k", "timeout", "binary_data_size", "truncate"]
            ) | st.text(),
            inner,
        ),
    ).map(lambda value: json.dumps(value).encode())
)  # fmt: skip
def test_bytes_are_a_body_or_an_error(raw: bytes) -> None:
    for kind in BODIES:
        try:
            assert isinstance(decode(raw, kind), kind)
        except RequestError as error:
            assert error.status in (400, 422) and error.kind == "validation"


TEXT = st.text(st.characters(codec="utf-8"))


@given(st.lists(TEXT))
def test_strings_are_read_as_they_were_written(texts: list[str]) -> None:
    data = write_strings(texts)
    assert read_strings(data, len(data)) == texts


@given(st.binary() | st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=9))).map(
    lambda parts: b"".join(struct.pack("<I", size) + data for size, data in parts)
))  # fmt: skip
def test_bytes_are_strings_or_an_error(data: bytes) -> None:
    try:
        texts = read_strings(data, len(data))
    except RequestError as error:
        assert error.status in (400, 422)
    else:
        assert write_strings(texts) == data


@given(st.lists(st.integers(0, 5), max_size=2), st.lists(TEXT, max_size=6), st.booleans())
def test_a_shape_says_how_many_texts_there_are(shape: list[int], texts: list[str], pairs: bool) -> None:
    tensor = Input(name="x", shape=shape, datatype="BYTES", data=list(texts))
    size = 1
    for side in shape:
        size *= side
    try:
        found = read_texts(tensor, b"", pairs=pairs)
    except RequestError as error:
        assert error.status == 422
    else:
        assert size == len(texts)
        assert [part for text in found for part in ([text] if isinstance(text, str) else text)] == texts
        assert all(isinstance(text, tuple) == pairs for text in found)
