from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ftx.export.parity.certainty import certainty_of, non_inferiority
from ftx.export.parity.gate import Gate, Parity
from ftx.export.parity.intervals import agreement_interval, texts_needed
from ftx.paired import paired_interval


def parity(texts: int, flips: int, loss: tuple[float, float] | None = None) -> Parity:
    return Parity(
        texts=texts,
        batch_size=32,
        max_abs_logit_diff=0.1,
        max_abs_prob_diff=0.02,
        p99_abs_prob_diff=0.01,
        label_agreement=1 - flips / texts,
        flips=flips,
        accuracy=None if loss is None else 0.9,
        reference_accuracy=None if loss is None else 0.9,
        accuracy_loss_interval=loss,
    )


@given(st.integers(1, 3000).flatmap(lambda texts: st.tuples(st.integers(0, texts), st.just(texts))))
def test_the_interval_is_scipys_exact_one(counts: tuple[int, int]) -> None:
    exact = scipy.stats.binomtest(*counts).proportion_ci(0.95, method="exact")
    assert agreement_interval(*counts) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_interval_covers_what_it_says() -> None:
    # Exact intervals cover at least 95 %, whatever the share.
    random = np.random.default_rng(0)
    for share in (0.9, 0.99, 0.995, 0.999):
        counts = random.binomial(629, share, size=2000)
        covered = [low <= share <= high for low, high in (agreement_interval(int(kept), 629) for kept in counts)]
        assert np.mean(covered) >= 0.94


@pytest.mark.parametrize(("share", "limit"), [(1.0, 0.995), (0.998, 0.995), (0.99, 0.995), (0.97, 0.995), (1.0, 0.5)])
def test_the_texts_needed_are_the_fewest_that_decide(share: float, limit: float) -> None:
    texts = texts_needed(share, limit)
    assert texts

    def decides(texts: int) -> bool:
        low, high = agreement_interval(share * texts, texts)
        return low >= limit or high < limit

    assert decides(texts)
    assert not decides(texts - 1)


def test_without_a_flip_the_texts_needed_are_a_logarithm() -> None:
    assert texts_needed(1.0, 0.995) == np.ceil(np.log(0.025) / np.log(0.995)) == 736
    assert texts_needed(0.995, 0.995) is None
    assert texts_needed(0.995 + 1e-9, 0.995) is None


@pytest.mark.parametrize(
    ("texts", "flips", "agreement"),
    [(629, 1, "undecided"), (736, 0, "above"), (735, 0, "undecided"), (629, 20, "below")],
)
def test_a_verdict_is_sure_once_its_interval_is_on_one_side(texts: int, flips: int, agreement: str) -> None:
    found = certainty_of(parity(texts, flips), Gate(), used_share=0.5)
    assert found.agreement == agreement
    assert found.label_agreement_interval == agreement_interval(texts - flips, texts)
    assert f"on {texts} texts, 95 % interval" in found.agreement_text()
    if agreement == "undecided":
        assert found.held_out_needed
        assert found.held_out_needed > 2 * texts
        assert f"{found.held_out_needed:,} held-out texts" in found.agreement_text()


def test_half_of_the_held_out_texts_report() -> None:
    whole, half = (certainty_of(parity(300, 0), Gate(), used_share=share) for share in (1.0, 0.5))
    assert (whole.held_out_needed, half.held_out_needed) == (736, 1472)
    assert "1,472 held-out texts (of which 736 report)" in half.agreement_text()


@pytest.mark.parametrize(
    ("loss", "accuracy"),
    [((-0.002, 0.003), "non-inferior"), ((-0.002, 0.0031), "undecided"), ((0.0031, 0.01), "inferior"), (None, None)],
)
def test_accuracy_is_non_inferior_if_its_paired_interval_ends_below_the_margin(
    loss: tuple[float, float] | None, accuracy: str | None
) -> None:
    found = certainty_of(parity(1000, 2, loss), Gate())
    assert found.accuracy == accuracy
    assert bool(found.accuracy_text()) == (accuracy is not None)
    if loss:
        assert non_inferiority(loss, 0.003) == accuracy
        assert "non-inferiority with a margin of 0.3 points is" in found.accuracy_text()


def test_a_model_that_loses_the_margin_is_seldom_called_non_inferior() -> None:
    # With a true loss of 1 point and a margin of 1 point, at most 2.5 % may be called non-inferior.
    random, called = np.random.default_rng(0), 0
    for _ in range(1000):
        draws = random.random(2000)
        reference_right = draws < 0.9
        right = (draws < 0.88) | (draws > 0.99)  # loses 2 points, wins 1
        called += non_inferiority(paired_interval(right, reference_right), 0.01) == "non-inferior"
    assert called <= 40
