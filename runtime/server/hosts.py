"""Who may be meant by a request: its Host header, and whose page a browser sent it for."""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Sequence

from starlette.datastructures import Headers

__all__ = ["LOOPBACK", "HostError", "check_allowed", "foreign_page", "host_allowed", "is_loopback"]

# What a client of this machine calls it. A name like 127.0.0.1.example.com is none of these.
LOOPBACK = ("localhost", "*.localhost", "127.0.0.0/8", "[::1]")


class HostError(ValueError):
    """An entry of the hosts that are allowed can't be one."""


def check_allowed(host: str) -> None:
    """Check an entry of the hosts that are allowed.

    Raises:
        HostError: No Host header could be it.
    """
    try:
        if "/" in host:
            ipaddress.ip_network(host)
    except ValueError as error:
        raise HostError(f"host {host!r}: {error}; expected a name, *.NAME, an address or a network") from None
    if not host or host != host.strip() or re.search(r"[^\]:]:\d+$", host):
        raise HostError(f"host {host!r}, expected a name, *.NAME, an address or a network, without a port")


def host_allowed(headers: Headers, allowed: Sequence[str]) -> bool:
    """Tell whether the Host header is one of those allowed: a name, `*.` and a name, an address, or a network."""
    host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
    return any(matches(host, one.lower()) for one in allowed)


@functools.lru_cache(maxsize=64)
def matches(host: str, allowed: str) -> bool:
    """Tell whether a host, without its port, is what an entry allows."""
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    if "/" in allowed:
        try:
            return ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(allowed)
        except ValueError:
            return False
    return host.strip("[]") == allowed.strip("[]")


def foreign_page(headers: Headers) -> bool:
    """Tell whether a browser sends a request for the page of another origin (Fetch Metadata, `Sec-Fetch-Site`)."""
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def is_loopback(opened: socket.socket) -> bool:
    """Tell whether only this machine can connect to a socket of the Internet's protocols."""
    if opened.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback
