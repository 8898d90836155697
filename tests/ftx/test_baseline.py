from __future__ import annotations

import pytest

from ftx.baseline import weakness, weakness_of_values


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({("yes", "yes"): 90, ("no", "no"): 5, ("no", "yes"): 5}, ""),
        ({("yes", "yes"): 3, ("no", "yes"): 1, ("no", "no"): 0}, "gives each of 4 held-out texts the same label, yes"),
        ({(None, "yes"): 39}, "gives each of 39 held-out texts the same label, yes"),
        ({(None, "yes"): 30, (None, "no"): 9}, ""),
        ({("yes", "yes"): 6, ("yes", "no"): 2, ("no", "no"): 2}, "the commonest label, yes: accuracy 0.8000"),
        ({("yes", "yes"): 7, ("yes", "no"): 1, ("no", "no"): 2}, ""),
        ({(frozenset({"a"}), frozenset()): 4, (frozenset(), frozenset()): 5}, "the same label, none at all"),
        ({(frozenset({"a"}), frozenset({"a"})): 1, (frozenset(), frozenset({"a", "b"})): 5}, ""),
    ],
)
def test_a_model_that_is_no_better_than_a_constant_is_named(
    outcomes: dict[tuple[object, object], int], said: str
) -> None:
    found = weakness(outcomes)
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("true", "predicted", "said"),
    [
        ([1.0, 2.0, 3.0], [1.1, 2.1, 2.9], ""),
        (None, [1.1, 2.1, 2.9], ""),
        (None, [2.0, 2.0, 2.0], "the same value, 2"),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], "no better than always giving the median, 2: MAE 1.3333"),
    ],
)
def test_a_regression_that_is_no_better_than_a_constant_is_named(
    true: list[float] | None, predicted: list[float], said: str
) -> None:
    found = weakness_of_values(true, predicted)
    assert said in found
    assert bool(found) == bool(said)
