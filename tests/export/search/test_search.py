from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ftx.export.graph.convert import Graphs as Converted
from ftx.export.graph.fusion import Fusion
from ftx.export.parity.gate import Gate
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.quantization.scheme import SCHEMES, Scheme
from ftx.export.search import judging, making, timing
from ftx.export.search import search as search_module
from ftx.export.search.budget import Budget
from ftx.export.search.candidate import Candidate
from ftx.export.search.forms import Form
from ftx.export.search.making import Maker
from ftx.export.search.search import Searcher
from ftx.heldout import HeldOut
from ftx.runtime.model_file import describe
from tests.export.conftest import TEXTS, Graphs

# From a machine that takes no time to one that takes two minutes for each look at the clock.
SPEEDS_SEC = [0.0, 0.5, 5.0, 120.0]


class Clock:
    """A clock that goes on by a step whenever it is read: a machine as slow as one likes, without waiting for it."""

    def __init__(self, step_sec: float) -> None:
        self.now, self.step_sec = 0.0, step_sec

    def __call__(self) -> float:
        self.now += self.step_sec
        return self.now


@pytest.fixture(scope="session")
def reference_logits(graphs: Graphs) -> NDArray[np.float32]:
    return Reference(graphs.model).logits(TEXTS)


@pytest.fixture
def make_searcher(
    graphs: Graphs, tmp_path: Path, reference_logits: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Searcher]]:
    monkeypatch.setattr(timing, "MAX_ROUNDS", 3)
    monkeypatch.setattr(making, "calibrate", lambda path, batches, covering: graphs.fitted.observed)
    made = []

    def make(budget_sec: float = 0, step_sec: float = 0, min_agreement: float = 0.995) -> Searcher:
        work = tmp_path / str(len(made))
        work.mkdir()
        labels = ["positive" if row.argmax() else "negative" for row in reference_logits]
        reference = ReferenceSet(
            held_out=HeldOut(texts=[*TEXTS], labels=[*labels]),
            logits=reference_logits,
            manifest=describe(graphs.plain)[0],
        )
        converted = Converted(
            plain=graphs.plain,
            optimised=graphs.optimised,
            fusion=Fusion(found={}, expected={}, first_token_nodes=0),
        )
        maker = Maker(converted, work, reference, "vnni")
        gate, budget = Gate(min_agreement=min_agreement), Budget(budget_sec, Clock(step_sec))
        made.append(Searcher(maker, reference, gate, budget))
        return made[-1]

    yield make


def spoil(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Scheme], bool]) -> None:
    """Make forms fail, as on a model that int8 spoils."""
    plain = search_module.judge

    def judge(form: Form, *rest: Any) -> Candidate:
        candidate = plain(form, *rest)
        return replace(candidate, verdict="fails") if form.scheme and fails(form.scheme) else candidate

    monkeypatch.setattr(search_module, "judge", judge)


@pytest.mark.parametrize(
    "passing", ["static", "static-outliers-x2", "blockwise", "static-fp32-x4", "dynamic-per-tensor"]
)
def test_whether_a_form_passes_does_not_depend_on_speed_or_budget(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch, passing: str
) -> None:
    spoil(monkeypatch, lambda scheme: scheme.name != passing)
    found = [make_searcher(sec, step).search("auto") for sec, step in ((0, 0), (1, 5.0), (20, 5.0), (600, 120.0))]
    assert {search.chosen for search in found} == {passing}
    # Up to the one that passes, the same forms were tried in the same order.
    tried = [[form.name for form in search.forms] for search in found]
    until = tried[0].index(passing) + 1
    assert all(names[:until] == tried[0][:until] for names in tried)


def test_only_after_all_forms_were_tried_none_passes(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda scheme: True)
    for step in SPEEDS_SEC:
        search = make_searcher(1, step).search("auto")
        assert search.chosen is None
        tried = {form.name for form in search.forms}
        assert {*SCHEMES} < tried
        assert {"static-outliers-x4", "static-blockwise-x4", "static-fp32-x4"} < tried
        assert search.baseline is None, "what can't be chosen need not be timed"


