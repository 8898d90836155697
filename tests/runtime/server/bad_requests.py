"""Requests that no client should send: for each, what the server may say to it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLOSE", "JSON_CASES", "RAW_CASES", "Case", "Raw", "message"]

MODEL = "single"
V2 = f"/v2/models/{MODEL}/infer"
V1 = f"/v1/models/{MODEL}:predict"
# Each dialect's path, and a body around a value in place of the texts.
TARGETS: dict[str, tuple[str, str]] = {
    "ours": ("/predict", '{"texts": %s}'),
    "tei": ("/predict", '{"inputs": %s}'),
    "hugging face": ("/", '{"inputs": %s}'),
    "classify": ("/classify", '{"input": %s}'),
    "v1": (V1, '{"instances": %s}'),
    "v2": (V2, '{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": %s}]}'),
}
GOOD = '["good"]'


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request.

    Attributes:
        name: Of the test.
        path: Of the URL, as it is sent.
        body: Of the request.
        allowed: What its status may be.
    """

    name: str
    path: str
    body: bytes = b""
    allowed: frozenset[int] = frozenset({400, 422})
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def everywhere() -> list[Case]:
    """What each dialect must take the same way: as JSON."""
    deep = b"[" * 150_000
    bodies: dict[str, tuple[bytes | str, set[int]]] = {
        "nothing": (b"", {400}),
        "no JSON": (b"hello", {400}),
        "cut off": (b'{"', {400}),
        "two documents": (b"{}{}", {400, 422}),
        "a comma too many": (b'{"a": 1,}', {400}),
        "deep lists": (deep + b"]" * 150_000, {400, 422}),
        "deep lists cut off": (deep, {400, 422}),
        "UTF-16": ('{"texts": ["good"]}'.encode("utf-16"), {400}),
        "bytes that are no UTF-8": (b'{"texts": ["\xff\xfe"], "inputs": "\xff"}', {400, 422}),
        "a byte order mark": (b"\xef\xbb\xbf{}", {400}),
        "null": (b"null", {422}),
        "true": (b"true", {422}),
        "a number": (b"1", {422}),
        "a string": (b'"good"', {422}),
        "a list": (b'["good"]', {422}),
        "an empty object": (b"{}", {422}),
        "other fields": (b'{"text": "good"}', {422}),
        "a form": (b"texts=good&inputs=good", {400}),
        "10 MB": (b'{"texts": ["' + b"a" * 10_000_000 + b'"]}', {413}),
    }
    values: dict[str, tuple[str, set[int]]] = {
        "null": ("null", {422}),
        "NaN": ("[NaN]", {400}),
        "Infinity": ("[-Infinity]", {400}),
        "1e400": ("[1e400]", {400, 422}),
        "a huge number": ("[" + "9" * 5000 + "]", {400, 422}),
        "numbers": ("[1, 2.5]", {422}),
        "booleans": ("[true]", {422}),
        "nulls": ("[null]", {422}),
        "an object": ('{"a": "good"}', {422}),
        "objects of others": ('[{"word": "good"}]', {422}),
        "lists of lists of lists": ('[[["good"]]]', {422}),
        "a deep list": ("[" * 150_000 + "]" * 150_000, {400, 422}),
        "one string and one number": ('["good", 1]', {422}),
        "a lone surrogate": (r'["\ud800"]', {400}),
        "a bad escape": (r'["\x00"]', {400}),
        "a control character": ('["\x01"]', {400}),
        "a text that is too long": ('["' + "a" * 200_000 + '"]', {413}),
        "a pair for a model of one text": ('[["good", "bad"], ["good", "bad"]]', {422}),
    }
    cases = []
    for dialect, (path, around) in TARGETS.items():
        for name, (body, allowed) in bodies.items():
            data = body if isinstance(body, bytes) else body.encode()
            cases.append(Case(name=f"{dialect}: {name}", path=path, body=data, allowed=frozenset(allowed)))
        for name, (value, allowed) in values.items():
            data = (around % value).encode()
            cases.append(Case(name=f"{dialect}: texts: {name}", path=path, body=data, allowed=frozenset(allowed)))
        many = json.dumps(["good"] * 2000)
        if dialect not in ("v2", "tei"):
            cases.append(
                Case(name=f"{dialect}: too many", path=path, body=(around % many).encode(), allowed=frozenset({413}))
            )
        for name, headers, allowed in (
            ("gzip", {"Content-Encoding": "gzip"}, {415}),
            ("an unknown encoding", {"Content-Encoding": "good"}, {415}),
            ("a wrong type", {"Content-Type": "text/plain"}, {200}),
            ("a type that is none", {"Content-Type": "?;;=/"}, {200}),
            ("an empty timeout", {"X-Request-Timeout-Ms": ""}, {422}),
            ("a timeout of words", {"X-Request-Timeout-Ms": "soon"}, {422}),
            ("a timeout of nan", {"X-Request-Timeout-Ms": "nan"}, {422}),
            ("a timeout of inf", {"X-Request-Timeout-Ms": "inf"}, {422}),
            ("a timeout of 0", {"X-Request-Timeout-Ms": "0"}, {422}),
            ("a timeout of -1", {"X-Request-Timeout-Ms": "-1"}, {422}),
        ):
            good = (around % GOOD).encode()
            cases.append(
                Case(name=f"{dialect}: {name}", path=path, body=good, headers=headers, allowed=frozenset(allowed))
            )
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
            if (method, path) != ("GET", "/"):
                allowed = {405, 404} if path == V1 else {405}
                cases.append(
                    Case(name=f"{dialect}: {method}", path=path, method=method, allowed=frozenset(allowed))
                )  # fmt: skip
    return cases


