"""Calls while a process ends, in what a fork left, and from threads that end with the interpreter."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.runtime import shutdown
from ftx.runtime.shutdown import Native, share

Words = Callable[..., Path]
WAIT_SEC = 120.0  # only ends a hang
# Few batches, and many: more than two for each thread, so that in mode auto each thread takes some.
SIZES = (1, 300)


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    # Python 3.12 and later warn of any fork beside threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_SEC)


DAEMONS = """
import sys, threading
from ftx import Predictor
predictor = Predictor(sys.argv[1], mode=sys.argv[2], intra_op_num_threads=2)
texts = ["good", "bad"] * int(sys.argv[3])
begun = threading.Barrier(5)

def work():
    begun.wait()
    while True:
        predictor(texts)

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["latency", "auto", "throughput"])
@pytest.mark.parametrize("size", SIZES)
def test_daemon_threads_do_not_abort_the_end(words: Words, mode: str, size: int) -> None:
    """Without the guard it is all of a dozen tries that end in C++'s `terminate`."""
    path = words()
    for _ in range(3):
        done = run(DAEMONS, path, mode, size)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


AT_EXIT = """
import atexit, sys
from ftx import Predictor
texts = ["good", "bad"] * int(sys.argv[2])

def late(name):
    print(name, *sorted({one.label for one in predictor(texts)}), flush=True)

class Last:
    def __del__(self):
        late("deleted")

atexit.register(late, "registered before")
predictor = Predictor(sys.argv[1], intra_op_num_threads=2)
atexit.register(late, "registered after")
last = Last()
"""


@pytest.mark.parametrize("size", SIZES)
def test_calls_at_exit_and_in_finalizers_answer(words: Words, size: int) -> None:
    done = run(AT_EXIT, words(), size)
    assert (done.returncode, done.stderr) == (0, "")
    labels = "negative positive"
    assert done.stdout.splitlines() == [
        f"registered after {labels}", f"registered before {labels}", f"deleted {labels}"
    ]  # fmt: skip


LATE_THREAD = """
import sys, threading
from ftx import Predictor
predictor = Predictor(sys.argv[1], intra_op_num_threads=2)

def work():
    threading.main_thread().join()  # the interpreter ends, and waits for this thread
    print(len(predictor(["good", "bad"] * 300)), flush=True)

threading.Thread(target=work).start()
"""


def test_a_thread_that_the_end_waits_for_answers(words: Words) -> None:
    done = run(LATE_THREAD, words())
    assert (done.returncode, done.stdout, done.stderr) == (0, "600\n", "")


# Tokenizers before 0.22 warn in every forked process, unless this is set.
FORKED = """
import os, sys
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from ftx import Predictor
predictor = Predictor(sys.argv[1], intra_op_num_threads=4)
predictor(["good"])
child = os.fork()
if not child:
    try:
        if "use" in sys.argv[2:]:
            assert predictor(["good", "bad"] * 300)[0].label == "positive"
        if "close" in sys.argv[2:]:
            predictor.close()
        if "delete" in sys.argv[2:]:
            del predictor
        if "exit" in sys.argv[2:]:
            sys.exit(0)
        os._exit(0)
    finally:
        if "exit" not in sys.argv[2:]:
            os._exit(1)
status = os.waitpid(child, 0)[1]
assert predictor(["good"])[0].label == "positive"
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("used", [[], ["use"]], ids=["unused", "used"])
@pytest.mark.parametrize("how", [["close"], ["delete"], ["close", "delete"], ["exit"], ["close", "exit"]], ids=" ".join)
def test_what_a_fork_left_can_be_let_go(words: Words, used: list[str], how: list[str]) -> None:
    """The threads of its sessions are gone, and to destroy these would crash the process."""
    done = run(FORKED, words(), *used, *how)
    assert (done.returncode, done.stderr) == (0, "")


def test_closing_while_calls_run(words: Words) -> None:
    from ftx import Predictor

    predictor = Predictor(words(), intra_op_num_threads=2, batch_size=1)
    texts, begun, ends = ["good", "bad"] * 500, threading.Barrier(5), list[str]()

    def work() -> None:
        begun.wait(WAIT_SEC)
        try:
            while True:
                found = predictor(texts)
                assert [one.label for one in found] == ["positive", "negative"] * 500
        except ValueError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(WAIT_SEC)
    predictor.close()
    for thread in threads:
        thread.join(WAIT_SEC)
    assert ends == ["this Predictor is closed"] * 4


def test_work_is_shared_and_each_part_done_once() -> None:
    done: list[int] = []
    share(done.append, range(1000), 4, Native())
    assert sorted(done) == list(range(1000))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_failure_ends_the_work(threads: int) -> None:
    begun: list[int] = []

    def work(part: int) -> None:
        begun.append(part)
        raise KeyError(part)

    with pytest.raises(KeyError):
        share(work, range(1000), threads, Native())
    assert len(begun) <= threads


def test_threads_that_can_not_be_started_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refused(self: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)
    done: list[int] = []
    share(done.append, range(100), 8, Native())
    assert sorted(done) == list(range(100)) and len(started) == 1


FLUSHED = """
import atexit, queue, sys, threading
asked, answered = queue.Queue(), []

def work():
    while (texts := asked.get()) is not None:
        answered.append(len(predictor(texts)))

def flush():
    asked.put(["good", "bad"] * 300)
    asked.put(["good"])
    asked.put(None)
    thread.join()
    print(*answered, flush=True)

if sys.argv[2] == "before":
    atexit.register(flush)
import ftx.runtime
if sys.argv[2] == "after":
    atexit.register(flush)
predictor = ftx.runtime.Predictor(sys.argv[1], intra_op_num_threads=2)
thread = threading.Thread(target=work, daemon=True)
thread.start()
"""


@pytest.mark.parametrize("registered", ["before", "after"])
def test_a_function_at_exit_may_wait_for_a_daemon_thread(words: Words, registered: str) -> None:
    done = run(FLUSHED, words(), registered)
    assert (done.returncode, done.stdout, done.stderr) == (0, "600 1\n", "")


def test_the_end_waits_for_others_and_lets_this_thread_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "HELD_SEC", WAIT_SEC)
    native, inside, leave, entered = Native(), threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        with native:
            inside.set()
            leave.wait(WAIT_SEC)

    def let_go() -> None:
        while not native.ended:
            pass
        leave.set()

    def late() -> None:
        with native:
            entered.append("late")

    for target in (work, let_go):
        threading.Thread(target=target, daemon=True).start()
    assert inside.wait(WAIT_SEC)
    native.end()
    assert leave.is_set()
    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    with native:
        entered.append("this")
    thread.join(1)
    assert thread.is_alive() and entered == ["this"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="This system has no interval timer")
def test_an_interrupt_leaves_nothing_held() -> None:
    """Entered by way of a `threading.Condition`, half of the interrupts left the lock held."""
    native = Native()

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(300):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.0001)
                while True:
                    with native:
                        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    def use() -> None:
        with native:
            pass

    other = threading.Thread(target=use, daemon=True)
    other.start()
    other.join(WAIT_SEC)
    assert not other.is_alive()
