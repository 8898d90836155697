"""Tell what this machine and this installation can do, without loading anything heavy."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

from ftx.machine import cache_home, cpu_features, cpu_model, cpu_quota, usable_cores

__all__ = ["DISTRIBUTION", "diagnose", "installed_version"]

DISTRIBUTION = "ftx-toolkit"
PACKAGES = (
    DISTRIBUTION, "numpy", "tokenizers", "onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers",
    "optimum-onnx", "datasets", "evaluate", "accelerate",
)  # fmt: skip


def diagnose() -> dict[str, dict[str, Any]]:
    """Collect versions, the CPU and its int8 features, cores, providers, extras and the cache's place.

    Returns:
        Facts by topic, all of them JSON values.
    """
    home = cache_home()
    return {
        "versions": {"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES},
        "cpu": {"model": cpu_model(), "machine": platform.machine(), **cpu_features()},
        "cores": {"machine": os.cpu_count(), "quota": cpu_quota(), "usable": usable_cores()},
        "onnxruntime": {"providers": providers()},
        "extras": extras(),
        "cache": {
            "folder": str(home),
            "holds": sorted(entry.name for entry in home.iterdir()) if home.is_dir() else [],
        },
    }


def installed_version(distribution: str) -> str | None:
    """Give a distribution's version, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def providers() -> list[str]:
    """List onnxruntime's execution providers."""
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def extras() -> dict[str, bool]:
    """Tell which extras have all their packages here."""
    needs: dict[str, bool] = {}
    for requirement in metadata.requires(DISTRIBUTION) or []:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name and "python_version" not in requirement:
            needs[extra[1]] = needs.get(extra[1], True) and installed_version(name[0]) is not None
    return needs
