"""A load generator's connection: it reads no more of a response than it needs, as it shares cores with the server."""

from __future__ import annotations

import asyncio

__all__ = ["Client", "post"]


def post(path: str, body: bytes) -> bytes:
    """Write a request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


class Client(asyncio.Protocol):
    """One connection that is kept, with one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self.transport = None
        self._received = b""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """End the request once its response is whole."""
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended or self._waiting is None or self._waiting.done():
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._received = b""
            self._waiting.set_result(int(head[9:12]))

    async def send(self, request: bytes) -> int:
        """Send a request, and give the status of its response.

        Raises:
            OSError: Nobody listens, or the connection was closed.
        """
        loop = asyncio.get_running_loop()
        if self.transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", self.port)
        assert self.transport is not None
        self._waiting = loop.create_future()
        self.transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()
