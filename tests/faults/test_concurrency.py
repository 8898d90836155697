"""Two jobs at once on one output; threads, forks and the end of the process in the middle of a call; many openings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.commands import check_ending
from tests.faults.jobs import Job, check_foreign, check_result, foreign_files
from tests.faults.ledger import Ledger, LostError

LIMIT_SEC = 600
JOBS = {"csv": 2, "parquet": 2, "train": 1, "export": 1}


@pytest.mark.parametrize("how", ["both begin", "one goes on", "both overwrite"])
@pytest.mark.parametrize("name", JOBS)
def test_two_at_once(
    name: str, how: str, job: Callable[[str], Job], ledger: Ledger, new_folder: Callable[[], Path], base: Path
) -> None:
    """One of them makes the whole result, and the other says that it can't, or comes after it."""
    twice = job(name)

    def attempt(_: int) -> None:
        folder = new_folder()
        foreign_files(folder)
        commands = [twice.begin(folder), twice.go_on(folder) if how == "one goes on" else twice.begin(folder)]
        if how == "both overwrite":
            commands = [[*command, "--overwrite"] for command in commands]
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda command: twice.commands.run(*command, under=base), commands))
        for outcome in outcomes:
            check_ending(outcome, usual=twice.usual)
        statuses = [outcome.status for outcome in outcomes]
        assert 0 in statuses, [outcome.stderr for outcome in outcomes]
        if not check_result(twice, folder):
            raise LostError("success, and no result")
        check_foreign(folder)
        left = sorted({path.name for path in folder.iterdir()} - set(twice.left))
        assert not left, f"left behind: {', '.join(left)}"
        if how == "both begin" and statuses == [0, 0]:
            raise LostError("both took the place")

    # One after the other: the two of a pair run beside each other.
    ledger.try_each(range(ledger.count(JOBS[name])), attempt, workers=1)


HEAD = """
import os, signal, sys, threading, time
from ftx import Predictor
path = sys.argv[1]
TEXTS = ["The movie was great!", "The plot was awful", "", "x" * 500, "The music was dull"]
MANY = TEXTS * 100
def labels(predictor, texts):
    return [one.label for one in predictor(texts)]
"""

SCRIPTS = {
    "32 threads": """
errors = []
for mode in ("auto", "latency", "throughput"):
    with Predictor(path, mode=mode, intra_op_num_threads=2) as predictor:
        expected = labels(predictor, MANY)
        def work(number):
            for turn in range(6):
                texts = MANY if (number + turn) % 3 == 0 else TEXTS[: 1 + turn % 5]
                if labels(predictor, texts) != expected[: len(texts)]:
                    errors.append((mode, number, turn))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
assert not errors, errors
""",
    "closed by another thread": """
with Predictor(path) as predictor:
    expected = labels(predictor, MANY)
for _ in range(10):
    predictor = Predictor(path)
    errors = []
    def work():
        while True:
            try:
                if labels(predictor, MANY) != expected:
                    errors.append("wrong")
            except ValueError:
                return
            except BaseException as error:
                errors.append(repr(error))
                return
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    predictor.close()
    [thread.join() for thread in threads]
    assert not errors, errors
""",
    "forks in the middle of a call": """
predictor = Predictor(path, intra_op_num_threads=2)
expected = labels(predictor, MANY)
stop = threading.Event()
def work():
    while not stop.is_set():
        assert labels(predictor, MANY) == expected
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
statuses = []
for number in range(12):
    child = os.fork()
    if not child:
        stop.set()
        right = labels(predictor, MANY if number % 2 else TEXTS) == expected[: len(MANY if number % 2 else TEXTS)]
        if number % 3 == 0:
            sys.stdout.flush()
            os._exit(0 if right else 9)
        sys.exit(0 if right else 9)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
[thread.join() for thread in threads]
assert statuses == [0] * 12, statuses
""",
    "forks of forks": """
predictor = Predictor(path)
expected = labels(predictor, TEXTS)
def descend(depth):
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status
    right = labels(predictor, TEXTS) == expected
    status = descend(depth - 1) if depth else 0
    os._exit(status if right else 9)
assert descend(4) == 0
assert labels(predictor, TEXTS) == expected
""",
    "daemon threads at the end": """
predictor = Predictor(path)
def work():
    while True:
        labels(predictor, MANY)
[threading.Thread(target=work, daemon=True).start() for _ in range(4)]
labels(predictor, MANY)
""",
    "asked at the end": """
import atexit
predictor = Predictor(path)
expected = labels(predictor, MANY)
class Late:
    def __del__(self):
        assert labels(predictor, TEXTS) == expected[:5]
        print("late")
late = Late()
@atexit.register
def ask():
    assert labels(predictor, MANY) == expected
    print("asked")
""",
    "never closed": """
predictors = [Predictor(path) for _ in range(8)]
assert len({tuple(labels(predictor, TEXTS)) for predictor in predictors}) == 1
predictors.append(predictors)
""",
    "signals in the middle of a call": """
predictor = Predictor(path)
expected = labels(predictor, MANY)
class Struck(BaseException): pass
def strike(*_): raise Struck
signal.signal(signal.SIGALRM, strike)
struck = 0
for number in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + number % 20))
        labels(predictor, MANY)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Struck:
        struck += 1
    assert labels(predictor, MANY) == expected, number
""",
}


def run(script: str, *arguments: str | Path) -> None:
    """Run a script to its end, which must be a good one."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HEAD + script, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=LIMIT_SEC,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, f"status {done.returncode}, said {done.stderr[-1500:]}"


@pytest.mark.parametrize("model", ["model.onnx", "model_quantized.onnx"])
def test_in_the_middle_of_a_call(model: str, tiny_export: Path, ledger: Ledger) -> None:
    cases = [name for name in SCRIPTS for _ in range(ledger.count(1))]
    ledger.try_each(cases, lambda name: run(SCRIPTS[name], tiny_export / model))


OPENINGS = """
import gc, resource
def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * resource.getpagesize() / 2**20, threading.active_count()
count = int(sys.argv[2])
for number in range(count):
    predictor = Predictor(path, intra_op_num_threads=2)
    if number % 3 == 0:
        labels(predictor, MANY if number % 50 == 0 else TEXTS)
    if number % 2:
        predictor.close()
    del predictor
    if number == count // 4:
        gc.collect()
        descriptors, mib, threads = held()
gc.collect()
now = held()
assert now[0] <= descriptors and now[2] <= threads, (descriptors, threads, now)
assert now[1] <= mib + 48, (mib, now)
"""


def test_openings_and_closings(tiny_export: Path, ledger: Ledger) -> None:
    """Counted as one: 2,000 of them must leave no descriptor, no thread and no memory behind."""
    ledger.try_each(["model_quantized.onnx"], lambda name: run(OPENINGS, tiny_export / name, str(ledger.count(2000))))