def odd_values() -> list[Case]:
    """What is JSON of the right form and still wrong, or odd and right."""
    found: list[tuple[str, str, int]] = [
        ("/predict", '{"texts": ["good"], "inputs": "good"}', 422),
        ("/predict", '{"texts": ["good"], "texts": ["bad"]}', 200),
        ("/predict", '{"texts": ["good"], "texts": 1}', 422),
        ("/predict", '{"texts": ["a\\u0000b"]}', 200),
        ("/predict", '{"texts": []}', 200),
        ("/predict", '{"texts": [""]}', 200),
        ("/predict", '{"texts": "good"}', 422),
        ("/predict", '{"texts": ["good"], "model": "other"}', 404),
        ("/predict", '{"texts": ["good"], "model": 1}', 422),
        ("/predict", '{"texts": ["good"], "model": "../../etc/passwd"}', 404),
        ("/predict", '{"inputs": []}', 400),
        ("/predict", '{"inputs": [[]]}', 422),
        ("/predict", '{"inputs": ["a", "b", "c"]}', 422),
        ("/predict", '{"inputs": [["a", "b", "c"]]}', 422),
        ("/predict", '{"inputs": [["a"], "b"]}', 200),
        ("/predict", '{"inputs": "good", "truncate": "yes"}', 422),
        ("/predict", '{"inputs": "good", "raw_scores": 1}', 422),
        ("/predict", '{"inputs": "good", "truncation_direction": "Left"}', 422),
        ("/", '{"inputs": "good", "parameters": []}', 422),
        ("/", '{"inputs": "good", "parameters": {"top_k": 0}}', 422),
        ("/", '{"inputs": "good", "parameters": {"top_k": -1}}', 422),
        ("/", '{"inputs": "good", "parameters": {"top_k": 1.5}}', 422),
        ("/", '{"inputs": "good", "parameters": {"top_k": 100000000000000000000000000000}}', 200),
        ("/", '{"inputs": "good", "parameters": {"function_to_apply": "tanh"}}', 422),
        ("/", '{"inputs": {"text": "good", "text_pair": 1}}', 422),
        ("/", '{"inputs": {"text_pair": "good"}}', 422),
        ("/", '{"inputs": []}', 200),
        ("/classify", '{"input": []}', 200),
        ("/classify", '{"input": [1, 2, 3]}', 422),
        ("/classify", '{"input": "good", "model": 7}', 422),
        ("/v1/classify", '{"messages": [{"role": "user", "content": "good"}]}', 422),
        (V1, '{"instances": [], "inputs": []}', 422),
        (V1, '{"instances": []}', 200),
        (V1, '{"instances": [["good", "bad", "good"]]}', 422),
        (V1, '{"instances": [{"text": null}]}', 422),
        ("/v1/models/other:predict", '{"instances": ["good"]}', 404),
        ("/v1/models/single:explain", '{"instances": ["good"]}', 405),
        ("/v1/models//:predict", '{"instances": ["good"]}', 404),
    ]
    return [
        Case(name=f"{path} {body}", path=path, body=body.encode(), allowed=frozenset({status}))
        for path, body, status in found
    ]


