"""The teacher of a distilled model as engines: its exported file, and its checkpoint in PyTorch."""

from __future__ import annotations

import logging
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

from ftx import typed
from ftx.bench.engines import pytorch
from ftx.bench.engines.ftx import itself, kind_of_file
from ftx.bench.engines.kind import EngineKind
from ftx.errors import FtxError, OnnxFileError
from ftx.export.source import check_files, config_head
from ftx.lineage import read_teacher
from ftx.manifest import Manifest
from ftx.runtime.model_file import find_onnx
from ftx.tables.lines import exists

__all__ = ["find_teacher", "teacher_kinds", "with_thresholds"]

log = logging.getLogger(__name__)


def find_teacher(checkpoint: Path) -> Path | None:
    """Find the checkpoint of a student's teacher; None: it is no student of `ftx distill`, or its teacher is not here.

    Raises:
        ModelError: The run's distillation.json can't be used.
    """
    run = checkpoint.absolute().parent
    if read_teacher(checkpoint) is None:
        return None
    try:
        # Where distillation.json may have a path that is relative, the recipe's is absolute.
        teacher = str(tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))["model"])
        if not exists(teacher):
            raise FtxError("it is not there")
        check_files(Path(teacher))
        if config_head(Path(teacher)) != config_head(checkpoint):
            raise FtxError("it has other labels now")
    except (FtxError, OSError, ValueError, KeyError) as error:
        log.info(f"The teacher of {run} is left out: {error}")
        return None
    return Path(teacher)


def teacher_kinds(teacher: Path) -> list[EngineKind]:
    """Give a teacher's engines: the exported file of its run, if there is one, and PyTorch."""
    kinds = []
    try:
        kinds = [kind_of_file(find_onnx(teacher.parent / "onnx"))]
    except OnnxFileError as error:
        log.info(f"The teacher's file is left out: {error}; make one with ftx export {teacher.parent}")
    kinds.append(EngineKind(title="PyTorch eager", load=pytorch.load, path=partial(itself, teacher)))
    return [replace(kind, title=f"teacher's {kind.title}", checkpoint=teacher) for kind in kinds]


def with_thresholds(manifest: Manifest, teacher: Path) -> Manifest:
    """Give a student's manifest with its teacher's thresholds, by which multi-label predictions are made."""
    config = typed.read_object((teacher / "config.json").read_bytes())
    theirs = typed.mapping(config.get("thresholds") or {}, "thresholds")
    names, _ = config_head(teacher)  # an export may have given the labels other names
    thresholds = {manifest.id2label[column]: theirs[name] for column, name in names.items() if name in theirs}
    return replace(manifest, thresholds=thresholds)
