"""Batch the texts of many requests: no waiting for a batch to fill, no request starves, and every future ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ftx.text import Text

__all__ = ["Batcher", "Encoded", "Engine", "ExpiredError", "Observer", "OverloadedError", "Ticket"]

# Of one core's batch: more texts or tokens do not fit its cache, and answer no more texts a second.
BATCH_TEXTS, BATCH_TOKENS = 16, 512
# Beyond a few texts a batch gains less from one more than it loses by so much padding.
FEW_TEXTS, PADDING = 4, 0.1
# Tokenised ahead, so that a batch finds others of like length. What comes later waits behind it.
READY_TEXTS, READY_TOKENS = 64, 2 * BATCH_TOKENS
# A queue that was not empty for so long is a standing one: then the newest request comes first, so that those which are
# answered are answered in time (Maurer, "Fail at Scale", ACM Queue 13(8), 2015: adaptive LIFO with CoDel's interval).
STANDING_SEC = 0.1
# What a request may put before others at once, in the prediction of their wait.
TURN_TOKENS = 512
# Weight of a whole batch in the moving average of speed, and of a text in that of its characters a token.
BATCH_WEIGHT, TEXT_WEIGHT = 0.1, 0.01
# In the place of a result that is not there yet.
PENDING = object()


class OverloadedError(Exception):
    """The queue is too long for a request to be answered in time.

    Attributes:
        retry_after_sec: The wait that was predicted.
    """

    def __init__(self, retry_after_sec: float) -> None:
        super().__init__(f"the queue is {retry_after_sec:.2f} s long")
        self.retry_after_sec = retry_after_sec


class ExpiredError(Exception):
    """A request's deadline passed, or its client left, before its texts were run."""


class Encoded(Protocol):
    """A tokenised text."""

    @property
    def tokens(self) -> int:
        """Tokens that it takes in a batch."""


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

    def ran(self, texts: int, tokens: int, padded: int, sec: float) -> None:
        """Take note of a batch: its texts, tokens, tokens with padding, and seconds."""

    def waited(self, sec: float) -> None:
        """Take note of the seconds that a text waited."""


@dataclass(eq=False)
class Ticket:
    """A request in the queue.

    Attributes:
        texts: Its texts.
        sizes: Tokens of each, estimated.
        deadline: When nobody waits for it any more.
        entered: When it came.
        drop: Takes it out of the queue.
        future: Ends with a list of results, one a text, of which some may be exceptions; or with `ExpiredError` or
            `OverloadedError`.
        results: Those that are there.
        pulled: How many of its texts were taken to be tokenised.
        taken: How many were taken into a batch.
        unfinished: How many have no result yet.
        queued_tokens: Of its texts that no batch has taken, estimated.
    """

    texts: list[Text]
    sizes: list[int]
    deadline: float | None
    entered: float
    drop: Callable[[Ticket], None]
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(init=False)
    pulled: int = 0
    taken: int = 0
    unfinished: int = field(init=False)
    queued_tokens: int = 0

    def __post_init__(self) -> None:
        self.results = [PENDING] * len(self.texts)
        self.unfinished = len(self.texts)

    def cancel(self) -> None:
        """Drop what of it was not begun: the client has left."""
        self.drop(self)


@dataclass(eq=False)
class Ready:
    """A text that was tokenised and waits for a batch."""

    ticket: Ticket
    place: int
    encoded: Encoded


