"""The queue of a batcher: whose text comes next, which texts run together, and how long a request would wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ftx.text import Text

__all__ = [
    "BATCH_TEXTS",
    "BATCH_TOKENS",
    "PENDING",
    "READY_TEXTS",
    "Encoded",
    "ExpiredError",
    "OverloadedError",
    "Queue",
    "Ready",
    "Ticket",
]

# Of one core's batch. A short request waits for the end of those under way: beside one of 1,000 texts its median was
# 43 ms with 512 tokens and 28 ms with 256, at the same throughput.
BATCH_TEXTS, BATCH_TOKENS = 16, 256
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


class Queue:
    """Holds requests, and those of their texts that were tokenised. Its callers hold a lock.

    Requests that were begun and those that were not take turns, by tokens; so do the texts of the former.

    Args:
        max_tokens: Of a text.
        max_queue_sec: Longest predicted wait with which a request is accepted, and the longest one it waits.
        now: When the queue is made, by the clock.

    Attributes:
        open: All requests that have not ended.
        queued_tokens: Tokens, estimated, of the texts that no batch has taken.
    """

    def __init__(self, *, max_tokens: int, max_queue_sec: float, now: float) -> None:
        self.max_tokens, self.max_queue_sec = max_tokens, max_queue_sec
        self.open: set[Ticket] = set()
        self.queued_tokens = 0
        self._turn_tokens = 0  # the same, of each request no more than it may put before others at once
        self._fresh: deque[Ticket] = deque()  # of which no text was pulled, the oldest first
        self._begun: deque[Ticket] = deque()  # of which some were, in turn
        self._fresh_ahead = 0  # tokens that were pulled of the former more than of the latter
        self._ready: list[Ready] = []
        self._emptied = now
        self._tokens_per_sec = 0.0  # of all workers
        self._chars_per_token = 4.0

    def __bool__(self) -> bool:
        return bool(self._fresh or self._begun or self._ready)

    def enter(self, ticket: Ticket) -> None:
        """Queue a request.

        Raises:
            OverloadedError: It would wait longer than `max_queue_sec`.
        """
        tokens = sum(ticket.sizes)
        wait = self.predicted_sec(tokens)
        if wait > self.max_queue_sec:
            raise OverloadedError(wait)
        if not self:
            self._emptied = ticket.entered
        self._fresh.append(ticket)
        self.open.add(ticket)
        self._count(ticket, tokens)

    def pull(self, now: float) -> tuple[list[tuple[Ticket, int]], list[tuple[Ticket, Exception]]]:
        """Take texts out of the requests, in turn, to be tokenised; drop what nobody waits for any more."""
        newest_first = now - self._emptied > STANDING_SEC
        pulled: list[tuple[Ticket, int]] = []
        dropped: list[tuple[Ticket, Exception]] = []

        def hopeless(ticket: Ticket) -> bool:
            if ticket in self.open:
                if (error := self._hopeless(ticket, now)) is None:
                    return False
                self.leave(ticket)
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
            return OverloadedError(max(self.predicted_sec(ticket.queued_tokens), self.max_queue_sec))
        return None

    def ready(self, ticket: Ticket, place: int, encoded: Encoded) -> None:
        """Put a text that was tokenised where batches are taken from."""
        self._ready.append(Ready(ticket, place, encoded))
        if encoded.tokens < self.max_tokens:
            ratio = length(ticket.texts[place]) / max(1, encoded.tokens)
            self._chars_per_token += TEXT_WEIGHT * (ratio - self._chars_per_token)

    def failed(self, ticket: Ticket, place: int) -> None:
        """Forget a text that could not be tokenised."""
        self._count(ticket, -ticket.sizes[place])

    def take(self, idle: int) -> list[Ready]:
        """Take a batch: the text that comes next, and those nearest to its length.

        That is the one that has waited longest, of requests that had no turn yet if there are such.

        Args:
            idle: Workers among which what is ready is shared out; 0: one text alone is taken.
        """
        self._ready = [one for one in self._ready if one.ticket in self.open]
        if not self._ready:
            return []
        first = next((one for one in self._ready if not one.ticket.taken), self._ready[0])
        most = min(BATCH_TEXTS, -(-len(self._ready) // idle)) if idle else 1
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
        for one in batch:
            self._count(one.ticket, -one.ticket.sizes[one.place])
            one.ticket.taken += 1
        return batch

    def learn(self, batch: list[Ready], sec: float, *, abreast: int, all_cores: bool) -> None:
        """Learn the speed from a batch, the seconds of all that a worker does for it, and how many work abreast."""
        if sec <= 0 or (all_cores and self._tokens_per_sec):  # one text says little of what many reach
            return
        tokens = sum(one.encoded.tokens for one in batch)
        speed = tokens / sec * (1 if all_cores else abreast)
        known = self._tokens_per_sec
        weight = BATCH_WEIGHT * min(1.0, tokens / BATCH_TOKENS)
        self._tokens_per_sec = known + weight * (speed - known) if known else speed

    def predicted_sec(self, tokens: int) -> float:
        """Predict how long a request of so many tokens waits for others.

        A short one takes turns with those that were begun before it.
        """
        before = self.queued_tokens
        if tokens <= TURN_TOKENS:
            before = min(before, 2 * self._turn_tokens)
        return before / self._tokens_per_sec if self._tokens_per_sec else 0.0

    @property
    def full(self) -> bool:
        """Whether no request would be accepted, however short."""
        return self.predicted_sec(1) > self.max_queue_sec

    def longer_than(self, share: float) -> bool:
        """Tell whether all that is queued takes longer than a share of the longest wait that is accepted."""
        return self.queued_tokens > share * self.max_queue_sec * self._tokens_per_sec

    def _count(self, ticket: Ticket, tokens: int) -> None:
        """Keep the counts of queued tokens, when a request's texts enter or leave the queue."""
        left = ticket.queued_tokens
        after = max(0, left + tokens)
        self.queued_tokens += after - left
        self._turn_tokens += min(after, TURN_TOKENS) - min(left, TURN_TOKENS)
        ticket.queued_tokens = after

    def leave(self, ticket: Ticket) -> None:
        """Take a request out of the queue: whoever calls this ends its future."""
        self.open.discard(ticket)
        self._count(ticket, -ticket.queued_tokens)

    def estimate(self, text: Text) -> int:
        """Estimate a text's tokens from its characters, before it is tokenised."""
        return max(2, min(self.max_tokens, round(length(text) / max(0.5, self._chars_per_token)) + 2))

    def clear(self) -> list[Ticket]:
        """Take all requests out of the queue; give those that have not ended."""
        left = list(self.open)
        for ticket in left:
            self.leave(ticket)
        self._fresh.clear()
        self._begun.clear()
        self._ready.clear()
        return left


def length(text: Text) -> int:
    """Count the characters of a text, or of a pair."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
