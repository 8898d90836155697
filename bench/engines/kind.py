"""What an engine is made from, and how it is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftx.bench.engine import EngineSpec, Infer
from ftx.text import Text

__all__ = ["EngineKind", "Sources", "plain_graph"]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What engines are made from.

    Attributes:
        onnx: The file to measure.
        checkpoint: The checkpoint it was made from.
        work: A folder for the files that engines need.
        threads: Threads that share one batch.
        calibration: Texts for static quantisation.
    """

    onnx: Path
    checkpoint: Path
    work: Path
    threads: int
    calibration: list[Text]


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """An engine, before it is started.

    Attributes:
        title: Its name in the report.
        load: Loads `path` in the engine's process: a module-level function, or a partial of one.
        path: The file or folder that it loads.
        prepare: Makes that file first, in a process of its own.
        program: A Python program that prints one prediction, as in the toolkit's manual, for cold starts. Its arguments
            are `path`, the number of threads and the text. Empty: it takes no part in them.
        precision: What it multiplies in: `fp32`, `int8` or another, which has no measured ceiling.
        has_file: Whether the size of `path` is that of the model, which is not known of an engine of one's own.
        checkpoint: What it was made from, if that is not the checkpoint of the file to measure, but its teacher's.
        fallback: Another model's file, which answers the texts that the first one is unsure of.
    """

    title: str
    load: Callable[[EngineSpec], Infer]
    path: Callable[[Sources], Path]
    prepare: Callable[[Sources], None] | None = None
    program: str = ""
    precision: str = "fp32"
    has_file: bool = True
    checkpoint: Path | None = None
    fallback: Path | None = None

    def spec(self, sources: Sources) -> EngineSpec:
        """Give what to run."""
        return EngineSpec(
            name=self.title, path=self.path(sources), threads=sources.threads, load=self.load, fallback=self.fallback
        )


def plain_graph(sources: Sources) -> Path:
    """Export the checkpoint with Optimum, unless an engine before did; `config.json` and the tokenizer beside it."""
    path = sources.work / "model.onnx"
    if not path.exists():
        from ftx.export.graph.convert import export_graph
        from ftx.export.parity.reference import Reference

        export_graph(Reference(sources.checkpoint), sources.work)
    return path
