from __future__ import annotations

from ftx.export.quantization.scheme import SCHEMES
from ftx.export.search.forms import FIRST, Worst, order

WORST = Worst(
    operators=("a", "attention 1", "b", "c", "attention 2", "d", "e"),
    products=("a", "b", "c", "d", "e"),
)


def names(worst: Worst | None, *, one_passes: bool) -> list[str]:
    return [scheme.name for scheme in order(worst, one_passes=one_passes)]


def test_while_nothing_passes_what_is_likely_to_comes_first_and_nothing_is_left_out() -> None:
    found = names(WORST, one_passes=False)
    assert found[:8] == [
        "static", "static-outliers-x1", "static-outliers-x2", "static-outliers-x4", "static-blockwise-x4", "blockwise",
        "static-fp32-x4", "dynamic",
    ]  # fmt: skip
    assert {*SCHEMES} <= {*found}
    assert len({*found}) == len(found)


def test_once_one_passes_only_what_may_be_faster_follows() -> None:
    found = names(WORST, one_passes=True)
    assert found[:4] == ["static", "static-outliers-x1", "static-outliers-x2", "static-outliers-x4"]
    assert {*found[4:]} == {*SCHEMES} - {FIRST.name}


def test_the_worst_operators_are_rescued_first_and_never_all_of_them_in_fp32() -> None:
    by_name = {scheme.name: scheme for scheme in order(WORST, one_passes=False)}
    assert by_name["static-outliers-x2"].rescued_nodes == ("a", "b")
    assert by_name["static-fp32-x4"].rescued_nodes == ("a", "attention 1", "b", "c")
    large = Worst(operators=tuple(map(str, range(64))), products=tuple(map(str, range(64))))
    assert "static-fp32-x32" in names(large, one_passes=False)
    assert "static-fp32-x64" not in names(large, one_passes=False)


def test_without_a_ranking_nothing_is_rescued() -> None:
    assert {*names(None, one_passes=False)} == {*SCHEMES}
