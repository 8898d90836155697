from __future__ import annotations

import pytest

from ftx.errors import RecipeError
from ftx.finetune import precision
from ftx.finetune.precision import choose_precision


@pytest.mark.parametrize(
    ("asked", "cuda", "bf16", "chosen"),
    [
        ("auto", True, True, "fp16"),
        ("auto", True, False, "fp16"),
        ("auto", False, False, "fp32"),
        ("fp32", True, True, "fp32"),
        ("fp16", True, False, "fp16"),
        ("bf16", True, True, "bf16"),
    ],
)
def test_what_is_chosen(asked: str, cuda: bool, bf16: bool, chosen: str) -> None:
    found, reason = choose_precision(asked, cuda=cuda, cuda_bf16=bf16)
    assert found == chosen
    assert reason


def test_what_is_not_possible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    for asked, cuda in (("fp16", False), ("bf16", False), ("bf16", True)):
        with pytest.raises(RecipeError, match=f"precision {asked}"):
            choose_precision(asked, cuda=cuda, cuda_bf16=False)


def test_bf16_on_a_cpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    assert choose_precision("bf16", cuda=False, cuda_bf16=False)[0] == "bf16"
