"""Checkpoints, recipes and held-out texts of a stranger's: to train from, to evaluate, to export."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.ledger import Ledger
from tests.faults.odd_values import CONFIG, RAW, SETTINGS, TOKENIZER, UNREADABLE, Spoilt

GIB = 2**30


def test_checkpoints(
    heavy: Commands, tiny_run: Path, reviews: Path, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """To train from, to evaluate, to export: a checkpoint of a stranger's."""
    fields = {
        "config.json": [
            *CONFIG, "vocab_size", "hidden_size", "num_attention_heads", "architectures", "label2id", "layer_norm_eps",
        ],
        "tokenizer_config.json": [*SETTINGS, "tokenizer_class", "pad_token"],
        "tokenizer.json": TOKENIZER,
    }  # fmt: skip
    every: list[Any] = [
        Spoilt(file=file, field=field, value=value) for file in fields for field in fields[file] for value in RAW
    ]
    chance = ledger.chance("checkpoints")
    chosen = chance.sample(every, min(len(every), ledger.count(8)))
    whole = [("model.safetensors", what) for what in UNREADABLE if what not in ("a terminal", "memory")]
    chosen += chance.sample(whole, min(len(whole), ledger.count(3)))

    def attempt(case: Any) -> None:
        folder = new_folder()
        checkpoint = folder / "run" / "checkpoint"
        shutil.copytree(tiny_run, folder / "run")
        if isinstance(case, Spoilt):
            path = checkpoint / case.file
            path.write_text(case.spoil(path.read_text()))
        else:
            (checkpoint / case[0]).unlink()
            UNREADABLE[case[1]](checkpoint / case[0])
        arguments = chance.choice(
            [
                ["evaluate", "--run", folder / "run"],
                ["export", folder / "run", "--quantize", "none"],
                ["train", "--model", checkpoint, "--dataset", reviews, "--max-steps", "1", "--output", folder / "new"],
            ]
        )
        outcome = heavy.run(*arguments, fault=Fault(limits={"AS": 4 * GIB}))
        check_ending(outcome, usual=outcome)
        shutil.rmtree(folder)

    ledger.try_each(chosen, attempt)


TOML = {
    "true": "true", "minus": "-1", "zero": "0", "broken": "0.5", "int64": "9223372036854775807", "huge": "9" * 40,
    "nan": "nan", "infinite": "inf", "empty": '""', "word": '"x"', "long": f'"{"x" * 5000}"', "list": "[]",
    "words": '["a", "b"]', "twice": '["a", "a"]', "mixed": '["a", 1]', "table": "{}", "date": "2020-01-01",
    "path": '"/"',
    "nul": '"a\\u0000b"', "open": "[", "nothing": "",
}  # fmt: skip


def test_recipes(ledger: Ledger, tmp_path: Path) -> None:
    """Every value of a recipe with each kind of TOML: one that can be meant, or an error."""
    from ftx.finetune import Recipe, load_recipe

    def attempt(case: tuple[str, str]) -> None:
        name, kind = case
        given = {"model": '"m"', "dataset": '"d"', name: TOML[kind]}
        path = tmp_path / "r.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in given.items()), encoding="utf-8")
        try:
            load_recipe(str(path))
        except FtxError as error:
            assert len(str(error).splitlines()) == 1, str(error)

    names = [field.name for field in dataclasses.fields(Recipe)]
    ledger.try_each(
        [(name, kind) for name in [*names, "versions", "quick", "starter"] for kind in TOML], attempt, workers=1
    )


def test_held_out_texts(ledger: Ledger, tmp_path: Path) -> None:
    """Lines of eval.jsonl: of a stranger's run."""
    from ftx.heldout import read_held_out

    def attempt(case: tuple[str, str]) -> None:
        field, kind = case
        line = {"text": '"a"', "label": '"positive"', field: RAW[kind]}
        path = tmp_path / "eval.jsonl"
        path.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in line.items()) + "}\n", encoding="utf-8")
        try:
            held_out = read_held_out(path)
        except FtxError as error:
            assert len(str(error).splitlines()) == 1, str(error)
        else:
            [text] = held_out.texts
            parts = text if isinstance(text, tuple) else (text,)
            assert all(isinstance(part, str) for part in parts), text

    ledger.try_each([(field, kind) for field in ("text", "label", "text_pair") for kind in RAW], attempt, workers=1)