def tensors() -> list[Case]:
    """What the Open Inference Protocol can get wrong."""

    def tensor(**values: Any) -> dict[str, Any]:
        given = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["good"]} | values
        return {name: value for name, value in given.items() if value is not ...}

    def case(name: str, body: Any, status: int = 422) -> Case:
        return Case(name=f"v2: {name}", path=V2, body=json.dumps(body).encode(), allowed=frozenset({status}))

    found = [
        case(f"{key} is {value!r:.40}", {"inputs": [tensor(**{key: value})]})
        for key, value in (
            ("name", ...), ("name", None), ("name", 1), ("shape", ...), ("shape", None), ("shape", 1), ("shape", [2]),
            ("shape", [0]), ("shape", [-1]), ("shape", [1, 2]), ("shape", [1, 1, 1]), ("shape", [1.5]),
            ("shape", ["1"]), ("shape", [2**70]), ("shape", [2**31, 2**33]), ("datatype", ...),
            ("datatype", "FP32"), ("datatype", "bytes"), ("datatype", "INT64"), ("datatype", None), ("data", ...),
            ("data", None), ("data", []), ("data", "good"), ("data", [1]), ("data", ["good", "good"]),
            ("data", [["good", "good"]]), ("data", [[["good"]]]), ("data", {"0": "good"}), ("parameters", []),
            ("parameters", {"binary_data_size": -1}), ("parameters", {"binary_data_size": "4"}),
            ("parameters", {"binary_data_size": 2**70}), ("parameters", {"binary_data_size": True}),
        )
    ]  # fmt: skip
    found = [
        Case(**{**vars(one), "allowed": frozenset({400, 422})}) if "binary_data_size" in one.name else one
        for one in found
    ]
    found += [
        case("no inputs", {"inputs": []}),
        case("two inputs", {"inputs": [tensor(), tensor()]}),
        case("inputs are an object", {"inputs": tensor()}),
        case("id is a number", {"id": 1, "inputs": [tensor()]}),
        case("outputs are names", {"inputs": [tensor()], "outputs": ["label"]}),
        case("an unknown output", {"inputs": [tensor()], "outputs": [{"name": "embedding"}]}),
        case("no outputs", {"inputs": [tensor()], "outputs": []}, 200),
        case("nulls", {"id": None, "inputs": [tensor(parameters=None)], "outputs": None, "parameters": None}, 200),
        *(
            case(f"parameters {value}", {"inputs": [tensor()], "parameters": value})
            for value in ({"timeout": "1"}, {"timeout": -1}, {"timeout": True}, {"binary_data_output": 1}, [], "x")
        ),
        *(
            case(f"output {value}", {"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": value}]})
            for value in ({"classification": 0}, {"classification": "2"}, {"classification": 1.5}, {"binary_data": 2})
        ),
        case("sequence", {"inputs": [tensor()], "parameters": {"sequence_id": 1, "sequence_start": True}}, 200),
        Case(name="v2: another version", path=f"/v2/models/{MODEL}/versions/2/infer", body=b"{}",
             allowed=frozenset({404})),
        Case(name="v2: another model", path="/v2/models/other/infer", body=b"{}", allowed=frozenset({404})),
        Case(name="v2: a path that is none", path="/v2/models", method="GET", allowed=frozenset({404})),
        Case(name="v2: load", path=f"/v2/repository/models/{MODEL}/load", body=b"{}", allowed=frozenset({404})),
    ]  # fmt: skip
    return found + [binary(*values) for values in BINARY]


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<I", len(value) if length is None else length) + value


