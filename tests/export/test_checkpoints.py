"""Checkpoints of other makers: what they leave out is made up for where that is safe, else refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ftx import Predictor
from ftx.errors import ModelError, RecipeError
from ftx.export import export
from ftx.export.parity.reference import Reference
from ftx.finetune import Recipe, evaluate, train
from tests.conftest import build_tiny, review_rows, tiny_recipe, write_jsonl

LONG = "The movie was great! " * 60


class Malicious:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def configure(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def without_tokenizer(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()


def without_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def with_pickle(folder: Path) -> None:
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Malicious()}, folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    code = "import os\nos.mkdir('run')\n"
    (folder / "mine.py").write_text(code)
    maps = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    configure(model_type="mine", auto_map=maps, architectures=["MineForSequenceClassification"])(folder)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (with_pickle, "holds more than tensors"),
    "code": (with_code, "code of its own .*never run"),
    "no tokenizer": (without_tokenizer, "has no tokenizer: expected tokenizer.json"),
    "no head": (without_head, "lacks 2 of its model's weights, classifier.bias among them"),
    "another model": (configure(model_type="gpt2"), "lacks .* of its model's weights"),
    "other weights": (lambda folder: (folder / "model.safetensors").rename(folder / "tf_model.h5"), "no weights that"),
    "three labels": (configure(id2label={"0": "a", "1": "b", "2": "c"}), "size mismatch for"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "checkpoint")
    damage, reason = BROKEN[case]
    damage(folder)
    data = write_jsonl(tmp_path / "texts.jsonl", review_rows())
    labels = ("a", "b", "c") if case == "three labels" else ()
    with pytest.raises(ModelError, match=reason) as caught:
        export(folder, tmp_path / "onnx", data=data if not labels else texts(tmp_path), labels=labels)
    assert "\n" not in str(caught.value)
    assert not {"unpickled", "run", "onnx"} & {path.name for path in tmp_path.iterdir()}


def texts(folder: Path) -> Path:
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text, _ in review_rows()))
    return folder / "texts.txt"


def test_a_checkpoint_without_its_head_is_not_evaluated(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "checkpoint")
    without_head(folder)
    with pytest.raises(ModelError, match="lacks 2 of its model's weights"):
        evaluate(folder, write_jsonl(tmp_path / "data.jsonl", review_rows()))


def test_a_vocabulary_alone_becomes_a_tokenizer(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    whole = tiny_model("single_label_classification")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        shutil.copy(whole / name, folder / name)
    report = export(folder, data=texts(tmp_path), quantize="none")
    assert report.fp32.passes_fp32()
    assert (folder / "onnx/tokenizer.json").is_file()
    expected = Reference(whole).logits(["The movie was great!", "a poor script"])
    found = Predictor(folder / "onnx/model.onnx").logits(["The movie was great!", "a poor script"])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_sentencepiece_model_says_what_converts_it(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "checkpoint")
    without_tokenizer(folder)
    (folder / "spiece.model").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    for attempt in (lambda: export(folder, data=texts(tmp_path)), lambda: evaluate(folder, texts(tmp_path))):
        with pytest.raises(ModelError, match=r"spiece.model alone.*: pip install sentencepiece$"):
            attempt()


def test_positions_limit_a_text_where_the_tokenizer_has_no_limit(tmp_path: Path) -> None:
    """RoBERTa's positions start after the padding token's: of 66 a text can use 64."""
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    folder = build_tiny(tmp_path / "checkpoint", "single_label_classification", ["negative", "positive"])
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 10**30}))
    torch.manual_seed(5)
    config = RobertaConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1, type_vocab_size=2, initializer_range=0.1,
        id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    rows = [(LONG, "positive"), *review_rows()]
    data = write_jsonl(tmp_path / "data.jsonl", rows)

    assert Reference(folder).max_length == 64
    report = export(folder, tmp_path / "onnx", data=data, quantize="none")
    predictor = Predictor(tmp_path / "onnx")
    assert predictor.manifest.max_length == 64
    assert report.fp32.passes_fp32()
    by_file, by_torch = evaluate(predictor, data), evaluate(folder, data)
    assert by_file.metrics == by_torch.metrics
    recipe = tiny_recipe(folder, data, Recipe, epochs=1.0)
    with pytest.raises(RecipeError, match="max_length is 65, expected 3 to 64"):
        train(recipe.override({"max_length": 65}), tmp_path / "run")
    train(recipe.override({"max_length": 64}), tmp_path / "run")
    assert Reference(tmp_path / "run/checkpoint").max_length == 64
