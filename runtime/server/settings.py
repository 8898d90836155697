"""How a server serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftx.machine import check_threads
from ftx.runtime.inputs import SWITCH, check_choice, whole_number
from ftx.runtime.server.hosts import check_allowed
from ftx.runtime.settings import LONG_TEXTS

__all__ = ["ServeSettings"]


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Limits and habits of a server.

    Attributes:
        threads: Cores for the batches of each model; None: those that this process may use.
        max_queue_sec: Longest predicted wait with which a request is accepted.
        max_body_bytes: Of a request.
        max_text_chars: Of a text.
        max_texts: Of a request.
        max_head_bytes: Of a request line and its headers.
        head_sec: Seconds within which they must have arrived.
        body_sec: Seconds within which a request's body must have arrived.
        request_sec: Seconds after which a request is given up, unless it says fewer.
        stuck_sec: Seconds of one batch after which the server says that it is not ready.
        drain_grace_sec: Seconds that a server which is to end goes on accepting, until load balancers know.
        drain_sec: Seconds that it takes at most to finish what it accepted.
        token: What clients must send as `Authorization: Bearer TOKEN`; None: nothing.
        allowed_hosts: Hosts that the header `Host` may name: names, `*.` and a name, addresses, networks; none: all.
        own_pages_only: Whether what a browser sends for pages of other origins is refused, but for links.
        long_text: `truncate` or `window`, as for `Predictor`.
        fallback: The fp32 file of the same export, as for `Predictor`.
        invariant: As for `Predictor`.
        allow_label_change: Whether a file with other labels may replace one that is served.
        log_texts: Whether logs may hold texts.

    Raises:
        ValueError: A value is not one of those that are described.
    """

    threads: int | None = None
    max_queue_sec: float = 1.0
    max_body_bytes: int = 2**22
    max_text_chars: int = 100_000
    max_texts: int = 1024
    max_head_bytes: int = 2**16
    head_sec: float = 30.0
    body_sec: float = 30.0
    request_sec: float = 60.0
    stuck_sec: float = 60.0
    drain_grace_sec: float = 0.0
    drain_sec: float = 30.0
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    own_pages_only: bool = False
    long_text: str = "truncate"
    fallback: Path | None = None
    invariant: bool = False
    allow_label_change: bool = False
    log_texts: bool = False

    def __post_init__(self) -> None:
        check_threads(self.threads, "threads")
        for name in ("max_body_bytes", "max_text_chars", "max_texts", "max_head_bytes"):
            whole_number(getattr(self, name), name, least=1)
        for name, value in vars(self).items():
            if name.endswith("_sec") and not (isinstance(value, (int, float)) and value >= 0):
                raise ValueError(f"{name} {value!r:.60}, expected seconds, 0 or more")
        choices = {
            "long_text": LONG_TEXTS, "invariant": SWITCH, "own_pages_only": SWITCH, "allow_label_change": SWITCH,
            "log_texts": SWITCH,
        }  # fmt: skip
        for name, known in choices.items():
            check_choice(getattr(self, name), name, known)
        if isinstance(self.allowed_hosts, str):
            raise ValueError(f"allowed_hosts {self.allowed_hosts!r}, expected a tuple of hosts")
        for host in self.allowed_hosts:
            check_allowed(host)