# Name, bytes behind the JSON, binary_data_size (None: as many), the header (None: as long as the JSON is), status.
BINARY: list[tuple[str, bytes, Any, str | None, int]] = [
    ("a length beyond the end", text(b"good", 5), None, None, 400),
    ("a length of 4 GiB", text(b"good", 2**32 - 1), None, None, 400),
    ("a length cut off", b"\x04\x00", None, None, 400),
    ("a text cut off", text(b"good")[:-1], None, None, 400),
    ("bytes too many", text(b"good") + b"\x00", None, None, 400),
    ("two texts for one", text(b"good") * 2, None, None, 422),
    ("no text", b"", None, None, 422),
    ("a text that is no UTF-8", text(b"\xff\xfe"), None, None, 422),
    ("half a surrogate pair", text(b"\xed\xa0\x80"), None, None, 422),
    ("a text with a NUL", text(b"go\x00od"), None, None, 200),
    ("a size too small", text(b"good"), 7, None, 400),
    ("a size too large", text(b"good"), 9, None, 400),
    ("a size of 2**63", text(b"good"), 2**63, None, 400),
    ("a header beyond the end", text(b"good"), None, "100000", 400),
    ("a header of 0", text(b"good"), None, "0", 400),
    ("a header of -1", text(b"good"), None, "-1", 400),
    ("a header of words", text(b"good"), None, "many", 400),
    ("a header of digits that are not ASCII", text(b"good"), None, "\u00b2", 400),
    ("a header of 5,000 digits", text(b"good"), None, "9" * 5000, 400),
    ("a header within the JSON", text(b"good"), None, "10", 400),
]


def binary(name: str, data: bytes, size: Any, length: str | None, status: int) -> Case:
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES"}
    header = json.dumps(
        {"inputs": [tensor | {"parameters": {"binary_data_size": len(data) if size is None else size}}]}
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)) if length is None else length}
    return Case(name=f"v2: binary: {name}", path=V2, body=header + data, headers=headers, allowed=frozenset({status}))


def paths() -> list[Case]:
    """URLs that lead nowhere, or should."""
    found = [
        ("/nothing", 404), ("//", 404), ("/predict/", 404), ("/%00", 404), ("/%ff", 404),
        ("/%zz", 404), ("/v2/models/%2e%2e%2f%2e%2e", 404), ("/v2/models/single%00", 404), ("/v2/models/%ff", 404),
        ("/v2/models/" + "a" * 5000, 404), ("/v1/models/%F0%9F%8E%AC", 404), ("/docs/../../etc/passwd", 404),
        ("/static/..%2f..%2fetc/passwd", 404), ("/favicon.ico", 404), ("/health?" + "a=b&" * 500, 200),
        ("/?text=good", 200), ("/openapi.json?%zz", 200), ("/metrics", 200), ("/docs", 200), ("/info", 200),
    ]  # fmt: skip
    return [
        Case(name=f"GET {path:.60}", path=path, method="GET", allowed=frozenset({status})) for path, status in found
    ]


