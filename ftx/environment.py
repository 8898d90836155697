"""Record where a measurement was made, and with which versions."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from ftx.machine import cpu_features, cpu_model, cpu_quota, usable_cores

__all__ = ["DISTRIBUTION", "environment", "installed_version", "versions"]

DISTRIBUTION = "ftx-toolkit"
PACKAGES = (
    DISTRIBUTION, "numpy", "tokenizers", "onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers",
    "optimum-onnx", "datasets", "evaluate", "accelerate",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Record time, system, CPU, cores and versions, as JSON values."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cpu_features": [name for name, present in cpu_features().items() if present],
        "cores": usable_cores(),
        "cpu_quota": cpu_quota(),
        "versions": {name: version for name, version in versions().items() if version},
    }


def versions() -> dict[str, str | None]:
    """Give the versions of Python and of the packages that ftx uses, None for those not installed."""
    return {"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES}


def installed_version(distribution: str) -> str | None:
    """Give a distribution's version, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
