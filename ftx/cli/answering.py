"""Standard output, which is for results only."""

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
        OutputError: It can't be written. A pipe without a reader stays a BrokenPipeError.
    """
    try:
        click.echo(text, nl=nl)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output could not be written: {error.strerror}: {advice(error)}") from error


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Redirect what libraries print to standard error.

    Raises:
        OutputError: Standard output is closed, or the working directory was removed, where PyTorch ends the process.
    """
    check_stdout()
    if not here():
        raise OutputError(GONE.capitalize())
    with contextlib.redirect_stdout(sys.stderr):
        yield


def check_stdout() -> None:
    """Check before any work that standard output is open.

    Raises:
        OutputError: It is closed.
    """
    try:
        os.write(sys.stdout.fileno(), b"")
    except io.UnsupportedOperation:  # not a file, as in a test or a notebook
        return
    except OSError as error:
        if error.errno == errno.EBADF:
            raise OutputError("Standard output is closed, and the result needs it: redirect it to a file") from None
