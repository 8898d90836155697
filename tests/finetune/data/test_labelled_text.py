from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftx.errors import DataError
from ftx.finetune.data.labelled_text import load_labelled_text
from ftx.finetune.data.profile import profile
from ftx.finetune.data.sentence_split import sample, sentence_key, split
from ftx.finetune.data.targets import examples
from ftx.finetune.model.head import Example, find_head
from ftx.finetune.recipe import Recipe
from ftx.tables.bad_rows import BadRows
from ftx.tables.labelled import Row
from tests.conftest import write_jsonl


def rows_of(*pairs: tuple[str, str]) -> list[Row]:
    return [Row(where=f"data:{number}", text=text, label=label) for number, (text, label) in enumerate(pairs, 1)]


def sides(rows: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    return split(rows, [str(target) for _, target in rows], share, seed)


one_text = st.text(alphabet="aAbB .!é", max_size=6)
tables = st.lists(st.tuples(one_text | st.tuples(one_text, one_text), st.integers(0, 2)), max_size=60)


@given(rows=tables, share=st.floats(0.05, 0.9), seed=st.integers(0, 5))
def test_no_sentence_stands_on_both_sides_and_none_is_lost(rows: list[Example], share: float, seed: int) -> None:
    train, held_out = sides(rows, share, seed)
    assert not {sentence_key(text) for text, _ in train} & {sentence_key(text) for text, _ in held_out}
    assert sorted(map(str, train + held_out)) == sorted(map(str, rows))


@given(rows=tables, chance=st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_rows(rows: list[Example], chance: random.Random) -> None:
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    assert set(map(str, sides(rows, 0.3, 1)[1])) == set(map(str, sides(shuffled, 0.3, 1)[1]))


def test_the_split_holds_each_label_out_in_its_share() -> None:
    rows: list[Example] = [*[(f"common {n}", 0) for n in range(900)], *[(f"rare {n}", 1) for n in range(100)]]
    _, held_out = sides(rows, 0.2, 0)
    assert [target for _, target in held_out].count(0) == 180
    assert [target for _, target in held_out].count(1) == 20
    assert sides(rows, 0.2, 1)[1] != held_out


def test_a_sentence_is_the_same_in_another_case_and_punctuation() -> None:
    assert sentence_key("It's GREAT!") == sentence_key("its great") == sentence_key("It ’s great .")
    assert sentence_key("Straße") == sentence_key("STRASSE")
    assert sentence_key("?!") != sentence_key("...")
    assert sentence_key(("A b", "c")) == sentence_key(("ab!", "C")) != sentence_key(("a", "bc"))


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["pos", "neg"], [], ["neg", "pos"]),
        (["10", "9", "1"], [], ["1", "9", "10"]),
        (["1", "0"], ["negative", "positive"], ["negative", "positive"]),
        (["positive", "0"], ["negative", "positive"], ["negative", "positive"]),
    ],
)
def test_labels_are_found_or_given(labels: list[str], names: list[str], expected: list[str]) -> None:
    head = find_head("auto", names, rows_of(*[("t", label) for label in labels]), "label")
    assert head.problem_type == "single_label_classification"
    assert head.labels == expected
    assert {head.target(label) for label in labels} <= set(range(len(expected)))


def test_a_number_means_the_name_at_that_place() -> None:
    head = find_head("auto", ["negative", "positive"], rows_of(("t", "1"), ("t", "negative")), "label")
    assert (head.target("1"), head.target("negative")) == (1, 0)


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        (["1", "0", "x"], [], "data:3: label 'x': some labels are numbers"),
        (["a", "b", "c"], ["a", "b"], "data:3: label 'c' is not in the list; expected a, b"),
        (["0", "2"], ["a", "b"], "data:2: label '2' is not in the list.*number from 0 to 1"),
    ],
)
def test_a_label_that_does_not_fit_names_its_row(labels: list[str], names: list[str], reason: str) -> None:
    rows = rows_of(*[("t", label) for label in labels])
    with pytest.raises(DataError, match=reason):
        examples(rows, find_head("auto", names, rows, "label"), BadRows())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,label\n", "empty"),
        ("text,label\na,1\nb,1\n", "one class only, '1', in 2 rows"),
        ("text,label\na,x\nA!,y\n", "too few rows"),
        ("text,label\na,x\na,y\na,x\n", "the same text in all 3 rows"),
        ("text,label\na,x\n,y\n  ,x\n", "a.csv:3: the text is empty; .* 2 rows can't be used.*--skip-bad-rows 2"),
        ("text,label,label\na,x,y\n", "the column name 'label' stands twice"),
    ],
)
def test_data_nothing_can_be_learnt_from_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=reason):
        load_labelled_text(Recipe(model="m", dataset=str(path)))


def test_real_sst2_and_emotion_tables_are_read(shared_data: Path) -> None:
    data = load_labelled_text(
        Recipe(
            model="m",
            dataset=str(shared_data / "sst2/dev.tsv"),
            text_column="sentence",
            labels=("negative", "positive"),
        )
    )
    assert len(data.train) + len(data.held_out) == 6735
    assert abs(len(data.held_out) / 6735 - 0.1) < 0.02


