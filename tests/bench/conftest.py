from __future__ import annotations

from pathlib import Path

import pytest

from ftx.bench import BenchReport, bench

# Engines of a user's own.
OWN = """
from ftx.bench.engines.pytorch import load as load_pytorch

def load(spec):
    print("an engine may print what it likes")
    return load_pytorch(spec)

def broken(spec):
    raise RuntimeError("it has | no wheels")
"""


@pytest.fixture(scope="session")
def tiny_report(tiny_export: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    """A report of the tiny model with engines of one's own and every quick workload."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_engine.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return bench(
            tiny_export,
            tiny_run,
            texts=24,
            rounds=2,
            threads=1,
            engines=["ftx", "own=own_engine:load", "broken=own_engine:broken", "away=no_such_module:load"],
            workloads=["cold", "lengths", "batches", "threads", "file", "server"],
            quick=True,
            profile=True,
        )
