"""Read and write the metadata of an ONNX file without the onnx package, and seal it with a checksum.

An ONNX file is one protobuf message, `ModelProto`. In protobuf a repeated field can be extended by appending bytes to
the message, so ftx appends its `metadata_props` after the graph, and last the SHA-256 of all bytes before it. Other
ONNX readers see ordinary metadata. Field numbers: onnx/onnx.proto; wire format: protobuf's "Encoding" page.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ftx.errors import OnnxFileError

__all__ = ["append_metadata", "read_model"]

SEAL = "ftx.sha256"

# Field numbers of onnx.proto.
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_METADATA = 1, 7, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2
# By message: which of its fields hold messages, an operator's name, or a reference to data in another file.
PARTS: dict[str, dict[int, str]] = {
    "model": {MODEL_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external data", 14: "data location"},
}
# Operators that no text classifier needs: those that may run indefinitely, or read files themselves.
# (`If` runs once; exporters write it for DeBERTa.)
REFUSED_OPERATORS = {
    b"Loop", b"Scan", b"SequenceMap", b"BeamSearch", b"GreedySearch", b"Sampling", b"WhisperBeamSearch", b"EPContext",
}  # fmt: skip
# A hundred times as many as a large model has: a malicious file would keep Python busy for an hour.
MAX_FIELDS = 5_000_000
MAX_TAG = 2**32 - 1

Field = tuple[int, int, int]  # number, and where its content begins and ends


def read_model(path: Path, view: memoryview, *, sealed: bool = True) -> tuple[dict[str, str], str]:
    """Read an ONNX file's metadata, and check that the file is complete.

    Args:
        path: The `.onnx` file, for messages.
        view: Its bytes.
        sealed: Whether to refuse a file that was changed after it was sealed.

    Returns:
        `metadata_props`, in which the last of equal keys wins, as in any protobuf map; and the SHA-256 of all bytes.

    Raises:
        OnnxFileError: The file is truncated, not ONNX, keeps weights in other files (an untrusted file could name any
            path), has loops, or was changed after it was sealed.
    """
    entries: dict[str, str] = {}
    seal_start, numbers, position = -1, set(), 0
    walk = Walk(path, view)
    try:
        for number, start, end in fields(view, 0, len(view)):
            numbers.add(number)
            if number == MODEL_METADATA:
                key, value = walk.entry(start, end)
                entries[key] = value
                if key == SEAL:
                    seal_start = position
            elif number in PARTS["model"]:
                walk.check(PARTS["model"][number], start, end)
            walk.count()
            position = end
    except (IndexError, UnicodeDecodeError, RecursionError) as error:
        raise OnnxFileError(
            f"{path} is not an ONNX file, or is truncated or damaged; copy or export it again"
        ) from error
    if not {MODEL_IR_VERSION, MODEL_GRAPH} <= numbers:
        raise OnnxFileError(f"{path} is not an ONNX file: it holds no graph; expected a model exported to ONNX")
    digest = hashlib.sha256(view[: max(seal_start, 0)])
    if sealed and any(key.startswith("ftx.") for key in entries):
        check_seal(path, digest.hexdigest(), entries.get(SEAL, ""), len(view) - seal_start if seal_start >= 0 else 0)
    digest.update(view[max(seal_start, 0) :])
    return entries, digest.hexdigest()


def check_seal(path: Path, found: str, expected: str, seal_bytes: int) -> None:
    """Compare the SHA-256 of everything before the seal with the seal, and allow nothing after it."""
    if found != expected or seal_bytes != len(metadata_entry(SEAL, expected)):
        raise OnnxFileError(
            f"{path} was changed after export, by another tool, or is damaged: SHA-256 {found[:12]}..., sealed as "
            f"{expected[:12] or 'nothing'}...; copy or export it again, or verify what the tool made of it, and seal "
            f"that: ftx verify --onnx {path} --against RUN --reseal"
        )


class Walk:
    """Walks the messages of one model.

    Args:
        path: The file, for messages.
        view: Its bytes.
    """

    def __init__(self, path: Path, view: memoryview) -> None:
        self._path, self._view, self._fields = path, view, 0

    def check(self, kind: str, start: int, end: int) -> None:
        """Refuse weights in other files and unwanted operators in a message of this kind and those inside."""
        parts = PARTS[kind]
        for number, begin, stop in fields(self._view, start, end):
            self.count()
            part = parts.get(number)
            if part is None:
                continue
            if part == "operator":
                if (name := bytes(self._view[begin:stop])) in REFUSED_OPERATORS:
                    raise OnnxFileError(
                        f"{self._path} has the operator {name.decode()}, which ftx does not run: a text classifier "
                        "needs no loops and reads no files; export the model again without it"
                    )
            elif part in PARTS:
                self.check(part, begin, stop)
            # A data location of 0 means this file; protobuf has many encodings of 1.
            elif part == "external data" or bytes(self._view[begin:stop]) != b"\0":
                raise OnnxFileError(
                    f"{self._path} keeps weights in other files, which ftx does not read; "
                    "save it as one file (onnx.save without external data) and try again"
                )

    def entry(self, start: int, end: int) -> tuple[str, str]:
        """Decode a `StringStringEntryProto`."""
        found = {}
        for number, begin, stop in fields(self._view, start, end):
            self.count()
            if number in (ENTRY_KEY, ENTRY_VALUE):
                found[number] = str(self._view[begin:stop], "utf-8")
        return found.get(ENTRY_KEY, ""), found.get(ENTRY_VALUE, "")

    def count(self) -> None:
        """Count a field."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise OnnxFileError(f"{self._path} has more than {MAX_FIELDS} protobuf fields, as no text classifier has")


def append_metadata(path: Path, entries: dict[str, str]) -> None:
    """Append metadata to an ONNX file and seal it.

    Args:
        path: The `.onnx` file, changed in place.
        entries: Keys and values for `metadata_props`.
    """
    with path.open("ab") as file:
        for key, value in entries.items():
            file.write(metadata_entry(key, value))
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    with path.open("ab") as file:
        file.write(metadata_entry(SEAL, digest.hexdigest()))
        file.flush()
        os.fsync(file.fileno())


def metadata_entry(key: str, value: str) -> bytes:
    """Encode one `StringStringEntryProto` as a `metadata_props` field of `ModelProto`."""
    content = length_delimited(ENTRY_KEY, key.encode()) + length_delimited(ENTRY_VALUE, value.encode())
    return length_delimited(MODEL_METADATA, content)


def length_delimited(number: int, content: bytes) -> bytes:
    """Encode a protobuf field of wire type 2."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Encode a protobuf variable-length integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Decode a variable-length integer; return it and the position after it. IndexError if it does not end."""
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("a varint of more than 64 bits")


def fields(view: memoryview, position: int, end: int) -> Iterator[Field]:
    """Walk the fields of one message. IndexError if the message is truncated or not protobuf."""
    while position < end:
        tag, position = read_varint(view, position)
        if tag > MAX_TAG:  # protobuf's own readers ignore higher bits, and would see another field
            raise IndexError(f"a tag of more than 32 bits: {tag}")
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 2:
            length, start = read_varint(view, position)
            position = start + length
        else:
            start = position
            if wire_type == 0:
                _, position = read_varint(view, position)
            elif wire_type in (1, 5):
                position += 8 if wire_type == 1 else 4
            else:
                raise IndexError(f"wire type {wire_type}")
        if position > end or number == 0:
            raise IndexError("a field that ends behind its message")
        yield number, start, position
