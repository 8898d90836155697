"""An ONNX file in ftx's own runtime."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines.kind import EngineKind, Sources
from ftx.runtime.model_file import describe

__all__ = ["PROGRAM", "itself", "kind_of_file", "load", "with_fallback"]

PROGRAM = """
import sys
from ftx.__main__ import main
sys.argv = ["ftx", "predict", "--onnx", sys.argv[1], "--threads", sys.argv[2], sys.argv[3]]
main()
"""


def load(spec: EngineSpec) -> Infer:
    """Open the file as `ftx predict` does."""
    from ftx.runtime import Predictor

    predictor = Predictor(spec.path, intra_op_num_threads=spec.threads, fallback=spec.fallback)
    return lambda texts, batch_size: predictor.logits(texts, batch_size=batch_size)


def kind_of_file(path: Path) -> EngineKind:
    """Give an ONNX file as an engine, named by its kind; one that ftx did not make by its file name."""
    manifest, _ = describe(path)
    int8 = manifest.quantization.is_int8
    kind = "fp16" if manifest.quantization.kind == "fp16" else "fp32"
    title = "ftx int8" if int8 else f"ftx {kind} ({path.name})" if manifest.probes else path.name
    return EngineKind(
        title=title, load=load, path=partial(itself, path), program=PROGRAM, precision="int8" if int8 else kind
    )


def with_fallback(kind: EngineKind, fallback: Path) -> EngineKind:
    """Give a file's engine a fallback, see `ftx predict --fallback`; it takes no part in cold starts."""
    return replace(kind, title=f"{kind.title} with fallback", fallback=fallback, program="", precision="")


def itself(path: Path, sources: Sources) -> Path:
    """Give a path that is known already."""
    return path
