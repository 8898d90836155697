"""Join the predicted chunks to shards, in order, none lost and none duplicated."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from ftx.errors import FtxError
from ftx.runtime.ray.worker import CHUNKS, ChunkReport, RayJob
from ftx.runtime.stream.parquet import join_parquet

__all__ = ["in_order", "join"]


def in_order(job: RayJob, reports: list[ChunkReport]) -> list[ChunkReport]:
    """Put the chunks in order, by file and number, and check that none is missing.

    Raises:
        FtxError: A chunk is missing.
    """
    once = {(chunk.file, chunk.number): chunk for chunk in reports}  # one that was predicted twice counts once
    ends = {chunk.file: chunk.number for chunk in reports if chunk.last}
    expected = [(file, number) for file in range(len(job.files)) for number in range(ends.get(file, -1) + 1)]
    if len(ends) != len(job.files) or sorted(once) != expected:
        raise FtxError(
            f"Ray predicted {len(once)} chunks of {len(ends)} files, expected {len(expected)} of {len(job.files)}: "
            "nothing was written; run it again"
        )
    return [once[key] for key in expected]


def join(job: RayJob, chunks: list[ChunkReport], rows_per_shard: int) -> int:
    """Join the chunks to shards, in order, and return how many shards there are."""
    groups: dict[tuple[int, int], list[Path]] = defaultdict(list)
    before: dict[int, int] = defaultdict(int)
    for chunk in chunks:
        groups[chunk.file, before[chunk.file] // rows_per_shard].append(job.chunk_path(chunk.file, chunk.number))
        before[chunk.file] += chunk.rows
    for place, parts in enumerate(groups.values()):
        with (job.part / f"part-{place:05d}.parquet").open("wb") as sink:
            join_parquet(parts, sink)
        for path in parts:
            path.unlink()
    shutil.rmtree(job.part / CHUNKS)
    return len(groups)
