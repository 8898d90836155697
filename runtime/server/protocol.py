"""uvicorn's HTTP protocol with two bounds that it lacks: bytes of a request's head, and seconds until it is whole."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["BoundedProtocol"]


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large, and closes a connection on which none becomes whole.

    Attributes:
        head_bytes: Most bytes of a request line and its headers.
        head_sec: Seconds within which they must have come, after the connection was made or their first byte came.
    """

    head_bytes = 2**16
    head_sec = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._head = 0  # bytes of a head that is not whole; -1: none is awaited
        self._late: asyncio.TimerHandle | None = self.loop.call_later(self.head_sec, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self._head >= 0:
            self._head += len(data)
            if self._late is None:
                self._late = self.loop.call_later(self.head_sec, self._close)
        super().data_received(data)
        if self._head > self.head_bytes and not self.transport.is_closing():
            self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin the request: its body has bounds of its own."""
        self._head = -1
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Await another head."""
        self._head = 0
        super().on_message_complete()

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        self.transport.close()
