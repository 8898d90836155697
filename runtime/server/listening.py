"""The sockets that a server listens on: bound before the model is opened, so that a taken port is known at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from ftx.errors import OutputError

__all__ = ["listen", "raise_descriptors"]

# systemd's first socket, and the variables that say for whom it is (sd_listen_fds(3)).
FIRST_SOCKET, SOCKETS, RECEIVER = 3, "LISTEN_FDS", "LISTEN_PID"
# Descriptors that a process gets where the system allows more.
MOST_DESCRIPTORS = 65_536


def listen(host: str, port: int, uds: Path | None) -> list[socket.socket]:
    """Bind the sockets of an address, or take those that systemd has opened for this process.

    Nobody can connect yet: the server listens once its model is ready.

    Args:
        host: A name or address; all that it stands for are bound.
        port: 0: any free one.
        uds: A Unix socket instead. One that nobody listens on any more is replaced.

    Raises:
        OutputError: The address is taken, or not of this machine.
    """
    raise_descriptors()
    if os.environ.get(RECEIVER) == str(os.getpid()):
        numbers = range(FIRST_SOCKET, FIRST_SOCKET + int(os.environ.get(SOCKETS, "0")))
        return [socket.socket(fileno=number) for number in numbers]
    if uds is not None:
        return [unix_socket(uds)]
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            if port == 0 and sockets:  # the same for all
                place = (place[0], sockets[0].getsockname()[1], *place[2:])
            try:
                sockets.append(tcp_socket(family, place))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or len(found) == 1:
                    raise
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except (OSError, UnicodeError) as error:  # UnicodeError: what can't be a host's name
        for one in sockets:
            one.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{host}:{port} can't be listened on: {reason}; choose another --host or --port") from error
    return sockets


def tcp_socket(family: int, place: tuple[object, ...]) -> socket.socket:
    """Bind a TCP socket."""
    # Said to be TCP, without which asyncio leaves Nagle's algorithm on: 40 ms a response.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share the port with another server
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(place)
    except BaseException:
        opened.close()
        raise
    return opened


def unix_socket(path: Path) -> socket.socket:
    """Bind a Unix socket, which its owner and group may use."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                try:
                    other.connect(str(path))
                except ConnectionRefusedError:  # its server is gone
                    path.unlink()
        before = os.umask(0o117)
        try:
            opened.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise OutputError(f"{path} can't be listened on: {reason}; choose another --uds") from error
    return opened


def raise_descriptors() -> None:
    """Allow as many connections as the system does: the limit that a shell sets is for old programs that count few."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
