"""Bad requests get an error of their dialect and nothing else, and the server goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ftx.runtime.server.batcher import Batcher, OverloadedError
from tests.runtime.server.bad_requests import CLOSE, JSON_CASES, RAW_CASES, Case, Raw, message
from tests.runtime.server.serving import WAIT_SEC, Running, serve

GOOD = b'{"texts": ["good"]}'
# What no client is to see.
LEAKS = (
    "traceback",
    'file "',
    "site-packages",
    ".py",
    ".onnx",
    "uvicorn",
    "starlette",
    "onnxruntime",
    "msgspec",
    "/tmp/",
)


@pytest.fixture(scope="module")
def server(heads: dict[str, Path]) -> Iterator[Running]:
    with serve(heads["single"]) as running:
        yield running


def well(server: Running) -> None:
    """Check that a server answers, and that no failure of its own is in its log."""
    with server.client() as client:
        [found] = client.post("/predict", content=GOOD).json()
    assert found["label"] == "positive"
    assert not [line for line in server.log if "Traceback" in line or "never retrieved" in line]


def test_there_are_many() -> None:
    names = [case.name for case in [*JSON_CASES, *RAW_CASES]]
    assert len(names) == len(set(names)) >= 200


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.name[:80])
def test_a_bad_request(server: Running, case: Case) -> None:
    url = httpx.URL(server.url).copy_with(raw_path=case.path.encode())
    headers = {name: value.encode("latin-1") for name, value in case.headers.items()}
    with server.client() as client:
        response = client.request(case.method, url, content=case.body or None, headers=headers)
    assert response.status_code in case.allowed, response.text
    check(response.text, {name.lower(): value for name, value in response.headers.items()}, case.path)
    if response.status_code != 200:
        check_shape(response, case.path)
    well(server)


def check(text: str, headers: dict[str, str], path: str) -> None:
    assert "server" not in headers
    if not path.startswith(("/docs", "/openapi.json", "/metrics", "/info", "/?", "/health")):
        assert not [leak for leak in LEAKS if leak in text.lower()], text


def check_shape(response: httpx.Response, path: str) -> None:
    """Check that an error is of its dialect."""
    said: Any = response.json()
    kind = response.headers["content-type"]
    if path.startswith("/v2") or path.startswith("/v1/models") or path == "/":
        assert list(said) == ["error"] and isinstance(said["error"], str)
        assert kind == "application/json"
    elif path.endswith("/classify"):
        assert list(said["error"]) == ["message", "type", "param", "code"]
        assert said["error"]["code"] == response.status_code
        assert kind == "application/json"
    else:
        assert list(said) == ["type", "title", "status", "detail", "error", "error_type"]
        assert said["status"] == response.status_code and said["error"] == said["detail"]
        assert kind == "application/problem+json"
    if response.status_code == 405:
        assert response.headers["allow"]


def talk(port: int, raw: Raw) -> list[tuple[int, bytes]]:
    """Send bytes, and give the status and the body of each response."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SEC) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in raw.pieces:
            connection.sendall(piece)
        if raw.half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(2**16):
            received += part
            if not raw.ends and received.endswith(b"}"):
                break
    return responses(received, head_only=raw.name == "HEAD")


def responses(received: bytes, *, head_only: bool) -> list[tuple[int, bytes]]:
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = 0 if head_only or status == 100 else int(lengths[0])
        if status != 100:
            found.append((status, received[:size]))
        received = received[size:]
    return found


@pytest.mark.parametrize("raw", RAW_CASES, ids=lambda raw: raw.name)
def test_bytes_on_a_connection(server: Running, raw: Raw) -> None:
    found = talk(server.port, raw)
    assert [status for status, _ in found] == raw.statuses
    for status, body in found:
        check(body.decode(), {}, "")
        if status == 200 and raw.name not in ("HEAD",) and b"live" not in body:
            assert json.loads(body)[0]["label"] == "positive"
    well(server)


def test_heads_alone_and_with_bodies_come_in_their_order(server: Running) -> None:
    head = b"HEAD /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SEC) as connection:
        connection.sendall(head + message() + head + message(GOOD, CLOSE))
        received = b""
        while part := connection.recv(2**16):
            received += part
    first, second, answer, fourth, last = received.replace(b"]HTTP", b"]\r\n\r\nHTTP").split(b"\r\n\r\n")[:5]
    assert all(one.startswith(b"HTTP/1.1 200") for one in (first, second, fourth, last))
    assert json.loads(answer)[0]["label"] == "positive"
    assert json.loads(received.rpartition(b"\r\n\r\n")[2])[0]["label"] == "positive"


def test_the_body_of_an_error_is_short(server: Running) -> None:
    with server.client() as client:
        response = client.post("/predict", json={"texts": ["good"], "model": "a" * 50_000})
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([], None),
        ([b"POST /predict HTTP/1.1\r\n"], None),
        ([b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"], 408),
        ([b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", b"{"], 408),
        ([b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"], 408),
        ([b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea"], 200),
    ],
    ids=["nothing", "half a head", "no body", "half a body", "half a chunk", "half of a second head"],
)
def test_slow_clients_are_sent_away(heads: dict[str, Path], pieces: list[bytes], status: int | None) -> None:
    with serve(heads["single"], head_sec=0.2, body_sec=0.2) as server:
        found = talk(server.port, Raw(name="slow", pieces=pieces, statuses=[]))
        assert [code for code, _ in found] == ([] if status is None else [status])
        well(server)


def test_a_client_that_leaves_is_forgotten(server: Running) -> None:
    body = json.dumps({"texts": ["good"] * 1000}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SEC) as connection:
            connection.sendall(head + body)
    well(server)


@pytest.fixture(scope="module")
def guarded(heads: dict[str, Path]) -> Iterator[Running]:
    with serve(heads["single"], token="sécret", allowed_hosts=("127.0.0.1", "*.example.com")) as running:
        yield running


OPEN = ["/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"]
PAGES = ["/", "/docs", "/openapi.json"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer secret",
        "Basic sécret",
        "sécret",
        "Bearer sécre",
        "Bearer \xff",
    ],
)
def test_all_but_health_and_pages_need_the_token(guarded: Running, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    with guarded.client() as client:
        found = client.get("/openapi.json").json()["paths"]
        for path, methods in found.items():
            for method in methods.keys() - {"parameters"}:
                at = path.replace("{name}", guarded.name).replace("{version}", "1")
                response = client.request(method, at, headers=headers, content=GOOD if method == "post" else None)
                if at in OPEN:
                    assert response.status_code == 200, at
                else:
                    assert response.status_code == 401, at
                    assert response.headers["www-authenticate"] == "Bearer"
                    check_shape(response, at)
        for path in PAGES:
            assert client.get(path).status_code == 200
        # What needs no token tells no names.
        for path in [*OPEN, *PAGES]:
            assert f'"{guarded.name}"' not in client.get(path).text


def test_an_error_before_the_body_came_leaves_the_connection_usable(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SEC) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(2**16)
        assert received.startswith(b"HTTP/1.1 404")
        connection.sendall(b"abcdeGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while part := connection.recv(2**16):
            received += part
        assert received.startswith(b"HTTP/1.1 200")


def test_with_the_token(guarded: Running) -> None:
    with guarded.client() as client:
        response = client.post("/predict", content=GOOD, headers={"Authorization": "Bearer sécret".encode()})
        assert response.json()[0]["label"] == "positive"


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("127.0.0.1:99", 200), ("a.example.com", 200), ("A.EXAMPLE.COM:1", 200), ("example.com", 400),
     ("other", 400), ("", 400), ("127.0.0.1.other", 400), ("[::1]:80", 400), ("otherexample.com", 400)],
)  # fmt: skip
def test_hosts(guarded: Running, host: str, status: int) -> None:
    headers = {"Host": host, "Authorization": "Bearer sécret".encode()}
    with guarded.client() as client:
        for path in ("/predict", "/docs", "/metrics"):
            method = "POST" if path == "/predict" else "GET"
            response = client.request(method, path, headers=headers, content=GOOD if method == "POST" else None)
            assert response.status_code == status, path
        assert client.get("/health", headers=headers).status_code == 200  # probes call by address


@pytest.mark.parametrize("log_texts", [False, True])
def test_texts_are_logged_only_on_demand(heads: dict[str, Path], log_texts: bool) -> None:
    with serve(heads["single"], log_texts=log_texts) as server, server.client() as client:
        for body in ({"texts": ["nan Mrs Smith"]}, {"texts": [["Mrs Smith"]]}, {"texts": ["Mrs Smith", 1]}):
            assert client.post("/predict", json=body).status_code in (422, 500)
        assert any("Smith" in line for line in server.log) == log_texts
        assert any("not finite" in line for line in server.log)


ALL = [
    ("/predict", {"texts": ["good"]}),
    ("/predict", {"inputs": "good"}),
    ("/", {"inputs": "good"}),
    ("/classify", {"input": "good"}),
    ("/v1/models/single:predict", {"instances": ["good"]}),
    (
        "/v2/models/single/infer",
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["good"]}]},
    ),
]


@pytest.mark.parametrize(("path", "body"), ALL)
@pytest.mark.parametrize(
    ("failure", "status", "retry_after", "error_type"),
    [
        (OverloadedError(2.3), 429, "2", "Overloaded"),
        (RuntimeError("closed"), 503, "1", "Unhealthy"),
        (ValueError("secret"), 500, None, "Backend"),
    ],
    ids=["full", "shutting down", "broken"],
)
def test_what_a_client_can_not_help(
    server: Running, monkeypatch: pytest.MonkeyPatch, path: str, body: Any,
    failure: Exception, status: int, retry_after: str | None, error_type: str,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise failure

    before = list(server.log)
    with server.client() as client:
        loaded = server.service.models["single"].loaded
        assert loaded is not None
        with monkeypatch.context() as patched:
            patched.setattr(loaded.batcher, "submit", fail)
            response = client.post(path, json=body)
        assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
        check(response.text, {}, path)
        check_shape(response, path)
        if path == "/predict":
            assert response.json()["error_type"] == error_type
        assert client.post(path, json=body).status_code == 200
    server.log[:] = before


def test_a_full_queue_refuses_by_the_head_alone(
    heads: dict[str, Path], server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the body was read")

    with server.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(Batcher, "full", property(lambda _: True))
            patched.setattr(server.service, "body", read)
            shed = server.service.metrics.shed.labels("predicted wait")._value.get
            before = shed()
            for path, body in ALL:
                response = client.post(path, json=body)
                assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1, path
                assert "date" in response.headers
                check_shape(response, path)
            # What follows the head is dropped, also where it comes later; the connection goes on.
            assert client.post("/predict", content=b" " * 2**20 + GOOD).status_code == 429
            assert client.post("/predict", content=iter([b" " * 2**17, GOOD])).status_code == 429
            assert shed() - before == len(ALL) + 2
            assert client.get("/health/live").status_code == client.get("/metrics").status_code == 200
            head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"
            many = (head + b"\r\n{}") * 500 + head + b"connection: close\r\n\r\n{}"
            patched.undo()
            patched.setattr(Batcher, "full", property(lambda _: True))
            with socket.create_connection(("127.0.0.1", server.port), WAIT_SEC) as raw:
                raw.sendall(many)
                assert b"".join(iter(lambda: raw.recv(2**16), b"")).count(b"HTTP/1.1 429 ") == 501
        assert client.post("/predict", content=GOOD).status_code == 200
    with serve(heads["single"], token="secret") as closed, closed.client() as client:
        monkeypatch.setattr(Batcher, "full", property(lambda _: True))
        assert client.post("/predict", content=GOOD).status_code == 401
        right = {"authorization": "Bearer secret"}
        assert client.post("/predict", content=GOOD, headers=right).status_code == 429


def test_why_a_model_is_not_ready_is_in_the_log(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.service.models["single"], "ready", lambda: "/tmp/model.onnx is broken")
    with server.client() as client:
        for path in ("/health", "/health/ready", "/v2/health/ready", "/v2/models/single/ready", "/v1/models/single"):
            response = client.get(path)
            assert response.status_code == 503
            assert "broken" not in response.text and "onnx" not in response.text
            check_shape(response, path)
        assert client.get("/health/live").status_code == client.get("/v2/health/live").status_code == 200
    assert any("/tmp/model.onnx is broken" in line for line in server.log)


def test_a_server_that_shuts_down_is_alive_and_not_ready(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.service, "draining", True)
    with server.client() as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert client.post("/predict", content=GOOD).status_code == 200


def test_a_failure_of_our_own_says_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret /tmp/path")

    before = list(server.log)
    monkeypatch.setattr(server.service, "answer", fail)
    with server.client() as client:
        for path in ("/predict", "/", "/classify"):
            key = {"/predict": "texts", "/": "inputs", "/classify": "input"}[path]
            response = client.post(path, json={key: ["good"]})
            assert response.status_code == 500 and "secret" not in response.text
            check_shape(response, path)
    assert "secret" in "".join(server.log)
    server.log[:] = before
