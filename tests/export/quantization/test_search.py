from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ftx.export.parity import Gate
from ftx.export.quantization.scheme import SCHEMES
from ftx.export.quantization.search import Searcher
from ftx.export.reference import Reference
from ftx.heldout import HeldOut
from tests.export.quantization.conftest import TEXTS, Graphs


@pytest.fixture
def searcher(graphs: Graphs, tmp_path: Path) -> Iterator[Searcher]:
    logits = Reference(graphs.model).logits(TEXTS)
    labels = ["positive" if row.argmax() else "negative" for row in logits]
    made = Searcher(
        graphs.plain,
        graphs.optimised,
        tmp_path,
        held_out=HeldOut(texts=[*TEXTS], labels=[*labels]),
        reference_logits=np.asarray(logits),
        gate=Gate(),
        target="vnni",
    )
    yield made
    made.bar.close()


def test_what_costs_more_is_tried_only_where_nothing_passes(searcher: Searcher) -> None:
    searcher.try_scheme(SCHEMES["static"])
    tried = [scheme.name for scheme in searcher.rescues()]
    assert tried == [f"static-outliers-x{count}" for count in (1, 2, 4)], "the model has six products, and it passes"
    assert searcher.candidates[0].verdict == "passes"
    searcher.candidates = [replace(one, verdict="fails") for one in searcher.candidates]
    # Fused attention, two more operators, can be left in fp32, too; but not all of them together.
    assert [scheme.name for scheme in searcher.rescues()] == [*tried, "static-blockwise-x4", "static-fp32-x4"]


def test_the_worst_operators_are_rescued_first(searcher: Searcher) -> None:
    searcher.try_scheme(SCHEMES["static"])
    one, two, four = (scheme.rescued_nodes for scheme in searcher.rescues())
    assert two[:1] == one
    assert four[:2] == two
    assert len({*four}) == 4
    assert {*one} < {entry.node for entry in searcher.ranking}