def test_a_validation_file_is_held_out_and_its_sentences_are_not_learnt(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "text,label\nGood one,pos\nbad one,neg\nLeaks!,pos\ngood one,pos\nodd,pos\nodd,neg\n"
    )
    (tmp_path / "validation.csv").write_text("text,label\nleaks,pos\nfresh,neg\n")
    recipe = Recipe(
        model="m",
        dataset=str(tmp_path / "train.csv"),
        validation_file=str(tmp_path / "validation.csv"),
        labels=("neg", "pos"),
    )
    data = load_labelled_text(recipe)
    assert data.held_out == [("leaks", 1), ("fresh", 0)]
    assert [text for text, _ in data.train] == ["Good one", "bad one", "good one", "odd", "odd"]
    assert (data.leaks, data.duplicates, data.two_labels) == (1, 2, 1)


def test_gzip_is_trained_on_and_held_out(tmp_path: Path) -> None:
    for name, sides in (("train.txt.gz", ("good", "bad")), ("validation.csv.gz", ("fine", "dull"))):
        rows = "".join(f"{sides[n % 2]} {n};{n % 2}\n" for n in range(8))
        (tmp_path / name).write_bytes(gzip.compress(f"text;label\n{rows}".encode()))
    paths = {"dataset": str(tmp_path / "train.txt.gz"), "validation_file": str(tmp_path / "validation.csv.gz")}
    data = load_labelled_text(Recipe(model="m", **paths))
    assert (len(data.train), len(data.held_out), data.head.labels) == (8, 8, ["0", "1"])


def test_labels_that_are_not_in_the_list_are_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"good {n},pos\nbad {n},neg\n" for n in range(9)) + "what,huh\n")
    recipe = Recipe(model="m", dataset=str(path), labels=("neg", "pos"), skip_bad_rows=1)
    data = load_labelled_text(recipe)
    assert len(data.train) + len(data.held_out) == 18
    assert [row.where for row in data.bad_rows.rows] == [f"{path}:20"]


def test_a_sample_is_the_same_each_time_and_keeps_the_order() -> None:
    rows: list[Example] = [(f"text {n}", 0) for n in range(100)]
    some = sample(rows, 10, 42)
    assert len(some) == 10
    assert some == sample(rows, 10, 42) != sample(rows, 10, 43)
    assert [rows.index(row) for row in some] == sorted(rows.index(row) for row in some)
    assert sample(rows, 0, 42) == sample(rows, 1000, 42) == rows


def test_odd_labels_among_values_are_bad_rows_and_make_no_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"text {number},{number / 4}\n" for number in range(20)]
    for odd in ("n/a", "inf", "1e300"):
        path.write_text("text,label\n" + "".join(rows) + f"odd,{odd}\n")
        with pytest.raises(DataError, match=rf"a\.csv:22: label '{odd}' is .*single_label_classification"):
            load_labelled_text(Recipe(model="m", dataset=str(path)))
        data = load_labelled_text(Recipe(model="m", dataset=str(path), skip_bad_rows=1))
        assert data.head.problem_type == "regression"
        assert [row.where for row in data.bad_rows.rows] == [f"{path}:22"]
    path.write_text("text,label\n" + "".join(rows * 2).replace("text", "more", 20) + "odd,n/a\nOdd one,n/a\n")
    asked = Recipe(model="m", dataset=str(path), problem_type="single_label_classification")
    assert load_labelled_text(asked).head.labels[-2:] == ["4.75", "n/a"]


def test_values_without_fractions_are_told_how_to_be_values(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {number},{number}\n" for number in range(5000)))
    with pytest.raises(DataError, match="two or more of each label; for values add --problem-type regression"):
        load_labelled_text(Recipe(model="m", dataset=str(path)))


@pytest.mark.parametrize("name", ["nowhere.csv", "/nowhere", "./nowhere", "~/x", "nowhere.csv.gz", "x" * 300 + ".csv"])
def test_a_file_that_is_not_there_is_not_looked_for_on_a_hub(name: str) -> None:
    with pytest.raises(DataError, match=r"can't be read: (No such file|File name too long)"):
        load_labelled_text(Recipe(model="m", dataset=name))


def test_texts_with_nul_characters_are_counted_and_named(tmp_path: Path) -> None:
    texts = [("T\0h\0e\0", "a"), ("The plot", "b"), ("A cast", "a"), ("The music\0", "b")]
    data = load_labelled_text(
        Recipe(model="m", dataset=str(write_jsonl(tmp_path / "odd.jsonl", texts)), validation=0.5)
    )
    found = profile(data, [3] * 4, 32)
    assert found.nul_texts == 2
    assert "WARNING    2 texts have NUL characters" in found.to_text()
    clean = [(text.replace("\0", ""), label) for text, label in texts]
    data = load_labelled_text(
        Recipe(model="m", dataset=str(write_jsonl(tmp_path / "fine.jsonl", clean)), validation=0.5)
    )
    assert "NUL" not in profile(data, [3] * 4, 32).to_text()
