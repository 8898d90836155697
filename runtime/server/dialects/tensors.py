"""The binary extension of the Open Inference Protocol: tensors as bytes behind the JSON."""

from __future__ import annotations

import struct
from typing import Any

from ftx.runtime.server.failures import RequestError

__all__ = ["HEADER_LENGTH", "read_strings", "write_strings"]

# How many bytes of the body are JSON.
HEADER_LENGTH = "Inference-Header-Content-Length"


def read_strings(data: bytes, size: Any) -> list[str]:
    """Read strings, each with its length before it in four bytes, little-endian.

    Raises:
        RequestError: They do not fill `size` bytes, which are all that there are, or are no UTF-8.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size != len(data):
        raise RequestError(
            400, "validation", f"binary_data_size is {size!r:.40}, but {len(data)} bytes follow the JSON"
        )
    found, place = [], 0
    while place < len(data):
        if place + 4 > len(data):
            raise RequestError(400, "validation", f"a string's length is cut off at byte {place}")
        (length,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + length > len(data):
            raise RequestError(400, "validation", f"a string of {length} bytes reaches beyond the end")
        try:
            found.append(data[place : place + length].decode())
        except UnicodeDecodeError:
            raise RequestError(422, "validation", f"text {len(found)} is not UTF-8") from None
        place += length
    return found


def write_strings(texts: list[str]) -> bytes:
    """Write strings, each with its length before it."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
