"""The engines by the names that `--engine` takes, one's own among them."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ftx.bench.apart import run_apart
from ftx.bench.engine import EngineSpec, Infer
from ftx.bench.engines import (
    bare_onnxruntime,
    ctranslate2,
    ftx,
    openvino,
    optimum,
    pytorch,
    sentence_transformers,
    teacher,
    transformers_pipeline,
)
from ftx.bench.engines.kind import EngineKind, Sources
from ftx.errors import FtxError

__all__ = ["ALL", "DEFAULT", "PYTORCH", "TEACHER", "choose_engines", "prepare_engines"]

log = logging.getLogger(__name__)

GIVEN, FP32, FALLBACK, TEACHER, PYTORCH = "ftx", "ftx-fp32", "ftx-fallback", "teacher", "pytorch"
DEFAULT = (GIVEN, FP32, TEACHER, PYTORCH)
ALL = "all"


def in_work(name: str, sources: Sources) -> Path:
    """Name a file that was made for an engine."""
    return sources.work / name


def from_checkpoint(sources: Sources) -> Path:
    """Name the checkpoint."""
    return sources.checkpoint


PEERS = {
    PYTORCH: EngineKind(title="PyTorch eager", load=pytorch.load, path=from_checkpoint, program=pytorch.PROGRAM),
    "torch-compile": EngineKind(title="PyTorch, compiled", load=pytorch.load_compiled, path=from_checkpoint),
    "torch-int8": EngineKind(
        title="PyTorch, dynamic int8", load=pytorch.load_int8, path=from_checkpoint, precision="int8"
    ),
    "pipeline": EngineKind(
        title="transformers pipeline", load=transformers_pipeline.load, path=from_checkpoint,
        program=transformers_pipeline.PROGRAM,
    ),
    "optimum": EngineKind(
        title="Optimum ORTModel fp32", load=optimum.load, path=partial(in_work, "model.onnx"), prepare=optimum.prepare,
        program=optimum.PROGRAM,
    ),
    "optimum-int8": EngineKind(
        title="Optimum ORTModel int8", load=optimum.load, path=partial(in_work, optimum.INT8),
        prepare=optimum.prepare_int8, program=optimum.PROGRAM, precision="int8",
    ),
    "openvino": EngineKind(
        title="OpenVINO fp32", load=partial(openvino.load, precision="f32"), path=partial(in_work, "model.onnx"),
        prepare=openvino.prepare,
    ),
    "openvino-bf16": EngineKind(
        title="OpenVINO bf16", load=partial(openvino.load, precision="bf16"), path=partial(in_work, "model.onnx"),
        prepare=openvino.prepare, precision="bf16",
    ),
    "openvino-int8": EngineKind(
        title="OpenVINO int8 (NNCF)", load=openvino.load, path=partial(in_work, openvino.INT8),
        prepare=openvino.prepare_int8, precision="int8",
    ),
    "ctranslate2": EngineKind(
        title="CTranslate2 int8", load=ctranslate2.load, path=partial(in_work, ctranslate2.FOLDER),
        prepare=ctranslate2.prepare, precision="int8",
    ),
    "sentence-transformers": EngineKind(
        title="sentence-transformers, ONNX", load=sentence_transformers.load, path=partial(in_work, "model.onnx"),
        prepare=sentence_transformers.prepare,
    ),
    "onnxruntime": EngineKind(
        title="onnxruntime fp32, bare", load=bare_onnxruntime.load, path=partial(in_work, "model.onnx"),
        prepare=optimum.prepare, program=bare_onnxruntime.PROGRAM,
    ),
}  # fmt: skip


def choose_engines(names: Sequence[str], onnx: Path, taught_by: Path | None = None) -> list[EngineKind]:
    """Find the engines of some names; PyTorch, with which all are compared, is added, and comes last.

    Args:
        names: Of engines, `all`, or `NAME=module:function` for one's own.
        onnx: The file to measure.
        taught_by: The checkpoint of its teacher; None: it has none.

    Raises:
        FtxError: There is no such engine.
    """
    known = [GIVEN, FP32, FALLBACK, *PEERS, TEACHER]
    wanted: dict[str, None] = {}
    for name in names or DEFAULT:
        wanted |= dict.fromkeys(known if name == ALL else [name])
    if TEACHER in names and not taught_by:
        raise FtxError(f"Engine {TEACHER} goes with a student of ftx distill whose teacher is where it was: omit it")
    for last in (TEACHER, PYTORCH):
        wanted.pop(last, None)
    more = [TEACHER] if taught_by and (TEACHER in names or ALL in names or not names) else []
    kinds: dict[str, EngineKind] = {}
    for name in (*wanted, *more, PYTORCH):
        for kind in kinds_of(name, onnx, taught_by, known):
            if kind.title in kinds:
                raise FtxError(f"Two engines are named {kind.title!r}: give each a name of its own")
            kinds[kind.title] = kind
    return list(kinds.values())


def kinds_of(name: str, onnx: Path, taught_by: Path | None, known: Sequence[str]) -> list[EngineKind]:
    """Find the engines of a name: one, of the teacher two, or none where the file that it is made of is not there.

    Raises:
        FtxError: There is none of this name.
    """
    if name == TEACHER and taught_by:
        return teacher.teacher_kinds(taught_by)
    if name == GIVEN:
        return [ftx.kind_of_file(onnx)]
    if name in (FP32, FALLBACK):
        fp32 = onnx.with_name("model.onnx")
        if fp32 == onnx or not fp32.is_file():
            log.info(f"{name} is left out: there is no model.onnx beside {onnx}, or it is that file itself")
            return []
        return [ftx.kind_of_file(fp32) if name == FP32 else ftx.with_fallback(ftx.kind_of_file(onnx), fp32)]
    if name in PEERS:
        return [PEERS[name]]
    if "=" in name and ":" in name:
        title, _, place = name.partition("=")
        load = partial(load_own, place=place)
        return [EngineKind(title=title, load=load, path=from_checkpoint, precision="", has_file=False)]
    raise FtxError(
        f"Engine {name!r:.80} is not known, expected one of {', '.join(known)}, {ALL}, or NAME=module:function"
    )


def load_own(spec: EngineSpec, place: str) -> Infer:
    """Load a user's engine, `module:function`, from the working directory or an installed package.

    Raises:
        FtxError: There is no such function.
    """
    module, _, function = place.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as python -m does
    try:
        load = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise FtxError(f"Engine {spec.name}: {place} can't be imported: {error}") from error
    infer: Infer = load(spec)
    return infer


def prepare_engines(kinds: list[EngineKind], sources: Sources) -> dict[str, str]:
    """Make the files of those that need some, in another process, so that this one's memory stays small.

    Returns:
        The reason, by each engine whose files could not be made.
    """
    failed = {}
    for kind in kinds:
        if kind.prepare:
            log.info(f"Preparing {kind.title}")
            try:
                run_apart(kind.title, kind.prepare, sources)
            except FtxError as error:
                failed[kind.title] = str(error)
    return failed
