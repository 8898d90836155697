"""uvicorn's HTTP protocol with bounds that it lacks: on the head of a request, and on what comes after its response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ftx.runtime.server.settings import ServeSettings

__all__ = ["BoundedProtocol", "bounded"]

Refuse = Callable[[MutableMapping[str, Any]], Response | None]


class HeadTooLargeError(Exception):
    """A request line with its headers has too many bytes."""


class WholeResponse:
    """A transport that sends the head of a response together with what follows: one system call less a request.

    Args:
        cycle: The request and its response.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._transport = cycle, cycle.transport
        self._head, self._begun = b"", False

    def write(self, data: bytes) -> None:
        """Send bytes; the head of a response not yet, where something follows."""
        if self._cycle.response_started and not self._begun:
            self._begun = True
            if self._cycle.scope["method"] != "HEAD":
                self._head = data
                return
        self._transport.write(self._head + data)
        self._head = b""

    def is_closing(self) -> bool:
        """Tell whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large, and closes a connection on which none becomes whole.

    Where a response is sent before its request was whole, the rest is read and dropped. Where it does not come in time,
    or is not HTTP, the connection ends: this side is closed, and what comes is dropped until the client closes its own,
    since closing both could destroy the response on its way.

    Attributes:
        head_bytes: Most bytes of a request line and its headers.
        head_sec: Seconds within which they must have come, after the connection was made or their first byte came;
            within which the rest of a body must come whose response was sent; and within which a client must close a
            connection that ends.
        refuse: Gives the response to a request, by its ASGI scope, that is refused before it is read. Such a one costs
            no task.
    """

    head_bytes: int
    head_sec: float
    refuse: Refuse

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._head = 0  # bytes of a head that is not whole; -1: none is awaited
        self._ended = self._too_large = False
        self._late: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self._ended:
            return
        if self._head >= 0:
            self._head += len(data)
            if self._late is None:
                self._wait()
        super().data_received(data)
        if self._head > self.head_bytes and not self._ended:
            self._too_large = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Wait for the rest of a head, also of one that came with the end of the request before."""
        super().on_message_begin()
        if self._late is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Begin the request: its body has bounds of its own."""
        self._head = -1
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.head_bytes:
            self._too_large = True
            raise HeadTooLargeError  # which ends in send_400_response
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Not of a pipeline, each response of which begins the next; nor where the connection ends with the response.
        early = cycle is self.cycle and not self.pipeline and cycle.keep_alive and not self.expect_100_continue
        response = self.refuse(dict(cycle.scope)) if early and not self.flow.write_paused else None
        if response is None:
            cycle.transport = WholeResponse(cycle)  # type: ignore[assignment]
            super()._start_asgi_task(cycle, app)
            return
        fields = (*self.server_state.default_headers, *response.raw_headers)
        lines = [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join((STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body))))
        cycle.response_started = cycle.response_complete = True
        cycle.on_response()

    def on_message_complete(self) -> None:
        """Await another head."""
        self._head = 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of the request, where it is not whole yet."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            if self.expect_100_continue:  # a client that was not told to go on need not send the rest
                self._end()
            else:
                self._wait()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or has too large a head."""
        self.transport.write(
            STATUS_LINE[431 if self._too_large else 400] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self._end()

    def _end(self) -> None:
        """Send no more, and drop what comes until the client closes the connection."""
        self._ended = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(self.head_sec, self._close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        self.transport.close()


def bounded(settings: ServeSettings, refuse: Refuse) -> type[BoundedProtocol]:
    """Make the protocol with the bounds of a server, and what it refuses early."""

    class Bounded(BoundedProtocol):
        head_bytes, head_sec = settings.max_head_bytes, settings.head_sec

    Bounded.refuse = staticmethod(refuse)

    return Bounded
