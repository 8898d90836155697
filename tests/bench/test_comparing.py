from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ftx.bench.comparing import compare
from ftx.cli import ftx
from ftx.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a report: what an engine and PyTorch took in each round, on a machine of some speed."""

    def report(name: str, slowed: float = 1.0, machine: float = 1.0, seed: int = 0) -> Path:
        random = np.random.default_rng(seed)
        busy = machine * random.uniform(1, 1.4, 6)  # both slow down together

        def engine(title: str, sec: float) -> dict[str, object]:
            took = sec * busy * random.normal(1, 0.01, 6)
            latencies = np.outer(took, random.uniform(0.9, 1.1, 40))
            return {"name": title, "samples": {"latencies_ms": latencies.tolist(), "batch_sec": took.tolist()}}

        engines = [engine("ftx int8", slowed), engine("PyTorch eager", 5.0)]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"engines": engines, "noise": 0.2 if machine > 1 else 0.0, "interrupted": False}))
        return path

    return report


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ftx, ["bench", *map(str, arguments)])


def test_an_engine_slowed_by_a_tenth_is_seen_and_one_that_is_not_is_not(write: Write) -> None:
    before = write("before")
    for seed in range(1, 8):
        slowed = compare(before, write("slowed", slowed=1.1, machine=2.0, seed=seed))
        assert [change.verdict for change in slowed.changes] == ["regressed", "regressed"]
        assert not compare(before, write("same", machine=0.5, seed=seed)).regressed
    assert compare(before, write("fast", slowed=0.5)).changes[0].verdict == "faster"
    # Slower beyond noise, but within what is allowed.
    within = compare(before, write("within", slowed=1.1), max_regression=0.2)
    assert not within.regressed
    assert {change.verdict for change in within.changes} == {"slower"}


def test_a_regression_is_exit_status_1_and_a_table_for_a_pull_request(write: Write) -> None:
    before, slowed = write("before"), write("slowed", slowed=1.25, machine=1.5, seed=3)
    result = run("--compare", before, slowed)
    assert result.exit_code == 1
    assert result.stdout.startswith("**Slower by more than 5%:** ftx int8 (texts/s in batches, -")
    assert "| regressed |" in result.stdout
    assert f"- {slowed}: its machine was noisy" in result.stdout
    assert run("--compare", before, slowed, "--max-regression", "0.3").exit_code == 0
    as_json = json.loads(run("--compare", before, slowed, "--json").stdout)
    assert as_json["regressed"]
    assert as_json["changes"][0]["factor"] == pytest.approx(0.8, abs=0.03)


def test_the_verdict_says_what_the_intervals_leave_open(write: Write) -> None:
    before, noisy = write("before"), write("noisy", machine=2.0, seed=1)
    opened = run("--compare", before, noisy).stdout
    assert opened.startswith("No engine was found to be slower by more than 5%, but the intervals reach to -")
    assert run("--compare", before, noisy, "--max-regression", "0.5").stdout.startswith(
        "No engine is slower by more than 50%."
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"engines": []}', '{"engines": [{"name": "a", "samples": {"latencies_ms": 1}}]}',
             '{"engines": [{"name": "a", "samples": {"latencies_ms": [[0]], "batch_sec": [0]}}]}'],
)  # fmt: skip
def test_what_is_no_report_is_refused(write: Write, tmp_path: Path, text: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(text)
    with pytest.raises(DataError, match=r"other.json is not a report of ftx bench, expected its bench.json"):
        compare(write("before"), other)
    result = run("--compare", write("before"), other)
    assert result.exit_code != 0
    assert not result.stdout


def test_nothing_to_measure_is_a_usage_error() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Missing option '--onnx'" in result.stderr
