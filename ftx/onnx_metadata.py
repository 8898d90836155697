"""Read and write the metadata of an ONNX file without the onnx package, and seal it with a checksum.

An ONNX file is one protobuf message, `ModelProto`. Protobuf lets a repeated field be continued by appending bytes to
the message, so ftx adds its `metadata_props` at the end, after the graph, and last of all the SHA-256 of every byte
before it. Any ONNX reader sees ordinary metadata. Field numbers: onnx/onnx.proto; wire format: protobuf's
"Encoding" page.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ftx.errors import OnnxFileError

__all__ = ["append_metadata", "read_metadata"]

SEAL = "ftx.sha256"

# Field numbers of onnx.proto.
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_METADATA = 1, 7, 14
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_ATTRIBUTE = 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2

Field = tuple[int, int, int]  # number, then where its content begins and ends


def read_metadata(path: Path) -> dict[str, str]:
    """Read an ONNX file's metadata and check that the file is whole.

    Args:
        path: The `.onnx` file.

    Returns:
        `metadata_props`, the later of two equal keys winning, as in any protobuf map.

    Raises:
        OnnxFileError: The file is missing, empty, truncated, not ONNX, keeps weights in other files (a path that a
            stranger's file could point anywhere), or was changed after it was sealed.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            return walk_model(path, view)
    except (OSError, ValueError) as error:  # ValueError: mmap refuses an empty file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is empty"
        raise OnnxFileError(f"{path} can't be read: {reason}; expected an .onnx file, or a folder with one") from error


def walk_model(path: Path, view: memoryview) -> dict[str, str]:
    """Collect the metadata of the model in `view`, refusing external data and a broken seal."""
    entries: dict[str, str] = {}
    seal_start, has_graph, has_version = -1, False, False
    position = 0
    try:
        for number, start, end in fields(view, 0, len(view)):
            if number == MODEL_GRAPH:
                has_graph = True
                if any(external(view, *tensor) for tensor in tensors(view, start, end)):
                    raise OnnxFileError(
                        f"{path} keeps weights in other files, which ftx does not follow; "
                        "save it as one file (onnx.save without external data) and try again"
                    )
            elif number == MODEL_IR_VERSION:
                has_version = True
            elif number == MODEL_METADATA:
                key, value = entry(view, start, end)
                entries[key] = value
                if key == SEAL:
                    seal_start = position
            position = end
    except (IndexError, UnicodeDecodeError, RecursionError) as error:
        raise OnnxFileError(
            f"{path} is not an ONNX file, or is cut short or damaged; copy or export it again"
        ) from error
    if not (has_graph and has_version):
        raise OnnxFileError(f"{path} is not an ONNX file: it holds no graph; expected a model exported to ONNX")
    if any(key.startswith("ftx.") for key in entries):
        check_seal(path, view, seal_start, entries.get(SEAL, ""))
    return entries


def check_seal(path: Path, view: memoryview, seal_start: int, expected: str) -> None:
    """Compare the SHA-256 of everything before the seal with what the seal says, and allow nothing after it."""
    seal_bytes = metadata_entry(SEAL, expected)
    found = hashlib.sha256(view[: max(seal_start, 0)]).hexdigest()
    if seal_start < 0 or found != expected or seal_start + len(seal_bytes) != len(view):
        raise OnnxFileError(
            f"{path} was damaged or changed after ftx exported it: SHA-256 {found[:12]}..., "
            f"sealed as {expected[:12] or 'nothing'}...; copy it again, or export it again"
        )


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
    """Decode a variable-length integer; give it and the position behind it. IndexError where it does not end."""
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
    """Walk the fields of one message. IndexError where the message breaks off or is no protobuf."""
    while position < end:
        tag, position = read_varint(view, position)
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


def entry(view: memoryview, start: int, end: int) -> tuple[str, str]:
    """Decode a `StringStringEntryProto`."""
    found = {number: str(view[begin:stop], "utf-8") for number, begin, stop in fields(view, start, end)}
    return found.get(ENTRY_KEY, ""), found.get(ENTRY_VALUE, "")


def tensors(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Find every tensor of a graph: its initializers, and those in the attributes and subgraphs of its nodes."""
    for number, begin, stop in fields(view, start, end):
        if number == GRAPH_INITIALIZER:
            yield begin, stop
        elif number == GRAPH_NODE:
            for node_field, node_begin, node_stop in fields(view, begin, stop):
                if node_field != NODE_ATTRIBUTE:
                    continue
                for part, part_begin, part_stop in fields(view, node_begin, node_stop):
                    if part in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                        yield part_begin, part_stop
                    elif part in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                        yield from tensors(view, part_begin, part_stop)


def external(view: memoryview, start: int, end: int) -> bool:
    """Tell whether a `TensorProto` keeps its numbers in another file."""
    for number, begin, _ in fields(view, start, end):
        if number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and view[begin] == 1):
            return True
    return False
