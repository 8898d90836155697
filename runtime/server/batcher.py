"""Batch the texts of many requests: no waiting for a batch to fill, no request starves, and every future ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from ftx.runtime.server.queue import PENDING, Encoded, ExpiredError, OverloadedError, Queue, Ready, Ticket
from ftx.text import Text

__all__ = ["Batcher", "Encoded", "Engine", "ExpiredError", "Observer", "OverloadedError", "Ticket"]

# Beside one worker a core: while some wait for the interpreter's lock, their cores compute for others. With 32 clients
# one more gave a tenth more answers. It rests while more than this share of the longest wait is queued: at four times
# the load that two cores could carry the event loop, which reads and refuses requests, needs that lock more; and beside
# a request of 1,000 texts small ones wait for the end of fewer batches.
MORE_WORKERS, MORE_UNTIL = 1, 0.1
# Of the workers, relative to the threads that answer.
NICENESS = 5


class Engine(Protocol):
    """What runs batches. Threads call it at once."""

    cores: int
    max_tokens: int

    def encode(self, texts: list[Text]) -> Sequence[Encoded]:
        """Tokenise texts."""

    def run(self, batch: list[Any], *, all_cores: bool) -> Sequence[Any]:
        """Give a result for each text; an exception in place of a result is that text's error."""


class Observer(Protocol):
    """Is told what happens, for metrics. Calls come from the workers' threads."""

    def ran(self, tokens: list[int], waits: list[float], sec: float) -> None:
        """Take note of a batch: the tokens of each text, the seconds that each waited, and those that all took."""


