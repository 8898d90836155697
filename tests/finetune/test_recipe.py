from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import tomli_w

from ftx.errors import RecipeError
from ftx.finetune.data.labelled_text import load_labelled_text
from ftx.finetune.recipe import Recipe, load_recipe, recipes

BOUNDED: dict[type, list[float]] = {int: [-1, 2**32, 10**40], float: [math.nan, math.inf, -math.inf, -1.0, 1e300]}


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_that_ships_round_trips(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "recipe.toml"
    path.write_text(tomli_w.dumps({**recipe.to_dict(), "versions": {"python": "3"}}))
    assert load_recipe(str(path)) == recipe


def test_a_new_data_set_drops_the_old_ones_labels() -> None:
    starter = load_recipe("starter")
    assert starter.override({"epochs": 2.0}).labels == ("negative", "positive")
    assert starter.override({"dataset": "mine.csv"}).labels == ()
    assert starter.override({"dataset": "mine.csv", "labels": ("a", "b")}).labels == ("a", "b")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("model = ", "not TOML"),
        ('model = "m"', "lacks dataset"),
        ('model = "m"\ndataset = "d"\nepoch = 3', "unknown values epoch"),
        ('model = "m"\ndataset = "d"\nepochs = "three"', "epochs is 'three', expected a number above 0, up to 1e\\+06"),
        ('model = "m"\ndataset = "d"\nseed = true', "seed is True, expected an integer from 0 to 4294967295"),
        ('model = "m"\ndataset = "d"\nlabels = [1, 2]', r"labels is \[1, 2\], expected a list of names"),
        ('model = "m"\ndataset = "d"\nlearning_rate = -1.0', "learning_rate is -1.0, expected a number above 0"),
        ('model = "m"\ndataset = "d"\nlearning_rate = nan', "learning_rate is nan"),
        ('model = "m"\ndataset = "d"\nseed = ' + "9" * 5000, "is not TOML: .*digits"),
        ('model = "m"\ndataset = "d"\nseed = 0x' + "f" * 9000, "seed is an integer of thousands of digits"),
        ('model = "m"\ndataset = "d"\nseed = 1' + "0" * 40, "seed is 10{40}, expected an integer from 0 to 4294967295"),
        ('model = "m"\ndataset = "d"\nepochs = 1' + "0" * 400, "epochs is 10*, expected a number above 0"),
        ('model = "m"\ndataset = "d"\nlabels = ' + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        ('model = "m"\ndataset = "d"\nquick = 3', r"quick is 3, expected values under \[quick\]"),
        ('model = "m"\ndataset = "d"\nstarter = [1]', r"starter is \[1\], expected values"),
        (
            'model = "m"\ndataset = "d"\n' + "".join(f"x{n} = 1\n" for n in range(9999)),
            "x1014 and 9979 more; expected",
        ),
        ('model = "\xff"', "is not TOML"),
    ],
)
def test_an_invalid_recipe_names_the_value(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(RecipeError, match=reason) as caught:
        load_recipe(str(path))
    assert len(str(caught.value)) < 1500


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="starter"):
        load_recipe("nonsense")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"validation": 1.0}, "validation is 1.0, expected a number between 0 and 1"),
        ({"warmup_ratio": 2.0}, "warmup_ratio is 2.0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"max_steps": -1}, "max_steps is -1, expected an integer from 0 to 2147483647"),
        ({"seed": 4294967296}, "seed is 4294967296, expected an integer from 0 to 4294967295"),
        ({"learning_rate": 1e31}, r"learning_rate is 1e\+31, expected a number above 0, up to 1e\+30"),
        ({"epochs": 0.0}, r"epochs is 0.0, expected a number above 0, up to 1e\+06"),
        ({"text_column": " "}, "text_column is ' ', expected a name"),
        ({"labels": ("a", "")}, "expected a list of names of 1 to 1000 characters"),
        ({"labels": ("a", "b" * 5000)}, "expected a list of names of 1 to 1000 characters"),
        ({"delimiter": '"'}, "expected one character, no quote or line break"),
        ({"text_pair_column": "text"}, "text_pair_column is 'text', expected another column than text_column"),
        ({"label_column": "text"}, "label_column is 'text', expected no column of texts"),
        ({"label_columns": ("a", "text")}, "expected no column of texts"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason) as caught:
        Recipe(**{"model": "m", "dataset": "d", **values})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("name", "kind"), [(n, kind) for n, kind in get_type_hints(Recipe).items() if kind in BOUNDED])
