"""Record where a measurement was made."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

from ftx.doctor import DISTRIBUTION, installed_version
from ftx.machine import cpu_features, cpu_model, cpu_quota, usable_cores

__all__ = ["environment", "versions"]

VERSIONED = (DISTRIBUTION, "onnxruntime", "onnxruntime-gpu", "optimum-onnx", "onnx", "torch", "transformers")


def environment() -> dict[str, Any]:
    """Record time, system, CPU, cores and versions, as JSON values."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cpu_features": [name for name, present in cpu_features().items() if present],
        "cores": usable_cores(),
        "cpu_quota": cpu_quota(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Give the versions of what makes and measures a file, python's too, where installed."""
    found = {name: installed_version(name) for name in VERSIONED}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}
