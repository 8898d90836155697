"""Join the answered chunks to shards, in order, none lost and none doubled."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from ftx.runtime.ray.worker import CHUNKS, Job
from ftx.runtime.stream.parquet import join_parquet

__all__ = ["check_whole", "join"]


def check_whole(job: Job, done: list[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Check that every chunk was answered; give what was done of each, by file and number, in order.

    Raises:
        FtxError: A chunk is missing.
    """
    once = {(one["file"], one["number"]): one for one in done}  # one answered twice counts once
    ends = {one["file"]: one["number"] for one in done if one["last"]}
    expected = [(file, number) for file in range(len(job.files)) for number in range(ends.get(file, -1) + 1)]
    if len(ends) != len(job.files) or sorted(once) != expected:
        raise FtxError(
            f"Ray answered {len(once)} chunks of {len(ends)} files, expected {len(expected)} of {len(job.files)}: "
            "nothing was written; run it again"
        )
    return {key: once[key] for key in expected}


def join(job: Job, rows_of: dict[tuple[int, int], int], rows_per_shard: int) -> int:
    """Join the chunks to shards, in order.

    Args:
        job: What was done.
        rows_of: The rows of each chunk, by file and number, in order.
        rows_per_shard: Rows of a shard.

    Returns:
        How many shards there are.
    """
    groups: dict[tuple[int, int], list[Path]] = defaultdict(list)
    before: dict[int, int] = defaultdict(int)
    for (file, number), rows in rows_of.items():
        groups[file, before[file] // rows_per_shard].append(job.chunk_path(file, number))
        before[file] += rows
    for place, parts in enumerate(groups.values()):
        with (job.part / f"part-{place:05d}.parquet").open("wb") as sink:
            join_parquet(parts, sink)
        for path in parts:
            path.unlink()
    shutil.rmtree(job.part / CHUNKS)
    return len(groups)