JSON_CASES = everywhere() + odd_values() + tensors() + paths()


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Bytes on a connection.

    Attributes:
        name: Of the test.
        pieces: Are sent one after the other.
        statuses: Of the responses that come, in their order.
        half_close: Whether the client says, behind its bytes, that no more come.
        ends: Whether the server then closes the connection.
    """

    name: str
    pieces: list[bytes]
    statuses: list[int]
    half_close: bool = False
    ends: bool = True


def message(body: bytes = b'{"texts": ["good"]}', *headers: str, line: str = "POST /predict HTTP/1.1") -> bytes:
    lines = [line, "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*parts: bytes, head: str = "Transfer-Encoding: chunked") -> bytes:
    start = f"POST /predict HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode()
    return start + b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"


BODY = b'{"texts": ["good"]}'
CLOSE = "Connection: close"
RAW_CASES = [
    Raw(name="one byte at a time", pieces=[bytes([byte]) for byte in message(BODY, CLOSE)], statuses=[200]),
    Raw(name="chunked", pieces=[chunked(BODY[:5], BODY[5:], head=f"Transfer-Encoding: chunked\r\n{CLOSE}")],
        statuses=[200]),
    Raw(name="chunks of one byte", statuses=[200],
        pieces=[chunked(*(bytes([b]) for b in BODY), head=f"Transfer-Encoding: chunked\r\n{CLOSE}")]),
    Raw(name="a chunk's size that is no number", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]),
    Raw(name="a chunk larger than the body may be", statuses=[413], ends=False,
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n600000\r\n", b"a" * 0x600000]),
    Raw(name="chunked and a length", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
    Raw(name="two lengths", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"]),
    Raw(name="a negative length", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"]),
    Raw(name="a length of words", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n"]),
    Raw(name="a length beyond 64 bits", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"]),
    Raw(name="a length of 10 GB", statuses=[413], ends=False,
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\nabc"]),
    Raw(name="an unknown transfer coding", statuses=[400],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"]),
    Raw(name="HTTP/1.0", pieces=[message(line="POST /predict HTTP/1.0")], statuses=[200]),
    Raw(name="HTTP/1.0 without a host", pieces=[b"GET /health HTTP/1.0\r\n\r\n"], statuses=[200]),
    Raw(name="HTTP/0.9", pieces=[b"GET /health\r\n\r\n"], statuses=[200]),
    Raw(name="HTTP/2", pieces=[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], statuses=[400]),
    Raw(name="HTTP/9.9", pieces=[b"GET /health HTTP/9.9\r\n\r\n"], statuses=[400]),
    Raw(name="TLS", pieces=[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))], statuses=[400]),
    Raw(name="no HTTP", pieces=[b"\x00\x01\x02\x03\r\n\r\n"], statuses=[400]),
    Raw(name="an unknown method", pieces=[b"GOOD /predict HTTP/1.1\r\nHost: x\r\n\r\n"], statuses=[400]),
    Raw(name="a header without a colon", pieces=[b"GET /health HTTP/1.1\r\nHost x\r\n\r\n"], statuses=[400]),
    Raw(name="a header with a NUL", pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nA: a\x00b\r\n\r\n"], statuses=[400]),
    Raw(name="a folded header", statuses=[400],
        pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nA: a\r\n\tb\r\nConnection: close\r\n\r\n"]),
    Raw(name="a space in front of a colon", statuses=[400],
        pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nA : a\r\n\r\n"]),
    Raw(name="a URL that is not ASCII", pieces=["GET /héalth HTTP/1.1\r\nHost: x\r\n\r\n".encode()], statuses=[400]),
    Raw(name="a huge URL", statuses=[431],
        pieces=[b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
    Raw(name="a huge header", statuses=[431],
        pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n"]),
    Raw(name="10,000 headers", statuses=[431],
        pieces=[b"GET /health HTTP/1.1\r\n" + b"".join(b"H%d: a\r\n" % number for number in range(10_000)) + b"\r\n"]),
    Raw(name="a head without end", pieces=[b"GET /health HTTP/1.1\r\nA: ", *[b"a" * 8192] * 20], statuses=[431]),
    Raw(name="an absolute URL", pieces=[message(BODY, CLOSE, line="POST http://other/predict HTTP/1.1")],
        statuses=[200], half_close=False),
    Raw(name="an asterisk", pieces=[b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"], statuses=[404]),
    Raw(name="CONNECT", pieces=[b"CONNECT other:443 HTTP/1.1\r\nHost: x\r\n\r\n"], statuses=[400]),
    Raw(name="an upgrade to WebSocket", statuses=[200],
        pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"]),
    Raw(name="an upgrade to HTTP/2", statuses=[200],
        pieces=[b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"]),
    Raw(name="pipelined", pieces=[message() * 3 + message(BODY, CLOSE)], statuses=[200, 200, 200, 200]),
    Raw(name="pipelined, good and bad", statuses=[200, 400, 404, 422, 200],
        pieces=[message() + message(b"{") + message(line="GET /nothing HTTP/1.1") + message(b"{}")
                + message(BODY, CLOSE)]),
    Raw(name="Expect: 100-continue", pieces=[message(BODY, "Expect: 100-continue", CLOSE)], statuses=[200]),
    Raw(name="Expect: 100-continue for too large a body", statuses=[413],
        pieces=[b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10000000\r\n\r\n"]),
    Raw(name="another expectation", pieces=[message(BODY, "Expect: miracles", CLOSE)], statuses=[200]),
    Raw(name="HEAD", pieces=[b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"], statuses=[200]),
    Raw(name="nothing", pieces=[], statuses=[], half_close=True),
    Raw(name="empty lines", pieces=[b"\r\n\r\n\r\n"], statuses=[], half_close=True),
    Raw(name="half a head", pieces=[b"POST /predict HT"], statuses=[], half_close=True),
    Raw(name="half a body", pieces=[message()[:-5]], statuses=[], half_close=True),
]  # fmt: skip
