from __future__ import annotations

from dataclasses import replace

import pytest

from ftx.export.parity.gate import Gate, Parity
from ftx.export.search.candidate import Candidate, choose, mark_front, missed, verdict
from ftx.export.search.timing import Speed

PARITY = Parity(
    texts=1000,
    batch_size=32,
    max_abs_logit_diff=0.1,
    max_abs_prob_diff=0.02,
    p99_abs_prob_diff=0.01,
    label_agreement=0.998,
    flips=2,
    accuracy=0.9,
    reference_accuracy=0.9,
    accuracy_loss_interval=(-0.001, 0.001),
)


def candidate(
    name: str,
    speed: float,
    *,
    throughput: float | None = None,
    expected: float = 0.999,
    kind: str = "int8",
    verdict: str = "passes",
) -> Candidate:
    return Candidate(
        name=name,
        kind=kind,
        scheme={},
        size_bytes=1,
        parity=PARITY,
        expected_agreement=expected,
        batch_flips=None,
        verdict=verdict,
        speed=Speed(
            latency_ms=1 / speed,
            texts_per_sec=speed,
            latency_ratio=(throughput or speed) / speed**2,
            throughput_ratio=throughput or speed,
            spread=0.02,
            rounds=5,
        ),
    )


def chosen(*candidates: Candidate) -> str | None:
    choice = choose(list(candidates))
    return choice.name if choice else None


def test_the_fastest_that_passes_is_chosen() -> None:
    fp32 = candidate("fp32", 0.5, kind="fp32")
    failing, peer = candidate("failing", 3, verdict="fails"), candidate("peer", 4, kind="peer")
    assert chosen(fp32, failing, peer, candidate("slow", 1.0), candidate("fast", 1.2)) == "fast"
    assert chosen(fp32, failing, peer, candidate("near", 1.2, verdict="near"), candidate("slow", 1.0)) == "slow"
    assert chosen(fp32, failing, peer, candidate("near", 1.2, verdict="near")) == "near"
    assert chosen(fp32, failing, peer) is None


def test_without_speeds_the_surest_is_chosen_and_between_equals_the_first() -> None:
    untimed = [replace(candidate(name, 1, expected=sure), speed=None) for name, sure in (("a", 0.996), ("b", 0.999))]
    assert chosen(*untimed) == "b"
    assert chosen(*untimed, replace(candidate("c", 1, expected=0.999), speed=None)) == "b"
    assert chosen(replace(untimed[0], verdict="near"), replace(untimed[1], verdict="fails")) == "a"


def test_what_is_near_is_chosen_by_agreement_and_not_by_speed() -> None:
    fast = candidate("fast", 3, expected=0.992, verdict="near")
    assert chosen(fast, candidate("sure", 1, expected=0.994, verdict="near")) == "sure"


def test_fp32_may_win() -> None:
    assert chosen(candidate("fp32", 2.0, kind="fp32"), candidate("int8", 1.0)) == "fp32"


def test_as_fast_is_decided_by_faithfulness() -> None:
    assert chosen(candidate("a", 1.21, expected=0.998), candidate("b", 1.2, expected=0.9995)) == "b"


def test_a_little_speed_is_given_for_surety() -> None:
    hair = candidate("hair", 1.2, expected=0.9952)
    assert chosen(hair, candidate("surer", 1.15, expected=0.998)) == "surer"
    assert chosen(hair, candidate("surer", 1.1, throughput=1.15, expected=0.998)) == "surer"
    assert chosen(hair, candidate("surer", 1.15, throughput=1.05, expected=0.998)) == "hair"
    assert chosen(hair, candidate("surer", 1.0, expected=0.998)) == "hair"


def test_the_front_holds_what_nothing_beats() -> None:
    best, other = candidate("best", 2), candidate("slower", 1)
    smaller = replace(candidate("smaller", 1), size_bytes=0)
    untimed = replace(candidate("untimed", 1), speed=None)
    marked = {one.name: one.on_front for one in mark_front([best, other, smaller, untimed])}
    assert marked == {"best": True, "slower": False, "smaller": True, "untimed": False}


@pytest.mark.parametrize(("flips", "expected"), [(None, "passes"), (5, "passes"), (6, "near"), (11, "fails")])
def test_labels_that_depend_on_batch_composition_count(flips: int | None, expected: str) -> None:
    assert verdict(PARITY, PARITY, 0.999, flips, Gate()) == expected
    alone = replace(PARITY, label_agreement=0.98)
    assert verdict(PARITY, alone, 0.999, flips, Gate()) == "fails"


@pytest.mark.parametrize(
    ("counted", "estimated", "expected"),
    [(0.992, 0.996, "passes"), (1.0, 0.994, "near"), (0.989, 0.999, "fails"), (1.0, 0.989, "fails")],
)
def test_estimated_agreement_counts_more_than_flips(counted: float, estimated: float, expected: str) -> None:
    assert verdict(replace(PARITY, label_agreement=counted), None, estimated, None, Gate()) == expected


@pytest.mark.parametrize(
    ("counted", "estimated", "flips", "said"),
    [
        (0.998, 0.999, 5, ()),
        (0.998, 0.994, None, ("estimated agreement 0.9940, required 0.995",)),
        (0.98, 0.999, None, ("counted agreement 0.9800, required 0.99",)),
        (0.998, 0.999, 6, ("6 of 1000 predictions depend on batch composition, allowed 0.5%",)),
    ],
)
def test_a_candidate_says_which_limits_it_misses(
    counted: float, estimated: float, flips: int | None, said: tuple[str, ...]
) -> None:
    figures = (replace(PARITY, label_agreement=counted), None, estimated, flips, Gate())
    assert missed(*figures) == said
    assert (verdict(*figures) == "passes") is not bool(said)


def test_a_candidate_passes_on_enough_text_only() -> None:
    for texts, expected in ((99, "not enough text"), (100, "passes")):
        parity = replace(PARITY, texts=texts, label_agreement=1.0, flips=0)
        assert verdict(parity, None, 1.0, None, Gate()) == expected
        assert replace(candidate("one", 1), verdict=expected).keeps_limits
