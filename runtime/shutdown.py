"""Calls of native code, which must not be in progress when the interpreter exits."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

__all__ = ["Native", "share"]

T = TypeVar("T")
# No batch takes this long. Without it, a thread that was killed inside a call would block the exit forever.
LONGEST_CALL_SEC = 120.0
# The interpreter exits in less, unless an `atexit` function is running.
HELD_SEC = 5.0


class Native:
    """Guards the native calls of one process: a context manager around each call.

    A daemon thread that returns from native code while the interpreter exits is terminated there, upon which C++ aborts
    the whole process. So the exit waits for calls in progress, and holds a thread that would start another one, unless
    it is the one that exits: `atexit` functions may still predict.
    """

    def __init__(self) -> None:
        # Entered itself, not by way of the condition: an interrupt inside `Condition.__enter__`, which is Python code,
        # could leave it held, and every other thread would wait for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: list[int] = []  # a thread's number for each of its calls
        self._ended_by: int | None = None
        self._held = True

    @property
    def ended(self) -> bool:
        """Whether the interpreter is exiting, so that no thread can be started."""
        return self._ended_by is not None

    def end(self) -> None:
        """Wait for the calls of other threads that are in progress; hold those that they start from now on."""
        with self._lock:
            self._ended_by = threading.get_ident()
            self._changed.wait_for(lambda: not set(self._running) - {self._ended_by}, LONGEST_CALL_SEC)

    def __enter__(self) -> None:
        with self._lock:
            if self._ended_by in (None, threading.get_ident()) or not self._held:
                self._running.append(threading.get_ident())
                return
        never = threading.Lock()
        never.acquire()
        never.acquire(timeout=HELD_SEC)  # waits without the GIL, while the interpreter exits
        with self._lock:
            self._held = False  # it did not exit: an `atexit` function waits for this thread
            self._running.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running.remove(threading.get_ident())
            self._changed.notify_all()


# With its first finalizer, weakref registers its own `atexit` function. Done now, so that users' functions, which are
# registered later and so run earlier, find all threads working.
weakref.finalize(Native, bool)


def share(work: Callable[[T], None], parts: Iterable[T], threads: int, native: Native) -> None:
    """Process parts in this thread and others, as far as they can be started.

    No thread can be started while the interpreter exits, and fewer than asked for if the system allows no more.

    Args:
        work: Processes a part.
        parts: The parts; each is processed once.
        threads: How many threads to use, including this one.
        native: The guard of this process.

    Raises:
        Exception: The first that `work` raised; the other threads stop after the parts that they have started.
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
        with suppress(RuntimeError):
            for _ in range(0 if native.ended else threads - 1):
                helper = threading.Thread(target=take, name="ftx", daemon=True)  # `native` makes that safe at exit
                helper.start()
                helpers.append(helper)
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
