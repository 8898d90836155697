from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from ftx.errors import RecipeError
from ftx.finetune.labelled_text import load_labelled_text
from ftx.finetune.recipe import Recipe, load_recipe, recipes


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_that_ships_loads_and_comes_back(name: str, tmp_path: Path) -> None:
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
        ('model = "m"\ndataset = "d"\nepochs = "three"', "epochs is 'three', expected float"),
        ('model = "m"\ndataset = "d"\nseed = true', "seed is True, expected int"),
        ('model = "m"\ndataset = "d"\nlabels = [1, 2]', "labels is"),
        ('model = "m"\ndataset = "d"\nlearning_rate = -1.0', "learning_rate is -1.0, expected above 0"),
        ('model = "m"\ndataset = "d"\nlearning_rate = nan', "learning_rate is nan"),
    ],
)
def test_a_recipe_that_is_none_names_the_value(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=reason):
        load_recipe(str(path))


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(RecipeError, match="starter"):
        load_recipe("nonsense")


@pytest.mark.parametrize(
    "values", [{"validation": 1.0}, {"warmup_ratio": 2.0}, {"precision": "fp8"}, {"max_steps": -1}]
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(values))):
        Recipe(model="m", dataset="d", **values)


def test_three_recipes_ship_and_say_what_they_are_for() -> None:
    assert list(recipes()) == ["emotion", "sst2", "starter"]
    assert all(len(purpose) > 20 for purpose in recipes().values())


@pytest.mark.parametrize("name", ["sst2", "emotion"])
def test_the_starters_model_has_values_of_its_own(name: str) -> None:
    given, starter = load_recipe(name), load_recipe(name, starter=True)
    assert starter.learning_rate > given.learning_rate
    assert replace(starter, learning_rate=given.learning_rate) == given


def test_the_quick_look_of_sst2() -> None:
    whole, quick = load_recipe("sst2"), load_recipe("sst2", quick=True)
    assert (whole.train_rows, whole.eval_rows) == (0, 0)
    assert (quick.train_rows, quick.eval_rows, quick.seed) == (1000, 200, 42)
    with pytest.raises(RecipeError, match="no \\[quick\\] values"):
        load_recipe("starter", quick=True)


def test_the_emotion_table_has_its_thirteen_labels_in_eight_rows_or_more() -> None:
    recipe = load_recipe("emotion")
    data = load_labelled_text(recipe)
    assert data.head.labels == list(recipe.labels)
    assert len(data.head.labels) == 13
    counts = [sum(number == label for _, number in data.train + data.held_out) for label in range(13)]
    assert min(counts) >= 8
    assert (data.duplicates, data.two_labels) == (0, 0)
