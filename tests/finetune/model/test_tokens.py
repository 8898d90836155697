"""Texts are truncated to the positions of the model, whatever its tokenizer says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftx.errors import ModelError, RecipeError
from ftx.finetune import Recipe, evaluate, train
from ftx.finetune.model import tokens
from ftx.finetune.model.hub import load_tokenizer
from ftx.finetune.model.tokens import tokenise
from tests.conftest import build_tiny, review_rows, tiny_recipe, write_jsonl

LONG = " ".join(["the movie was great and the cast was dull"] * 100)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of 66 positions, of which the first two belong to padding; its tokenizer sets no limit."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("roberta") / "model"
    build_tiny(folder, "single_label_classification", ["negative", "positive"])
    config = AutoConfig.for_model(
        "roberta", vocab_size=200, pad_token_id=1, max_position_embeddings=66, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=64, id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    torch.manual_seed(5)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[tuple[str, Any]] = [(f"{text} {LONG}", label) for text, label in review_rows()]
    return write_jsonl(tmp_path_factory.mktemp("long") / "long.jsonl", rows)


def test_more_tokens_than_positions_are_refused_before_training(roberta: Path, reviews: Path, tmp_path: Path) -> None:
    for length in (1, 2, 65, 1024):
        recipe = tiny_recipe(roberta, reviews, Recipe, max_length=length)
        with pytest.raises(RecipeError, match=f"max_length is {length}, expected 3 to 64, what .*model reads"):
            train(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_long_texts_are_truncated_to_the_positions_of_the_model(roberta: Path, long_rows: Path, tmp_path: Path) -> None:
    report = train(tiny_recipe(roberta, long_rows, Recipe, max_length=64, max_steps=1), tmp_path / "run")
    assert report.data.truncated_share == 1
    assert report.data.token_percentiles["max"] > 900
    # The original model, whose tokenizer has no limit.
    assert evaluate(roberta, long_rows).rows == 96


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("tokenizer_config.json", {"model_max_length": 1.5}, "model_max_length is 1.5, expected a number above 2"),
        ("tokenizer_config.json", {"model_max_length": "x"}, "model_max_length is 'x'"),
        ("tokenizer_config.json", {"pad_token": None}, None),
        ("config.json", {"thresholds": {"a": "x"}}, "thresholds is .*, expected a share from 0 to 1 by label"),
        ("config.json", {"id2label": {"0": "a", "1": "a"}}, r"id2label is \['a', 'a'\], expected no name twice"),
        ("config.json", {"id2label": {"0": "a", "2": "b"}}, "id2label is .*, expected a name for each label"),
    ],
)
def test_the_config_files_of_a_checkpoint_are_checked(
    tmp_path: Path, reviews: Path, file: str, change: dict[str, Any], reason: str | None
) -> None:
    folder = build_tiny(tmp_path / "model", "single_label_classification", ["negative", "positive"])
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    if reason is None:
        (folder / "special_tokens_map.json").unlink()
        reason = "has a tokenizer without a padding token"
    with pytest.raises(ModelError, match=reason):
        evaluate(folder, reviews)


def test_very_long_texts_are_tokenised_in_parts(roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(roberta))
    single = [("the movie", 0), (LONG, 1), ("great", 0), ("was dull", 1)]
    pairs = [((text, LONG), target) for text, target in single]
    seen: list[int] = []

    class Counting:
        """The tokenizer, and how many texts it was given at once."""

        def __call__(self, *texts: Any, **options: Any) -> Any:
            seen.append(len(texts[0]))
            return tokenizer(*texts, **options)

        def num_special_tokens_to_add(self) -> int:
            return int(tokenizer.num_special_tokens_to_add())

    for rows, most in ((single, 2), (pairs, 1)):
        whole = tokenise(rows, tokenizer, 32).to_list()
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(tokens, "CHARACTERS_AT_ONCE", 1000)
            assert tokenise(rows, Counting(), 32).to_list() == whole
        assert max(seen) == most


def test_fewer_token_types_than_the_tokenizer_gives_are_refused(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    model = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "model")
    BertForSequenceClassification(BertConfig.from_pretrained(model, type_vocab_size=1)).save_pretrained(model)
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"text": text, "second": "The plot", "label": label} for text, label in review_rows()]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe(model, pairs, Recipe, max_steps=1, text_pair_column="second")
    with pytest.raises(ModelError, match=r"gives 2 token types, and the model has 1 .*, or train on single texts"):
        train(recipe, tmp_path / "run")
    assert train(replace(recipe, text_pair_column=""), tmp_path / "run").steps == 1
