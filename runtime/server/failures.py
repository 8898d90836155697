"""What a request can be refused with; each dialect writes it in its own shape."""

from __future__ import annotations

import math

__all__ = ["RequestError"]


class RequestError(Exception):
    """A request that gets no predictions.

    Attributes:
        status: The HTTP status.
        kind: A word for programs: `validation`, `empty`, `too_large`, `unauthorized`, `not_found`, `overloaded`,
            `timeout`, `unavailable`, `backend`.
        detail: A sentence for people, which tells a client nothing about the machine.
        retry_after_sec: When to try again; None: the same request fails again.
    """

    def __init__(self, status: int, kind: str, detail: str, *, retry_after_sec: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.retry_after_sec = status, kind, detail, retry_after_sec

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.retry_after_sec is None:
            return {}
        # HTTP has whole seconds. The milliseconds are for clients that read them, as OpenAI's and Azure's do.
        sec = self.retry_after_sec
        return {"retry-after": str(max(1, round(sec))), "retry-after-ms": str(max(1, math.ceil(1e3 * sec)))}