class Batcher:
    """Runs the texts of many requests in batches.

    A single text with nothing beside it gets a batch of all cores. Else each core takes batches of its own: the text
    that comes next and others of like length. Requests that were begun and those that were not take turns, by tokens;
    so do the texts of the former.

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
        self.max_queue_sec = max_queue_sec
        self._observer, self._clock = observer, clock
        self._changed = threading.Condition()
        self._open: set[Ticket] = set()  # all that have not ended
        self._fresh: deque[Ticket] = deque()  # of which no text was pulled, the oldest first
        self._begun: deque[Ticket] = deque()  # of which some were, in turn
        self._fresh_ahead = 0  # tokens that were pulled of the former more than of the latter
        self._ready: list[Ready] = []
        self._queued_tokens = self._turn_tokens = 0  # of texts that no batch has taken; the latter at most a turn each
        self._emptied = clock()
        self._shared = False  # whether a batch of all cores runs
        self._running: dict[int, float] = {}  # since when, by worker
        self._tokens_per_sec = 0.0  # of all cores
        self._chars_per_token = 4.0
        self._closing = self._closed = False
        self._workers = [
            threading.Thread(target=self._work, args=(number,), name=f"ftx batch {number}", daemon=True)
            for number in range(engine.cores)
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
        sizes = [self._estimate(text) for text in texts]
        ticket = Ticket(texts, sizes, deadline, self._clock(), self._cancel)
        if not texts:
            ticket.future.set_result([])
            return ticket
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            wait = self._predicted(sum(sizes))
            if wait > self.max_queue_sec:
                raise OverloadedError(wait)
            if not self._waiting():
                self._emptied = ticket.entered
            self._fresh.append(ticket)
            self._open.add(ticket)
            self._count(ticket, sum(sizes))
            self._changed.notify_all()
        return ticket

    @property
    def predicted_wait_sec(self) -> float:
        """Seconds that a short request would wait now."""
        with self._changed:
            return self._predicted(1)

    @property
    def queued_tokens(self) -> int:
        """Tokens, estimated, of the texts that wait."""
        with self._changed:
            return self._queued_tokens

    @property
    def unfinished(self) -> int:
        """Requests that are not answered yet."""
        with self._changed:
            return len(self._open)

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
            self._changed.wait_for(lambda: not self._open, timeout_sec)
            self._closed = True
            lost = list(self._open)
            self._open.clear()
            self._fresh.clear()
            self._begun.clear()
            self._ready.clear()
            self._changed.notify_all()
        for ticket in lost:
            end(ticket, error=ExpiredError("the server shut down before this request was answered"))
        if not lost:
            for worker in self._workers:
                worker.join()
        return len(lost)

    # What workers do

    def _work(self, number: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._waiting() and not self._shared))
                if self._closed:
                    return
                pulled, dropped = self._pull()
                alone = len(pulled) + len(self._ready) == 1 and not (self._running or self._fresh or self._begun)
                self._shared = alone
                self._running[number] = self._clock()
            for ticket, error in dropped:
                end(ticket, error=error)
            batch: list[Ready] = []
            try:
                self._tokenise(pulled)
                with self._changed:
                    batch = self._take(alone)
                if batch:
                    self._run(batch, all_cores=alone)
                    self._learn(batch, self._clock() - self._running[number], all_cores=alone)
            except BaseException as error:  # of ours: nobody may wait for ever
                for ticket, place in [*pulled, *((one.ticket, one.place) for one in batch)]:
                    self._finish(ticket, place, error)
            finally:
                with self._changed:
                    del self._running[number]
                    self._shared = self._shared and not alone
                    self._changed.notify_all()

    def _waiting(self) -> bool:
        return bool(self._fresh or self._begun or self._ready)

    def _pull(self) -> tuple[list[tuple[Ticket, int]], list[tuple[Ticket, Exception]]]:
        """Take texts out of the requests, in turn, to be tokenised; drop what nobody waits for any more."""
        now = self._clock()
        newest_first = now - self._emptied > STANDING_SEC
        pulled: list[tuple[Ticket, int]] = []
        dropped: list[tuple[Ticket, Exception]] = []

        def hopeless(ticket: Ticket) -> bool:
            if ticket in self._open:
                if (error := self._hopeless(ticket, now)) is None:
                    return False
                self._leave(ticket)
                dropped.append((ticket, error))
            return True

        while self._fresh and hopeless(self._fresh[0]):  # the newest first would never come to them
            self._fresh.popleft()
        texts = READY_TEXTS - len(self._ready)
        tokens = READY_TOKENS - sum(one.encoded.tokens for one in self._ready)
        while (self._fresh or self._begun) and texts > 0 and tokens > 0:
            if not (self._fresh and self._begun):
                self._fresh_ahead = 0
            fresh = bool(self._fresh) and (not self._begun or self._fresh_ahead <= 0)
            source = self._fresh if fresh else self._begun
            ticket = source.pop() if fresh and newest_first else source.popleft()
            if hopeless(ticket):
                continue
            size = ticket.sizes[ticket.pulled]
            pulled.append((ticket, ticket.pulled))
            texts, tokens = texts - 1, tokens - size
            self._fresh_ahead += size if fresh else -size
            ticket.pulled += 1
            if ticket.pulled < len(ticket.texts):
                self._begun.append(ticket)
        return pulled, dropped

    def _hopeless(self, ticket: Ticket, now: float) -> Exception | None:
        """Tell why a request is not worth its work: nobody waits for it, or it waited too long and was not begun."""
        if ticket.deadline is not None and now > ticket.deadline:
            return ExpiredError("the deadline passed while the request waited")
        if not ticket.pulled and now - ticket.entered > self.max_queue_sec:
            return OverloadedError(max(self._predicted(ticket.queued_tokens), self.max_queue_sec))
        return None

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket not in self._open:
                return
            self._leave(ticket)
        end(ticket, error=ExpiredError("the client has left"))

    def _tokenise(self, pulled: list[tuple[Ticket, int]]) -> None:
        """Tokenise texts, together; where that fails one by one, so that a text's error stays its own."""
        texts = [ticket.texts[place] for ticket, place in pulled]
        encoded: list[Any]
        try:
            encoded = list(self.engine.encode(texts)) if texts else []
        except BaseException:
            encoded = [self._encode_one(text) for text in texts]
        failed = []
        with self._changed:
            for (ticket, place), one in zip(pulled, encoded, strict=True):
                if isinstance(one, BaseException):
                    self._count(ticket, -ticket.sizes[place])
                    failed.append((ticket, place, one))
                else:
                    self._ready.append(Ready(ticket, place, one))
                    if one.tokens < self.engine.max_tokens:
                        ratio = length(ticket.texts[place]) / max(1, one.tokens)
                        self._chars_per_token += TEXT_WEIGHT * (ratio - self._chars_per_token)
        for ticket, place, error in failed:
            self._finish(ticket, place, error)

    def _encode_one(self, text: Text) -> Any:
        try:
            return self.engine.encode([text])[0]
        except BaseException as error:
            return error

    def _take(self, alone: bool) -> list[Ready]:
        """Take a batch: the text that comes next, and those nearest to its length.

        That is the one that has waited longest, of requests that had no turn yet if there are such.
        """
        self._ready = [one for one in self._ready if one.ticket in self._open]
        if not self._ready:
            return []
        first = next((one for one in self._ready if not one.ticket.taken), self._ready[0])
        idle = max(1, len(self._workers) - len(self._running) + 1)
        most = 1 if alone else min(BATCH_TEXTS, -(-len(self._ready) // idle))
        beside = (one for one in self._ready if one is not first)
        others = sorted(beside, key=lambda one: abs(one.encoded.tokens - first.encoded.tokens))
        batch, longest, tokens = [first], first.encoded.tokens, first.encoded.tokens
        for one in others:
            longest, tokens = max(longest, one.encoded.tokens), tokens + one.encoded.tokens
            padded = longest * (len(batch) + 1)
            padding = padded - tokens > PADDING * padded and len(batch) >= FEW_TEXTS
            if len(batch) >= most or padded > BATCH_TOKENS or padding:
                break
            batch.append(one)
        taken = set(map(id, batch))
        self._ready = [one for one in self._ready if id(one) not in taken]
        begun = self._clock()
        for one in batch:
            self._count(one.ticket, -one.ticket.sizes[one.place])
            one.ticket.taken += 1
            if self._observer:
                self._observer.waited(begun - one.ticket.entered)
        if self._waiting():
            self._changed.notify_all()
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
                self._finish(batch[0].ticket, batch[0].place, error)
                return
            half = len(batch) // 2
            self._run(batch[:half], all_cores=all_cores)
            self._run(batch[half:], all_cores=all_cores)
            return
        sec = self._clock() - begun
        tokens = sum(one.encoded.tokens for one in batch)
        if self._observer:
            self._observer.ran(len(batch), tokens, len(batch) * max(one.encoded.tokens for one in batch), sec)
        for one, result in zip(batch, results, strict=True):
            self._finish(one.ticket, one.place, result)

    def _learn(self, batch: list[Ready], sec: float, *, all_cores: bool) -> None:
        """Learn the speed from a batch and all that a worker does for it."""
        if sec <= 0 or (all_cores and self._tokens_per_sec):  # one text says little of what many reach
            return
        tokens = sum(one.encoded.tokens for one in batch)
        speed = tokens / sec * (1 if all_cores else len(self._workers))
        with self._changed:
            known = self._tokens_per_sec
            weight = BATCH_WEIGHT * min(1.0, tokens / BATCH_TOKENS)
            self._tokens_per_sec = known + weight * (speed - known) if known else speed

    def _finish(self, ticket: Ticket, place: int, result: Any) -> None:
        """Note a text's result, once; with the last one its request ends."""
        with self._changed:
            if ticket.results[place] is not PENDING:
                return
            ticket.results[place] = result
            ticket.unfinished -= 1
            if ticket.unfinished or ticket not in self._open:
                return
            self._leave(ticket)
        end(ticket, results=ticket.results)

    # What both need, with the lock held

    def _predicted(self, tokens: int) -> float:
        """Predict how long a request of so many tokens waits for others.

        A short one takes turns with those that were begun before it.
        """
        before = self._queued_tokens
        if tokens <= TURN_TOKENS:
            before = min(before, 2 * self._turn_tokens)
        return before / self._tokens_per_sec if self._tokens_per_sec else 0.0

    def _count(self, ticket: Ticket, tokens: int) -> None:
        """Keep the counts of queued tokens, when a request's texts enter or leave the queue."""
        left = ticket.queued_tokens
        after = max(0, left + tokens)
        self._queued_tokens += after - left
        self._turn_tokens += min(after, TURN_TOKENS) - min(left, TURN_TOKENS)
        ticket.queued_tokens = after

    def _leave(self, ticket: Ticket) -> None:
        """Take a request out of the queue: whoever calls this ends its future, without the lock."""
        self._open.discard(ticket)
        self._count(ticket, -ticket.queued_tokens)
        if not self._open:
            self._changed.notify_all()

    def _estimate(self, text: Text) -> int:
        """Estimate a text's tokens from its characters, before it is tokenised."""
        return max(2, min(self.engine.max_tokens, round(length(text) / max(0.5, self._chars_per_token)) + 2))


def length(text: Text) -> int:
    """Count the characters of a text, or of a pair."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


def end(ticket: Ticket, *, results: list[Any] | None = None, error: Exception | None = None) -> None:
    """End a request's future, unless its caller has cancelled it meanwhile."""
    if not ticket.future.set_running_or_notify_cancel():
        return
    if error is not None:
        ticket.future.set_exception(error)
    else:
        ticket.future.set_result(results or [])
