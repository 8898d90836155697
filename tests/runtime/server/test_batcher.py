from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftx.runtime.server.batcher import Batcher, ExpiredError, OverloadedError
from ftx.runtime.server.queue import BATCH_TEXTS, BATCH_TOKENS, READY_TEXTS

WAIT_SEC = 60.0  # only ends a hang


@dataclass
class Encoded:
    text: str

    @property
    def tokens(self) -> int:
        return len(self.text)


class Engine:
    """Answers a text with itself in capitals, once its gate is open."""

    max_tokens = 512

    def __init__(self, cores: int = 2) -> None:
        self.cores = cores
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[tuple[bool, list[str]]] = []
        self.encoded: list[str] = []
        self.kinds: list[int] = []  # batches under way: of single cores, or -1 for all cores
        self.lock = threading.Lock()
        self.begun = threading.Semaphore(0)

    def encode(self, texts: list[Any]) -> list[Encoded]:
        if any("!" in text for text in texts):
            raise ValueError("no token")
        with self.lock:
            self.encoded += texts
        return [Encoded(text) for text in texts]

    def run(self, batch: list[Encoded], *, all_cores: bool) -> list[Any]:
        texts = [one.text for one in batch]
        with self.lock:
            assert -1 not in self.kinds and not (all_cores and self.kinds), "both kinds at once"
            self.kinds.append(-1 if all_cores else 1)
            self.batches.append((all_cores, texts))
        self.begun.release()
        try:
            assert self.gate.wait(WAIT_SEC)
            if any("bad" in text for text in texts):
                raise ArithmeticError("bad")
            if any("dead" in text for text in texts):
                raise KeyboardInterrupt
            return [OverflowError("nan") if "nan" in text else text.upper() for text in texts]
        finally:
            with self.lock:
                self.kinds.pop()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def batcher(engine: Engine) -> Iterator[Batcher]:
    running = Batcher(engine, max_queue_sec=1e9)
    yield running
    engine.gate.set()
    running.close(WAIT_SEC)


def test_a_single_text_gets_all_cores(engine: Engine, batcher: Batcher) -> None:
    assert batcher.submit(["a"]).future.result(WAIT_SEC) == ["A"]
    assert engine.batches == [(True, ["a"])]


def test_results_come_in_the_order_of_the_texts(batcher: Batcher) -> None:
    texts = [f"{number}" * (1 + number % 7) for number in range(500)]
    assert batcher.submit(texts).future.result(WAIT_SEC) == texts
    assert batcher.submit([]).future.result(WAIT_SEC) == []


def hold(engine: Engine, batcher: Batcher) -> Any:
    """Keep all workers from taking more, by a text that has all cores until the gate opens."""
    engine.gate.clear()
    first = batcher.submit(["first"])
    assert engine.begun.acquire(timeout=WAIT_SEC)
    return first


