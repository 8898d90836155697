"""Standard output, which is for the result alone."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

import click

from ftx.advice import GONE, advice, here
from ftx.errors import OutputError

__all__ = ["answer", "check_stdout", "working"]


def answer(text: str, *, nl: bool = True) -> None:
    """Write a result, or a line of it, to standard output.

    Raises:
        OutputError: It can't be written. A pipe that nobody reads any more stays a BrokenPipeError.
    """
    try:
        click.echo(text, nl=nl)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output could not be written: {error.strerror}: {advice(error)}") from error


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Send to standard error what libraries print while they work, after a look at where they work.

    Raises:
        OutputError: Standard output is closed, or the working directory was removed: PyTorch ends the process there.
    """
    check_stdout()
    if not here():
        raise OutputError(GONE.capitalize())
    with contextlib.redirect_stdout(sys.stderr):
        yield


def check_stdout() -> None:
    """Find out before any work whether standard output is open.

    Raises:
        OutputError: It is closed.
    """
    try:
        os.write(sys.stdout.fileno(), b"")
    except io.UnsupportedOperation:  # no file: a test's, a notebook's
        return
    except OSError as error:
        if error.errno == errno.EBADF:
            raise OutputError("Standard output is closed; expected it open for the result: send it to a file") from None