def test_what_is_near_is_chosen_by_agreement_whatever_the_budget(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "verdict", lambda *figures: "near")
    found = [make_searcher(sec, step).search("auto") for sec in (0, 600) for step in (0.0, 120.0)]
    [chosen] = {search.chosen for search in found}
    best = max(found[0].forms, key=lambda form: form.expected_agreement)
    assert chosen == best.name
    assert "none of" in found[0].choice


def test_fast_takes_the_same_form_on_every_machine(make_searcher: Callable[..., Searcher]) -> None:
    found = [make_searcher(sec, step).search("fast") for sec in (0, 600) for step in SPEEDS_SEC]
    assert {tuple(one.name for one in search.candidates) for search in found} == {("static",)}
    assert {search.chosen for search in found} == {"static"}


def test_the_budget_buys_other_forms_and_a_race(make_searcher: Callable[..., Searcher]) -> None:
    nothing = make_searcher(0, 1.0).search("auto")
    assert [one.name for one in nothing.candidates] == ["static"]
    assert (nothing.baseline, nothing.candidates[0].speed) == (None, None)
    assert "the first candidate that keeps the limits" in nothing.choice
    everything = make_searcher(600, 0.0).search("auto")
    assert len(everything.forms) == 4 + len(SCHEMES) - 1
    assert everything.baseline == "Optimum avx512_vnni"
    by_name = {one.name: one for one in everything.candidates}
    assert by_name[everything.baseline].speed
    assert by_name[everything.baseline].speed.score == 1
    for one in everything.candidates:
        assert bool(one.speed) == (one.kind != "int8" or one.keeps_limits)
    assert "timed against Optimum avx512_vnni" in everything.choice


def test_without_other_toolkits_fp32_is_the_baseline_and_said_to_be(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ftx.export.search.peers.PRESETS", ("z80",))
    search = make_searcher(600, 0.0).search("auto")
    assert search.baseline == "fp32"
    assert "timed against fp32" in search.choice
    said = caplog.text
    assert "Optimum z80 is skipped" in said
    assert "OpenVINO" not in said, "nobody asked for a comparison"


def test_a_comparison_is_made_whatever_the_budget(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftx.export.search.peers.find_spec", lambda module: None)
    search = make_searcher(0, 10.0).search("auto", compare=True)
    assert [one.name for one in search.candidates if one.kind == "peer"] == ["Optimum avx512_vnni", "Optimum avx2"]
    assert all(one.speed for one in search.candidates)


def test_a_ranking_that_takes_too_long_waits_until_it_is_needed(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = make_searcher(20, 1.0)
    search = searcher.search("auto")
    assert search.chosen
    assert search.ranking == []
    spoil(monkeypatch, lambda scheme: scheme.fallback != "outliers" or not scheme.fallback_nodes)
    searcher.candidates = [replace(one, verdict="fails") if one.kind == "int8" else one for one in searcher.candidates]
    searcher.find()
    assert searcher.ranker.ranking
    assert searcher.one_passes()


def test_the_search_resumes_without_what_failed_on_other_text(make_searcher: Callable[..., Searcher]) -> None:
    searcher = make_searcher()
    names = [searcher.search("auto").chosen]
    for _ in range(3):
        names.append(searcher.resume().chosen)
    assert names == ["static", "static-outliers-x1", "static-outliers-x2", "static-outliers-x4"]
    while chosen := searcher.resume().chosen:
        names.append(chosen)
    assert {*names} == {form.name for form in searcher.candidates if form.verdict != "fails"}
    assert len(names) == len({*names})


def test_a_form_that_the_architecture_has_no_operators_for_is_skipped(
    make_searcher: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ftx.errors import ModelError

    def refuse(maker: Maker, scheme: Scheme) -> Form:
        raise ModelError(f"this architecture has no operator for {scheme.name} int8")

    monkeypatch.setattr(Maker, "int8", refuse)
    search = make_searcher(600).search("auto")
    assert (search.chosen, search.forms) == (None, [])
    assert "static is skipped: this architecture" in caplog.text
