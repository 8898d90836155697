"""Report what this machine and this installation offer, without loading anything heavy."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

from ftx.environment import DISTRIBUTION, installed_version, versions
from ftx.machine import cache_home, cpu_features, cpu_model, cpu_quota, usable_cores

__all__ = ["diagnose"]


def diagnose() -> dict[str, dict[str, Any]]:
    """Collect versions, the CPU and its int8 features, cores, providers, extras and the cache's location.

    Returns:
        Facts by topic, all of them JSON values.
    """
    home = cache_home()
    return {
        "versions": versions(),
        "cpu": {"model": cpu_model(), "machine": platform.machine(), **cpu_features()},
        "cores": {"machine": os.cpu_count(), "quota": cpu_quota(), "usable": usable_cores()},
        "onnxruntime": {"providers": providers()},
        "extras": extras(),
        "cache": {
            "folder": str(home),
            "holds": sorted(entry.name for entry in home.iterdir()) if home.is_dir() else [],
        },
    }


def providers() -> list[str]:
    """List onnxruntime's execution providers."""
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def extras() -> dict[str, bool]:
    """Tell for each extra whether all its packages are installed."""
    needs: dict[str, bool] = {}
    for requirement in metadata.requires(DISTRIBUTION) or []:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name and "python_version" not in requirement:
            needs[extra[1]] = needs.get(extra[1], True) and installed_version(name[0]) is not None
    return needs