def test_every_number_has_bounds(name: str, kind: type) -> None:
    for value in BOUNDED[kind]:
        with pytest.raises(RecipeError, match=rf"^{name} is "):
            Recipe(**{"model": "m", "dataset": "d", name: value})


def test_values_of_the_wrong_type_are_refused_and_numpy_scalars_accepted() -> None:
    for name, value in (("epochs", "1"), ("torch_compile", 1), ("seed", 1.0), ("labels", "ab"), ("model", Path("m"))):
        with pytest.raises(RecipeError, match=f"^{name} is .*, expected "):
            Recipe(**{"model": "m", "dataset": "d", name: value})
    recipe = Recipe(
        model="m", dataset="d", learning_rate=np.float32(0.5), epochs=2, seed=np.int64(3), labels=["a", "b"]
    )
    plain = Recipe(model="m", dataset="d", learning_rate=0.5, epochs=2.0, seed=3, labels=("a", "b"))
    assert repr(recipe) == repr(plain)


@pytest.mark.parametrize("name", ["model", "dataset", "text_column", "label_column"])
def test_an_empty_name_is_not_read_as_the_current_folder(name: str) -> None:
    with pytest.raises(RecipeError, match=f"^{name} is '', expected a name"):
        Recipe(**{"model": "m", "dataset": "d", name: ""})


def test_paths_are_relative_to_the_recipe_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "x.csv").write_text("text,label\n")
    (home / "recipe.toml").write_text('model = "./m"\ndataset = "./x.csv"\nvalidation_file = "./v.csv"\n')
    monkeypatch.chdir(tmp_path)
    beside = load_recipe("home/recipe.toml")
    assert (beside.model, beside.dataset, beside.validation_file) == ("home/m", "home/x.csv", "home/v.csv")
    monkeypatch.chdir(home)
    recipe = Recipe(model="org/name@v2", dataset="./x.csv", validation_file="x.csv").anchored()
    assert recipe.model == "org/name@v2"
    assert recipe.dataset == recipe.validation_file == str(home / "x.csv")
    assert Recipe(model="starter", dataset="starter").anchored() == Recipe(model="starter", dataset="starter")
    (home / "org").mkdir()
    assert Recipe(model="org", dataset="starter").anchored().model == str(home / "org")


def test_an_unreadable_recipe_is_a_one_line_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for name in (str(tmp_path / "pipe.toml"), "x" * 300, "a\0b", str(tmp_path)):
        with pytest.raises(RecipeError, match="There is no recipe"):
            load_recipe(name)


def test_three_recipes_ship_with_their_purpose() -> None:
    assert list(recipes()) == ["emotion", "sst2", "starter"]
    assert all(len(purpose) > 20 for purpose in recipes().values())


@pytest.mark.parametrize("name", ["sst2", "emotion"])
def test_recipes_have_values_for_the_starter_model(name: str) -> None:
    given, starter = load_recipe(name), load_recipe(name, starter=True)
    assert starter.learning_rate > given.learning_rate
    assert replace(starter, learning_rate=given.learning_rate) == given


def test_the_quick_values_of_sst2() -> None:
    whole, quick = load_recipe("sst2"), load_recipe("sst2", quick=True)
    assert (whole.train_rows, whole.eval_rows) == (0, 0)
    assert (quick.train_rows, quick.eval_rows, quick.seed) == (1000, 200, 42)
    with pytest.raises(RecipeError, match="no \\[quick\\] values"):
        load_recipe("starter", quick=True)


def test_the_emotion_table_has_thirteen_labels_of_eight_rows_or_more() -> None:
    recipe = load_recipe("emotion")
    data = load_labelled_text(recipe)
    assert data.head.labels == list(recipe.labels)
    assert len(data.head.labels) == 13
    counts = [sum(number == label for _, number in data.train + data.held_out) for label in range(13)]
    assert min(counts) >= 8
    assert (data.duplicates, data.two_labels) == (0, 0)
