"""Serve a classifier over HTTP, in the dialects that clients of other servers speak."""

from __future__ import annotations

from ftx.errors import require

require("serve", "starlette", "uvicorn", "httptools", "prometheus_client", "msgspec")

from ftx.runtime.server.app import app  # noqa: E402
from ftx.runtime.server.run import serve  # noqa: E402
from ftx.runtime.server.settings import ServeSettings  # noqa: E402

__all__ = ["ServeSettings", "app", "serve"]
