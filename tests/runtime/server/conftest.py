"""Servers over models of every head. Nothing of the extra serve is imported here: without it, tests are skipped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.runtime.conftest import save_words

if TYPE_CHECKING:
    from tests.runtime.server.serving import Running


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Classifiers that count words, by head."""
    folder = tmp_path_factory.mktemp("heads")
    options: dict[str, dict[str, Any]] = {
        "single": {"text_pair": False},
        "multi": {"problem_type": "multi_label_classification", "thresholds": {"negative": 0.2, "positive": 0.9}},
        "regression": {
            "problem_type": "regression", "id2label": {0: "stars"}, "table": [[0], [1.5], [-1.25], [np.nan], [np.inf]],
            "output": (TensorProto.FLOAT, ["batch", 1]),
        },
        "pair": {"text_pair": True},
    }  # fmt: skip
    return {name: save_words(folder / f"{name}.onnx", **values) for name, values in options.items()}


@pytest.fixture(scope="session")
def head(heads: dict[str, Path]) -> Iterator[Callable[[str], Running]]:
    """A server by head; each is started once."""
    from tests.runtime.server.serving import serve

    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(serve(heads[name])))


@pytest.fixture(scope="session")
def tiny(tiny_export: Path) -> Iterator[Running]:
    """A server on the tiny model in fp32."""
    from tests.runtime.server.serving import serve

    with serve(tiny_export / "model.onnx") as running:
        yield running
