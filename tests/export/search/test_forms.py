from __future__ import annotations

from ftx.export.quantization.scheme import SCHEMES
from ftx.export.search.forms import Worst, order, untried

WORST = Worst(
    operators=("a", "attention 1", "b", "c", "attention 2", "d", "e"),
    products=("a", "b", "c", "d", "e"),
)


def names(worst: Worst | None, *, one_passes: bool) -> list[str]:
    return [scheme.name for scheme in order(worst, one_passes=one_passes)]


def test_while_nothing_passes_what_is_likely_to_comes_first_and_nothing_is_excluded() -> None:
    found = names(WORST, one_passes=False)
    assert found[:8] == [
        "static", "static-outliers-x1", "static-outliers-x2", "static-outliers-x4", "dynamic-per-token",
        "static-blockwise-x4", "blockwise", "static-fp32-x4",
    ]  # fmt: skip
    assert {*SCHEMES} <= {*found}
    assert len({*found}) == len(found)


def test_once_one_passes_only_what_may_be_faster_follows() -> None:
    found = names(WORST, one_passes=True)
    best = ["static", "static-outliers-x1", "static-outliers-x2", "static-outliers-x4", "dynamic-per-token"]
    assert found[:5] == best
    assert {*found[5:]} == {*SCHEMES} - {*best}


def test_the_worst_operators_fall_back_first_and_never_all_of_them_to_fp32() -> None:
    by_name = {scheme.name: scheme for scheme in order(WORST, one_passes=False)}
    assert by_name["static-outliers-x2"].fallback_nodes == ("a", "b")
    assert by_name["static-fp32-x4"].fallback_nodes == ("a", "attention 1", "b", "c")
    large = Worst(operators=tuple(map(str, range(64))), products=tuple(map(str, range(64))))
    assert "static-fp32-x32" in names(large, one_passes=False)
    assert "static-fp32-x64" not in names(large, one_passes=False)


def test_without_a_ranking_nothing_falls_back() -> None:
    assert {*names(None, one_passes=False)} == {*SCHEMES}


def test_forms_are_given_once_and_in_the_order_that_holds_by_then() -> None:
    tried: list[str] = []
    for scheme in untried(tried, lambda passes: WORST if tried else None, lambda: len(tried) >= 3):
        tried.append(scheme.name)
    assert tried == names(WORST, one_passes=True)
    # Nothing passes any more: the forms that only follow then.
    scheme = next(untried(tried, lambda passes: WORST, lambda: False))
    assert scheme.name == "static-blockwise-x4"
