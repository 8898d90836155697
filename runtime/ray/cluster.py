"""Start Ray on this machine, or join a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from ftx.errors import FtxError
from ftx.machine import usable_cores
from ftx.runtime.session import first_line

__all__ = ["cluster"]


# For Ray and its processes only, unless the caller has set them.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # otherwise it warns of Ray Data's own actions
    # Whether tasks without GPUs see them all; Ray warns of a changing default until it is set.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[tuple[Any, int]]:
    """Start Ray on this machine, or join a cluster, and leave it at the end, unless it was joined before.

    No usage statistics are sent, and no dashboard is started. The caller's environment and working directory stay as
    they are.

    Returns:
        The module ray, and the number of workers.

    Raises:
        FtxError: Ray can't be reached or started.
    """
    with environment(ENVIRONMENT), TemporaryDirectory(prefix="ftx-ray-") as nothing:
        import ray
        import ray.data

        joined = ray.is_initialized()
        # Workers import first from the folder where Ray was started, in which a clone's ftx/ would shadow the installed
        # package. So they run in an empty one.
        common = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"working_dir": nothing}}
        try:
            if not joined and address:
                ray.init(address=address, **common)
            elif not joined:
                # Reading and writing also need a CPU: with all of them given to workers, neither would start.
                ray.init(num_cpus=(workers or usable_cores()) + 1, num_gpus=0, include_dashboard=False, **common)
        except Exception as error:  # Ray raises many types
            raise FtxError(
                f"Ray {address or 'on this machine'} can't be reached or started: {first_line(error)}"
            ) from error
        cpus = int(ray.cluster_resources().get("CPU", 1))
        logger, context = logging.getLogger("ray.data"), ray.data.DataContext.get_current()
        before = logger.level, context.enable_progress_bars
        try:
            logger.setLevel(logging.ERROR)
            context.enable_progress_bars = False
            yield ray, workers or max(1, cpus - 1)
        finally:
            context.enable_progress_bars = before[1]
            logger.setLevel(before[0])
            if not joined:
                ray.shutdown()


@contextmanager
def environment(defaults: dict[str, str]) -> Iterator[None]:
    """Set environment variables unless they are set, and restore Ray's at the end: it sets some itself."""
    before = {name: value for name, value in os.environ.items() if is_rays(name)}
    os.environ.update({name: value for name, value in defaults.items() if name not in before})
    try:
        yield
    finally:
        for name in [name for name in os.environ if is_rays(name) and name not in before]:
            os.environ.pop(name, None)
        os.environ.update(before)


def is_rays(name: str) -> bool:
    """Tell whether Ray sets an environment variable."""
    return name.startswith("RAY_") or name == "PYTHONBREAKPOINT"
