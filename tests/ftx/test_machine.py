from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftx import machine


def test_usable_cores_are_cut_to_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quota, cores in ((None, 8), (2.5, 2), (0.5, 1), (16.0, 8)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert machine.usable_cores() == cores


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_both_cgroup_versions(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert machine.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("arch", "flags", "saturates"),
    [
        ("x86_64", {"avx2"}, True),
        ("x86_64", {"avx2", "avx512f"}, True),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, False),
        ("AMD64", {"avx2", "avx_vnni"}, False),
        ("AMD64", set(), True),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_int8_saturates_on_x86_without_vnni(
    monkeypatch: pytest.MonkeyPatch, arch: str, flags: set[str], saturates: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    assert machine.int8_can_saturate() is saturates


@pytest.mark.parametrize(
    ("arch", "flags", "found"),
    [
        ("x86_64", {"sse4_1", "avx"}, set()),
        ("x86_64", {"avx2", "fma"}, {"avx2"}),
        ("AMD64", {"avx2", "avx_vnni"}, {"avx2", "avx_vnni"}),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni", "amx_int8"}, {"avx2", "avx512", "avx512_vnni", "amx_int8"}),
        ("AMD64", set(), set()),
        ("aarch64", {"asimd"}, {"arm64"}),
        ("arm64", set(), {"arm64"}),
        ("ppc64le", set(), set()),
    ],
)
def test_instruction_sets_have_the_names_that_files_use(
    monkeypatch: pytest.MonkeyPatch, arch: str, flags: set[str], found: set[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    assert machine.instruction_sets() == found
    assert found <= set(machine.INSTRUCTION_SETS)


def test_cpuinfo_is_read_by_field(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: sse avx2\n")
    assert machine.cpuinfo_field("model name", tmp_path / "cpuinfo") == "Some CPU"
    assert machine.cpuinfo_field("flags", tmp_path / "cpuinfo") == "sse avx2"
    assert machine.cpuinfo_field("Features", tmp_path / "cpuinfo") == ""
    assert machine.cpuinfo_field("flags", tmp_path / "absent") == ""


def test_the_cache_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTX_HOME", str(tmp_path))
    assert machine.cache_home() == tmp_path
    monkeypatch.delenv("FTX_HOME")
    assert machine.cache_home().name in ("ftx", "Cache")


@pytest.mark.parametrize("threads", [0, -1, machine.MAX_THREADS + 1, 10**6, 2**63, True, 2.0, "2", float("nan")])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads: Any) -> None:
    with pytest.raises(ValueError, match=rf"threads .*expected a whole number from 1 to {machine.MAX_THREADS}"):
        machine.check_threads(threads, "threads")


def test_threads_from_one_to_the_bound_are_taken() -> None:
    assert [machine.check_threads(number) for number in (None, 1, np.int64(2), machine.MAX_THREADS)] == [
        None, 1, 2, machine.MAX_THREADS
    ]  # fmt: skip
    assert machine.MAX_THREADS >= 64
