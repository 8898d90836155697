"""Whatever breaks the writing of an output folder, and wherever: no file is lost, nothing stays half-made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ftx.publishing_faults import FAULTS, SCENARIOS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "fault", [pytest.param(one, marks=pytest.mark.slow) if one == "kill" else one for one in FAULTS]
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_every_call_loses_nothing(scenario: str, fault: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.ftx.publishing_faults", scenario, fault, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["struck"] >= 15, "the faults do not reach what they are to break"
    before = "nothing" if scenario in ("new", "empty") else "old"
    assert counts["new"] and counts[before], counts
