"""Run a function in a process of its own, so that neither its memory nor its threads disturb a measurement."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from ftx.errors import FtxError
from ftx.runtime.session import first_line

__all__ = ["receive", "run_apart", "start_apart"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def run_apart(
    name: str, function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Run a module-level function in a new process, and give what it returns.

    Raises:
        FtxError: What it raised, or the process died.
    """
    with start_apart(name, respond_once, function, arguments, named) as connection:
        result: Result = receive(connection, name)
        return result


@contextmanager
def start_apart(
    name: str,
    function: Callable[Concatenate[Connection, Arguments], None],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Iterator[Connection]:
    """Run a function with one end of a connection in a new process, and end that when the block ends.

    Args:
        name: What it is, in errors.
        function: A module-level one; what it raises is sent.
        arguments: Its other arguments.
        named: Likewise.

    Yields:
        The other end.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=guarded, args=(theirs, name, function, arguments, named), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    except BaseException:
        process.kill()
        raise
    finally:
        ours.close()
        process.join(timeout=5)
        if process.is_alive():
            process.kill()


def receive(connection: Connection, name: str) -> Any:
    """Wait for a response; an exception is raised here."""
    try:
        response = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        raise FtxError(f"{name} died while it was measured: out of memory?") from error
    if isinstance(response, Exception):
        raise response
    return response


def guarded(
    connection: Connection, name: str, function: Callable[..., None], arguments: Any, named: dict[str, Any]
) -> None:
    """Run the function, and send what it raises. Runs in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and decides
    try:
        with redirect_stdout(sys.stderr):
            function(connection, *arguments, **named)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except FtxError as error:
        connection.send(error)
    except Exception as error:  # toolkits raise anything
        connection.send(FtxError(f"{name} failed: {first_line(error)}"))


def respond_once(connection: Connection, function: Callable[..., Any], arguments: Any, named: dict[str, Any]) -> None:
    """Send what a function returns."""
    connection.send(function(*arguments, **named))
