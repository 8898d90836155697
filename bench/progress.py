"""A progress bar with the time left, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[], object]]:
    """Show a bar on standard error, if that is a terminal.

    Yields:
        What to call after each step.
    """
    from tqdm import tqdm

    with tqdm(total=steps, desc=what, disable=None, leave=False) as bar:
        yield bar.update