def test_batches_are_bounded_and_of_like_length(engine: Engine, batcher: Batcher) -> None:
    first = hold(engine, batcher)
    texts = [letter * size for size in (4, 200) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tickets = [batcher.submit([text]) for text in texts]
    engine.gate.set()
    assert [ticket.future.result(WAIT_SEC)[0] for ticket in tickets] == [text.upper() for text in texts]
    assert first.future.result(WAIT_SEC) == ["FIRST"]
    for all_cores, batch in engine.batches[1:]:
        assert len(batch) <= BATCH_TEXTS and len(batch) * max(map(len, batch)) <= BATCH_TOKENS
        assert all_cores == (len(batch) == 1) or not all_cores
        assert max(map(len, batch)) == min(map(len, batch))
    assert max(len(batch) for _, batch in engine.batches) > 1


def test_a_request_of_many_texts_does_not_starve_one_of_one(engine: Engine, batcher: Batcher) -> None:
    first = hold(engine, batcher)
    many = batcher.submit(["many"] * 1000)
    one = batcher.submit(["one"])
    engine.gate.set()
    assert one.future.result(WAIT_SEC) == ["ONE"]
    texts = [text for _, batch in engine.batches for text in batch]
    assert texts.index("one") <= 1 + 2 * 64  # what was tokenised ahead, by each worker
    assert many.future.result(WAIT_SEC) == ["MANY"] * 1000
    assert first.future.result(WAIT_SEC)


def test_a_failure_is_halved_down_to_its_text(engine: Engine, batcher: Batcher) -> None:
    first = hold(engine, batcher)
    tickets = [batcher.submit([text]) for text in ("good", "bad.", "fine", "nan.", "dead", "what", "no!!")]
    engine.gate.set()
    found = [ticket.future.result(WAIT_SEC)[0] for ticket in tickets]
    assert [type(one) for one in found] == [
        str, ArithmeticError, str, OverflowError, KeyboardInterrupt, str, ValueError,
    ]  # fmt: skip
    assert first.future.result(WAIT_SEC) == ["FIRST"]
    assert batcher.submit(["still"]).future.result(WAIT_SEC) == ["STILL"]


def test_what_nobody_waits_for_is_not_tokenised(engine: Engine, batcher: Batcher) -> None:
    first = hold(engine, batcher)
    late = batcher.submit(["late"], deadline=time.monotonic() - 1)
    gone = batcher.submit(["gone"] * 10)
    kept = batcher.submit(["kept"])
    gone.cancel()
    engine.gate.set()
    assert kept.future.result(WAIT_SEC) == ["KEPT"]
    for ticket in (late, gone):
        with pytest.raises(ExpiredError):
            ticket.future.result(WAIT_SEC)
    assert set(engine.encoded) == {"first", "kept"}
    assert first.future.result(WAIT_SEC)
    assert batcher.queued_tokens == 0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(Engine):
    """Takes a second for ten tokens, by a clock that only it moves."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(cores=1)
        self.clock = clock

    def run(self, batch: list[Encoded], *, all_cores: bool) -> list[Any]:
        results = super().run(batch, all_cores=all_cores)
        self.clock.now += sum(one.tokens for one in batch) / 10
        return results


def test_a_request_is_refused_by_the_wait_that_is_predicted() -> None:
    clock = Clock()
    engine = Slow(clock)
    batcher = Batcher(engine, max_queue_sec=100.0, clock=clock)
    assert batcher.predicted_wait_sec == 0.0
    batcher.submit(["warm" * 10]).future.result(WAIT_SEC)
    assert engine.begun.acquire(timeout=WAIT_SEC)  # else `hold` takes its begin for that of its own
    hold(engine, batcher)
    before = len(engine.encoded)
    with pytest.raises(OverloadedError) as refused:
        for _ in range(1000):
            batcher.submit(["text" * 10])
    assert 100 < refused.value.retry_after_sec < 115
    assert refused.value.retry_after_sec == pytest.approx(batcher.queued_tokens / 10)
    assert len(engine.encoded) == before
    engine.gate.set()
    batcher.close(WAIT_SEC)


def test_under_a_standing_queue_the_newest_comes_first_and_what_waited_too_long_is_refused() -> None:
    clock = Clock()
    engine = Slow(clock)
    batcher = Batcher(engine, max_queue_sec=5.0, clock=clock)
    hold(engine, batcher)
    old = [batcher.submit([f"old {number}"]) for number in range(100)]
    clock.now += 10
    new = [batcher.submit([f"new {number}"]) for number in range(3)]
    engine.gate.set()
    assert [ticket.future.result(WAIT_SEC) for ticket in new] == [["NEW 0"], ["NEW 1"], ["NEW 2"]]
    wait([ticket.future for ticket in old], WAIT_SEC)
    assert all(isinstance(ticket.future.exception(), OverloadedError) for ticket in old)
    assert engine.encoded[1] == "new 2"
    batcher.close(WAIT_SEC)


def test_closing_finishes_what_was_accepted(engine: Engine) -> None:
    batcher = Batcher(engine)
    first = hold(engine, batcher)
    tickets = [batcher.submit([f"{number}"]) for number in range(50)]
    closing: list[int] = []
    closer = threading.Thread(target=lambda: closing.append(batcher.close()))
    closer.start()
    while True:
        try:
            tickets.append(batcher.submit(["more"]))
        except RuntimeError:
            break
    engine.gate.set()
    closer.join(WAIT_SEC)
    assert closing == [0]
    assert all(ticket.future.done() and not ticket.future.exception() for ticket in (first, *tickets))


def test_what_can_not_be_finished_in_time_is_counted(engine: Engine) -> None:
    batcher = Batcher(engine)
    first = hold(engine, batcher)
    other = batcher.submit(["other"])
    assert batcher.unfinished == 2 and batcher.stuck_sec() >= 0
    assert batcher.close(timeout_sec=0) == 2
    for ticket in (first, other):
        assert isinstance(ticket.future.exception(WAIT_SEC), ExpiredError)
    engine.gate.set()


def test_many_clients_get_their_own_answers(engine: Engine, batcher: Batcher) -> None:
    failures: list[BaseException] = []

    def client(number: int) -> None:
        try:
            for turn in range(50):
                texts = [f"{number}-{turn}-{place}" for place in range(1 + turn % 5)]
                assert batcher.submit(texts).future.result(WAIT_SEC) == texts
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(WAIT_SEC)
    assert not failures
    assert batcher.queued_tokens == 0 and batcher.unfinished == 0


def test_a_request_that_is_cancelled_ends_at_once_and_makes_room(engine: Engine, batcher: Batcher) -> None:
    first = hold(engine, batcher)
    before = batcher.queued_tokens
    gone = batcher.submit(["gone"] * 100)
    assert batcher.queued_tokens > before
    gone.cancel()
    gone.cancel()
    assert isinstance(gone.future.exception(0), ExpiredError)  # while all workers are busy
    assert batcher.queued_tokens == before and batcher.unfinished == 1
    engine.gate.set()
    assert first.future.result(WAIT_SEC) == ["FIRST"]
    gone.cancel()
    assert engine.encoded == ["first"]


def test_a_future_that_its_caller_cancels_holds_nobody_up(engine: Engine, batcher: Batcher) -> None:
    hold(engine, batcher)
    cancelled, other = batcher.submit(["cancelled"]), batcher.submit(["other"])
    assert cancelled.future.cancel()
    engine.gate.set()
    assert other.future.result(WAIT_SEC) == ["OTHER"]
    batcher.close(WAIT_SEC)
    assert batcher.unfinished == 0


def test_what_waited_too_long_is_refused_though_newer_ones_go_first() -> None:
    clock = Clock()
    engine = Slow(clock)
    batcher = Batcher(engine, max_queue_sec=5.0, clock=clock)
    hold(engine, batcher)
    old = batcher.submit(["old"])
    clock.now += 4
    newer = [batcher.submit([f"{number}" * 40]) for number in range(3)]
    clock.now += 2
    engine.gate.set()
    assert isinstance(old.future.exception(WAIT_SEC), OverloadedError)
    assert [one.future.result(WAIT_SEC) for one in newer] == [[f"{number}" * 40] for number in range(3)]
    assert "old" not in engine.encoded
    batcher.close(WAIT_SEC)


def test_a_request_that_was_begun_goes_on_under_a_standing_queue_of_newer_ones() -> None:
    clock = Clock()
    engine = Slow(clock)
    batcher = Batcher(engine, max_queue_sec=1e9, clock=clock)
    engine.gate.clear()
    many = batcher.submit(["many"] * 200)
    assert engine.begun.acquire(timeout=WAIT_SEC)
    clock.now += 1
    small = [batcher.submit([f"s{number:03}"]) for number in range(400)]
    engine.gate.set()
    wait([many.future, *(one.future for one in small)], WAIT_SEC)
    texts = [text for _, batch in engine.batches for text in batch]
    many_at = [place for place, text in enumerate(texts) if text == "many"]
    # Of each two texts one is of the request that was begun; what was tokenised ahead may come before. A worker that
    # the system does not run keeps back what it took to tokenise, and a batch.
    counted = many_at[: -(READY_TEXTS + BATCH_TEXTS)]
    assert len(counted) == 120 and counted[-1] <= 2 * len(counted) + 2 * READY_TEXTS
    assert [text for text in texts if text != "many"][:2] == ["s399", "s398"]
    batcher.close(WAIT_SEC)


class Short(Engine):
    """Forgets a text."""

    def encode(self, texts: list[Any]) -> list[Encoded]:
        return super().encode(texts)[: len(texts) - texts.count("forgotten")]

    def run(self, batch: list[Encoded], *, all_cores: bool) -> list[Any]:
        results = super().run(batch, all_cores=all_cores)
        return results[:-1] if any(one.text == "lost" for one in batch) else results


def test_an_engine_that_forgets_a_text_ends_no_worker_and_leaves_nothing_queued() -> None:
    engine = Short()
    batcher = Batcher(engine, max_queue_sec=1e9)
    for texts in (["forgotten"], ["lost"], ["a", "forgotten", "b"], ["a", "lost", "b"]):
        found = batcher.submit(texts).future.result(WAIT_SEC)
        assert len(found) == len(texts) and any(isinstance(one, Exception) for one in found)
    assert batcher.submit(["still"]).future.result(WAIT_SEC) == ["STILL"]
    assert batcher.close(WAIT_SEC) == 0
    assert batcher.queued_tokens == 0 and batcher.predicted_wait_sec == 0


EXPECTED = {"bad": ArithmeticError, "dead": KeyboardInterrupt, "nan": OverflowError, "no!": ValueError}
TEXTS = st.sampled_from(["a", "of some length", "quite " * 60, *EXPECTED])
REQUESTS = st.lists(
    st.tuples(
        st.lists(TEXTS, max_size=40), st.sampled_from(["", "", "", "cancel", "expired", "cancel future"]), st.booleans()
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.integers(1, 4))
def test_whatever_comes_every_future_ends_with_its_own(requests: list[tuple[list[str], str, bool]], cores: int) -> None:
    engine = Engine(cores)
    batcher = Batcher(engine, max_queue_sec=1e9)
    tickets = []
    for texts, fate, gate in requests:
        engine.gate.set() if gate else engine.gate.clear()
        ticket = batcher.submit(list(texts), deadline=time.monotonic() - 1 if fate == "expired" else None)
        if fate == "cancel":
            ticket.cancel()
        elif fate == "cancel future":
            ticket.future.cancel()
        tickets.append(ticket)
    engine.gate.set()
    assert batcher.close(WAIT_SEC) == 0
    for ticket, (texts, fate, _) in zip(tickets, requests, strict=True):
        assert ticket.future.done()
        if ticket.future.cancelled():
            assert fate == "cancel future"
        elif ticket.future.exception():
            assert fate in ("cancel", "expired") and isinstance(ticket.future.exception(), ExpiredError)
        else:
            for text, found in zip(texts, ticket.future.result(), strict=True):
                assert isinstance(found, EXPECTED[text]) if text in EXPECTED else found == text.upper()
    assert batcher.queued_tokens == batcher.unfinished == 0 and batcher.predicted_wait_sec == 0
