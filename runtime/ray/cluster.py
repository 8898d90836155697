"""Start Ray on this machine, or join a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from ftx.machine import usable_cores
from ftx.runtime.session import first_line

__all__ = ["cluster"]


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[tuple[Any, int]]:
    """Start Ray on this machine, or join a cluster, and leave it at the end; one that is joined already is kept.

    Nothing is reported about the use, and no dashboard is started.

    Returns:
        Ray, and the number of workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what Ray Data itself does
    # Without GPUs for a task, Ray now and in future hides or shows them all; it warns until one is chosen.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    joined = ray.is_initialized()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray lets workers import from the folder where it is started, and there first: a clone's ftx/ would hide the
    # installed one.
    here = Path.cwd()
    try:
        os.chdir(here.anchor)
        if not joined and address:
            ray.init(address=address, **quiet)
        elif not joined:
            # Reading and writing take a CPU, too: with all of them given to workers neither would begin.
            ray.init(num_cpus=(workers or usable_cores()) + 1, num_gpus=0, include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises many kinds
        raise FtxError(
            f"Ray {address or 'on this machine'} can't be reached or started: {first_line(error)}"
        ) from error
    finally:
        os.chdir(here)
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
