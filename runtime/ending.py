"""Work in libraries' own threads and languages, which must not be under way when the interpreter ends."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["Native", "share"]

T = TypeVar("T")
# No batch takes as long. Only a thread that was killed inside a call would hold the end up for ever.
LONGEST_CALL_SEC = 120.0
# The interpreter ends in less, unless a function of `atexit` is at work.
HELD_SEC = 5.0


class Native:
    """Guards calls of native code in one process. As a context manager it holds the end of the process up for a moment.

    A daemon thread that comes back from native code while the interpreter ends is ended in the middle of it, and with
    it C++ aborts the whole process. So the end waits for the calls that are under way, and a thread that would begin
    another one is held, except the one that ends the process: functions of `atexit` may go on to predict.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: list[int] = []  # a thread's number for each of its calls
        self._ended_by: int | None = None
        self._held = True

    @property
    def ended(self) -> bool:
        """Whether the interpreter ends, so that no thread can be started."""
        return self._ended_by is not None

    def end(self) -> None:
        """Wait for what other threads have under way; hold what they begin from now on."""
        with self._changed:
            self._ended_by = threading.get_ident()
            self._changed.wait_for(lambda: not set(self._running) - {self._ended_by}, LONGEST_CALL_SEC)

    def __enter__(self) -> None:
        with self._changed:
            if self._ended_by in (None, threading.get_ident()) or not self._held:
                self._running.append(threading.get_ident())
                return
        never = threading.Lock()
        never.acquire()
        never.acquire(timeout=HELD_SEC)  # waits outside the interpreter, which ends meanwhile
        with self._changed:
            self._held = False  # it did not: a function of `atexit` waits for this thread
            self._running.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running.remove(threading.get_ident())
            self._changed.notify_all()


# With the first finalizer its module registers its own function of `atexit`: now, so that those of users, who register
# theirs later, run before it and find all threads at work.
weakref.finalize(Native, bool)


def share(work: Callable[[T], None], parts: Iterable[T], threads: int, native: Native) -> None:
    """Do work on many parts, in this thread and others, as far as they can be started.

    None can be once the interpreter ends, and fewer than asked where the system allows no more.

    Args:
        work: What is done with a part.
        parts: The parts; each is done once.
        threads: How many threads work, this one included.
        native: Of this process.

    Raises:
        Exception: What `work` raised first; the other threads end after the parts that they have begun.
    """
    lock, waiting, failures = threading.Lock(), iter(parts), list[BaseException]()

    def take() -> None:
        while not failures:
            with lock:
                part = next(waiting, None)
            if part is None:
                return
            try:
                work(part)
            except BaseException as error:
                failures.append(error)

    helpers = []
    try:
        for _ in range(0 if native.ended else threads - 1):
            helper = threading.Thread(target=take, name="ftx", daemon=True)  # `native` sees to it at the end
            helper.start()
            helpers.append(helper)
    except RuntimeError:
        pass
    try:
        take()
        for helper in helpers:
            helper.join()
    except BaseException as error:  # an interrupt
        failures.append(error)
        for helper in helpers:
            helper.join()
        raise
    if failures:
        raise failures[0]
