"""The commands of README and of the tutorials, run in order with a tiny model in place of the default one."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import review_rows

HOUSE = Path(__file__).parents[2]
DOCS = HOUSE / "docs"
TUTORIALS = sorted(path.name for path in (DOCS / "tutorials").glob("*.md"))


def blocks(page: Path, languages: str = r"\w+") -> list[str]:
    return re.findall(rf"^```(?:{languages})\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(command: str, folder: Path) -> str:
    program, *words = shlex.split(command)
    assert program == "ftx"
    done = subprocess.run(
        [sys.executable, "-m", "ftx", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def follow(name: str, folder: Path, more: dict[str, str]) -> list[str]:
    """Run the commands of a tutorial, with more words after some of them."""
    commands = [line for block in blocks(DOCS / "tutorials" / name, "bash") for line in block.splitlines() if line]
    assert len(commands) >= 3
    return [run(f"{line} {more.get(line.split()[1], '')}", folder) for line in commands]


def write_csv(path: Path, header: tuple[str, str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *review_rows()])


def tiny_training(model: Path) -> str:
    return f"--model {model} --max-length 32 --epochs 4 --batch-size 8 --learning-rate 0.005 --validation 0.25"


@pytest.mark.parametrize("name", TUTORIALS)
def test_english_and_spanish_have_the_same_commands(name: str) -> None:
    english = blocks(DOCS / "tutorials" / name)
    assert english and english == blocks(DOCS / "es/tutorials" / name)


def test_every_tutorial_is_in_both_languages() -> None:
    assert sorted(path.name for path in (DOCS / "es/tutorials").glob("*.md")) == TUTORIALS
    assert set(TUTORIALS) == {"checkpoint.md", "emotions.md", "sentiment.md"}, "a test below must run it"


@pytest.mark.slow
def test_sentiment(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    write_csv(tmp_path / "reviews.csv", ("review", "verdict"))
    model = tiny_model("single_label_classification")
    answers = follow("sentiment.md", tmp_path, {"train": tiny_training(model), "export": "--quantize fast"})
    labels = [line.split("\t")[0] for line in answers[3].splitlines()]
    assert labels == ["positive", "negative"]
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 96
    assert sum(row["verdict"] == row["predicted_label"] for row in rows) > 80


@pytest.mark.slow
def test_emotions(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    write_csv(tmp_path / "tweets.csv", ("text", "label"))
    with (tmp_path / "tweets.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((f"wow! {text}", "surprise") for text, label in review_rows() if label == "positive")
    model = tiny_model("single_label_classification")
    # So small a model hardly learns three labels: what int8 makes of it is not the point.
    more = {"train": tiny_training(model), "export": "--quantize none"}
    answer = json.loads(follow("emotions.md", tmp_path, more)[-1])
    assert set(answer["scores"]) == {"negative", "positive", "surprise"}


@pytest.mark.slow
def test_checkpoint(tmp_path: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in review_rows()), encoding="utf-8")
    answers = follow("checkpoint.md", tmp_path, {"export": "--quantize fast"})
    assert answers[2].startswith("positive\t")


@pytest.mark.slow
def test_readme(tmp_path: Path, tiny_run: Path, tiny_model: Callable[[str], Path]) -> None:
    readme = HOUSE / "README.md"
    shutil.copytree(tiny_run / "checkpoint", tmp_path / "CHECKPOINT")
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in review_rows()), encoding="utf-8")
    write_csv(tmp_path / "reviews.csv", ("review", "stars"))
    more = {"train": tiny_training(tiny_model("single_label_classification")), "export": "--quantize none"}
    commands = re.findall(r"^    (ftx (\w+) .*)$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for _, name in commands] == ["export", "predict", "train", "export", "predict"]
    for command, name in commands:
        run(f"{command} {more.get(name, '')}", tmp_path)
    (program,) = blocks(readme, "python")
    statements, _, answer = program.rstrip().rpartition("\n")
    expression, expected = answer.split("  # ")
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\nprint(repr({expression}))"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"{expected}\n", done.stderr