class Batcher:
    """Runs the texts of many requests in batches.

    A single text with nothing beside it gets a batch of all cores. Else each worker takes batches of its own, for one
    core each: the text that comes next and others of like length.

    Args:
        engine: Runs batches.
        max_queue_sec: Longest predicted wait with which a request is accepted, and the longest one it waits.
        observer: Is told of batches and waits.
        clock: Gives seconds, like `time.monotonic`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_queue_sec: float = 1.0,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._observer, self._clock = observer, clock
        self._changed = threading.Condition()
        self._queue = Queue(max_tokens=engine.max_tokens, max_queue_sec=max_queue_sec, now=clock())
        self._shared = False  # whether a batch of all cores runs
        self._running: dict[int, float] = {}  # since when, by worker
        self._closing = self._closed = False
        self._workers = [
            threading.Thread(target=self._work, args=(number,), name=f"ftx batch {number}", daemon=True)
            for number in range(engine.cores + MORE_WORKERS)
        ]
        for worker in self._workers:
            worker.start()

    # What callers use

    def submit(self, texts: list[Text], *, deadline: float | None = None) -> Ticket:
        """Queue a request.

        Args:
            texts: Its texts.
            deadline: When, by the clock, nobody waits for it any more.

        Raises:
            OverloadedError: It would wait longer than `max_queue_sec`.
            RuntimeError: The batcher is closed.
        """
        sizes = [self._queue.estimate(text) for text in texts]
        ticket = Ticket(texts, sizes, deadline, self._clock(), self._cancel)
        if not texts:
            ticket.future.set_result([])
            return ticket
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._queue.enter(ticket)
            self._changed.notify_all()
        return ticket

    @property
    def predicted_wait_sec(self) -> float:
        """Seconds that a short request would wait now. Takes no lock: whoever refuses requests must not wait."""
        return self._queue.predicted_sec(1)

    @property
    def full(self) -> bool:
        """Whether no request would be accepted now, however short."""
        return self._queue.full

    @property
    def queued_tokens(self) -> int:
        """Tokens, estimated, of the texts that wait."""
        with self._changed:
            return self._queue.queued_tokens

    @property
    def unfinished(self) -> int:
        """Requests that are not answered yet."""
        with self._changed:
            return len(self._queue.open)

    def stuck_sec(self) -> float:
        """Seconds that the longest batch under way has taken."""
        with self._changed:
            return max((self._clock() - since for since in self._running.values()), default=0.0)

    def close(self, timeout_sec: float | None = None) -> int:
        """Accept nothing more, finish what was accepted, and end the workers.

        Returns:
            How many requests could not be finished in time; they end with `ExpiredError`.
        """
        with self._changed:
            if self._closed:
                return 0
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._queue.open, timeout_sec)
            self._closed = True
            lost = self._queue.clear()
            self._changed.notify_all()
        for ticket in lost:
            end(ticket, error=ExpiredError("the server shut down before this request was answered"))
        if not lost:
            for worker in self._workers:
                worker.join()
        return len(lost)

    # What workers do

    def _work(self, number: int) -> None:
        give_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted())
                if self._closed:
                    return
                pulled, dropped = self._queue.pull(self._clock())
                alone = self._shared = len(pulled) == 1 and not self._queue and not self._running
                self._running[number] = self._clock()
            for ticket, error in dropped:
                end(ticket, error=error)
            batch: list[Ready] = []
            try:
                batch = self._batch(pulled, self._tokenise(pulled), alone)
                if batch:
                    self._run(batch, all_cores=alone)
            except BaseException as error:  # of ours: nobody may wait for ever
                places = [*pulled, *((one.ticket, one.place) for one in batch)]
                self._finish([(ticket, place, error) for ticket, place in places])
            finally:
                with self._changed:
                    abreast = max(self.engine.cores, len(self._running))
                    sec = self._clock() - self._running.pop(number)
                    if batch:
                        self._queue.learn(batch, sec, abreast=abreast, all_cores=alone)
                    self._shared = self._shared and not alone
                    self._changed.notify_all()

    def _wanted(self) -> bool:
        """Tell whether there is work for one more worker."""
        if not self._queue or self._shared:
            return False
        return len(self._running) < self.engine.cores or not self._queue.longer_than(MORE_UNTIL)

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket not in self._queue.open:
                return
            self._leave(ticket)
        end(ticket, error=ExpiredError("the client has left"))

    def _leave(self, ticket: Ticket) -> None:
        """Take a request out of the queue, with the lock held, and tell who waits for the last one."""
        self._queue.leave(ticket)
        if not self._queue.open:
            self._changed.notify_all()

    def _tokenise(self, pulled: list[tuple[Ticket, int]]) -> list[Any]:
        """Tokenise texts, together; where that fails one by one, so that a text's error stays its own."""
        texts = [ticket.texts[place] for ticket, place in pulled]
        try:
            return list(self.engine.encode(texts)) if texts else []
        except BaseException:
            return [self._encode_one(text) for text in texts]

    def _encode_one(self, text: Text) -> Any:
        try:
            return self.engine.encode([text])[0]
        except BaseException as error:
            return error

    def _batch(self, pulled: list[tuple[Ticket, int]], encoded: list[Any], alone: bool) -> list[Ready]:
        """Put what was tokenised where batches are taken from, take one, and tell the others of what is left."""
        failed = []
        with self._changed:
            for (ticket, place), one in zip(pulled, encoded, strict=True):
                if isinstance(one, BaseException):
                    self._queue.failed(ticket, place)
                    failed.append((ticket, place, one))
                else:
                    self._queue.ready(ticket, place, one)
            batch = self._queue.take(0 if alone else max(1, self.engine.cores - len(self._running) + 1))
            if self._queue:
                self._changed.notify_all()
        self._finish(failed)
        return batch

    def _run(self, batch: list[Ready], *, all_cores: bool) -> None:
        """Run a batch; one that fails is halved, until the text that fails is alone."""
        begun = self._clock()
        try:
            results = self.engine.run([one.encoded for one in batch], all_cores=all_cores)
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} texts")
        except BaseException as error:  # MemoryError, a panic of a library: the worker goes on
            if len(batch) == 1:
                self._finish([(batch[0].ticket, batch[0].place, error)])
                return
            half = len(batch) // 2
            self._run(batch[:half], all_cores=all_cores)
            self._run(batch[half:], all_cores=all_cores)
            return
        sec = self._clock() - begun
        if self._observer:
            self._observer.ran(
                [one.encoded.tokens for one in batch], [begun - one.ticket.entered for one in batch], sec
            )
        self._finish([(one.ticket, one.place, result) for one, result in zip(batch, results, strict=True)])

    def _finish(self, results: list[tuple[Ticket, int, Any]]) -> None:
        """Note the results of texts, each once; with the last one its request ends."""
        ended = []
        with self._changed:
            for ticket, place, result in results:
                if ticket.results[place] is not PENDING:
                    continue
                ticket.results[place] = result
                ticket.unfinished -= 1
                if not ticket.unfinished and ticket in self._queue.open:
                    self._leave(ticket)
                    ended.append(ticket)
        for ticket in ended:
            end(ticket, results=ticket.results)


def give_way() -> None:
    """Let other threads go first, where threads have priorities: the one that reads requests must never wait long.

    At four times the load that two cores could carry, the median of accepted requests fell from 5 s to 1 s: what could
    not be read could not be refused either.
    """
    if sys.platform == "linux":  # elsewhere priorities belong to processes
        with suppress(OSError):
            here = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, here, os.getpriority(os.PRIO_PROCESS, here) + NICENESS)


def end(ticket: Ticket, *, results: list[Any] | None = None, error: Exception | None = None) -> None:
    """End a request's future, unless its caller has cancelled it meanwhile."""
    if not ticket.future.set_running_or_notify_cancel():
        return
    if error is not None:
        ticket.future.set_exception(error)
    else:
        ticket.future.set_result(results or [])
