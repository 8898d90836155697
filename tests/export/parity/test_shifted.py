from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftx.export.parity.shifted import MAX_TEXTS, shifted
from ftx.text import Text

TEXTS: list[Text] = [f"The {word} film number {row} was long, and its ending wonderful." for row, word in enumerate(
    ["first", "second", "third"] * 80
)]  # fmt: skip
SINGLE = st.lists(st.text(max_size=60), min_size=1, max_size=8)


def test_the_same_seed_gives_the_same_texts() -> None:
    once = shifted(TEXTS, tokens=14, max_length=128)
    assert shifted(TEXTS, tokens=14, max_length=128) == once
    other = shifted(TEXTS, tokens=14, max_length=128, seed=1)
    assert all(other[kind] != texts for kind, texts in once.items())


def test_each_kind_is_what_its_name_says() -> None:
    kinds = shifted(TEXTS, tokens=14, max_length=128)
    assert [kind for kind in kinds if kind.startswith("joined")] == ["joined_2", "joined_4", "joined_8", "joined_16"]
    for count in (2, 4, 8, 16):
        assert {str(text).count("film") for text in kinds[f"joined_{count}"]} == {count}
    assert {len(str(text).split()) for text in kinds["few_words"]} == {1, 2, 3}
    for text in kinds["upper_case"]:
        assert str(text) == str(text).upper()
        assert str(text).endswith("!")
    before = set(TEXTS)
    for kind in ("typos", "urls_digits_emoji", "repeated_words"):
        assert not before & set(kinds[kind]), kind
    for typo in kinds["typos"]:
        assert len(str(typo).split()) == 11
    for long in kinds["repeated_words"]:
        words = str(long).split()
        assert any(words[place : place + 3] == [words[place]] * 3 for place in range(len(words)))


@pytest.mark.parametrize(("tokens", "max_length"), [(14, 128), (30, 512), (400, 512), (600, 512)])
def test_what_pytorch_has_to_read_is_bounded(tokens: int, max_length: int) -> None:
    kinds = shifted(TEXTS, tokens=tokens, max_length=max_length)
    for kind, texts in kinds.items():
        count = int(kind.removeprefix("joined_")) if kind.startswith("joined_") else 1
        assert 0 < len(texts) <= MAX_TEXTS
        assert len(texts) * min(count * tokens, max_length) <= 8192
    longest = max(int(kind.removeprefix("joined_")) for kind in kinds if kind.startswith("joined_"))
    assert longest * tokens >= max_length, "some are as long as the model reads"


def test_both_texts_of_a_pair_are_changed() -> None:
    pairs: list[Text] = [(f"premise {row} of these", f"hypothesis {row} of those") for row in range(30)]
    for kind, texts in shifted(pairs, tokens=10, max_length=32).items():
        assert texts, kind
        for text in texts:
            assert isinstance(text, tuple)
            assert len(text) == 2
    [joined, *_] = shifted(pairs, tokens=10, max_length=32)["joined_2"]
    assert joined[0].count("premise") == 2
    assert joined[1].count("hypothesis") == 2


@given(texts=SINGLE, tokens=st.floats(1, 1000), max_length=st.integers(3, 600))
def test_any_text_can_be_changed(texts: list[str], tokens: float, max_length: int) -> None:
    for made in shifted(texts, tokens=tokens, max_length=max_length).values():
        assert len(made) == len(set(made))
        assert len(made) <= len(texts)


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=5))
def test_any_pair_can_be_changed(pairs: list[tuple[str, str]]) -> None:
    for made in shifted(pairs, tokens=20, max_length=64).values():
        assert all(isinstance(text, tuple) for text in made)
