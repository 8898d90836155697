"""The first five minutes: the ways in, what comes next, and where wrong turns lead."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ftx import __version__
from ftx.cli import ftx


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(ftx, [str(argument) for argument in arguments], input=stdin)


def error_line(*arguments: str | Path, stdin: str | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code in (1, 2), result.output
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    return line


def test_ftx_alone_shows_the_ways_in_above_the_commands() -> None:
    said = run().output
    assert said == run("--help").output
    places = [said.index(words) for words in ("I have a checkpoint", "I have a table", "I have a model.onnx")]
    assert places == sorted(places)
    assert places[-1] < said.index("Commands:")


def test_the_version_is_printed_as_json() -> None:
    found = json.loads(run("--version", "--json").stdout)
    assert found == json.loads(run("--json", "--version").stdout)
    assert found.keys() == {"name", "version", "python", "packages"}
    assert (found["name"], found["version"], found["python"]) == ("ftx", __version__, platform.python_version())
    assert found["packages"]["numpy"]
    assert "--version" in error_line("--json", "doctor")


def test_each_step_names_the_next_command_and_a_page(
    tmp_path: Path, tiny_model: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_model("single_label_classification")
    first = ["train", "--model", model, "--dataset", reviews, "--max-steps", "30", "--learning-rate", "5e-3"]
    result = run(*first, "--max-length", "32", "--validation", "0.4", "--output", "runs/mine")
    command, page = next_and_page(result)
    assert (command, page.name) == (["export", "runs/mine"], "training.svg")
    command, page = next_and_page(run(*command, "--quantize", "fast"))
    assert (command[0], page.name) == ("predict", "parity.html")
    assert run(*command).exit_code == 0
    command, page = next_and_page(run("verify", "--onnx", command[2]))
    assert (command, page.name) == (["serve", "--onnx", "runs/mine/onnx"], "parity.html")


def next_and_page(result: Result) -> tuple[list[str], Path]:
    """Give the command and the file that a result ends with."""
    assert result.exit_code == 0, result.output
    *_, following, page = result.stdout.splitlines()
    name, program, *command = shlex.split(following)
    assert (name, program) == ("next", "ftx")
    name, path = page.split(maxsplit=1)
    assert name == "page"
    assert Path(path).is_file()
    return command, Path(path)


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "serve"])
def test_what_has_no_onnx_file_leads_to_it(command: str, tmp_path: Path, tiny_model: Any) -> None:
    checkpoint = tmp_path / "bert"
    checkpoint.symlink_to(tiny_model("single_label_classification"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint").symlink_to(checkpoint)
    cases: dict[str | Path, str] = {
        checkpoint: f"it is a checkpoint: make its ONNX file with ftx export {checkpoint} --data TEXTS",
        tmp_path / "run": f"has no ONNX file yet: make it with ftx export {tmp_path}/run",
        tmp_path / "run/onnx": f"has no ONNX file yet: make it with ftx export {tmp_path}/run",
        tmp_path / "run/checkpoint": f"has no ONNX file yet: make it with ftx export {tmp_path}/run",
        checkpoint / "model.safetensors": "is no ONNX file",
        "org/name@v1": "if it is a model of the hub, make its ONNX file with ftx export org/name@v1 --data TEXTS",
    }
    for path, hint in cases.items():
        assert hint in error_line(command, "--onnx", path, *(["text"] if command == "predict" else []))
    assert "hub" not in error_line(command, "--onnx", "none.onnx", *(["text"] if command == "predict" else []))


def test_a_run_leads_to_its_export(tmp_path: Path, tiny_run: Path, tiny_export: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run/onnx").symlink_to(tiny_export)
    for path in ("run", "run/checkpoint"):
        assert f"its ONNX files are in {tmp_path}/run/onnx" in error_line("inspect", "--onnx", tmp_path / path)
    (tmp_path / "other").mkdir()
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / "other" / name).touch()
    assert f"name the file: {tmp_path}/other/a.onnx, or one of 1 others" in error_line(
        "inspect", "--onnx", tmp_path / "other"
    )


def test_wrong_tables_lead_to_right_ones(tmp_path: Path, tiny_export: Path) -> None:
    predict = ["predict", "--onnx", tiny_export, "--input"]
    assert "--input-format csv" in error_line(*predict, "-", stdin="text,label\ngreat,1\n")
    assert "--input-format" not in error_line(*predict, "-", stdin='{"text": 1}\n{"text": \n')
    (tmp_path / "rows.csv").write_text("Review,lable\ngreat,1\n")
    line = error_line(*predict, tmp_path / "rows.csv", "--text-column", "reviews")
    assert "did you mean 'Review'? name yours with --text-column" in line
    line = error_line(
        "train", "--dataset", tmp_path / "rows.csv", "--text-column", "Review", "--output", tmp_path / "run"
    )
    assert "did you mean 'lable'? name yours with --label-column" in line
    assert "did you mean" not in error_line(*predict, tmp_path / "rows.csv", "--text-column", "sentence")
    for name in ("rows.xlsx", "rows.ODS"):
        (tmp_path / name).touch()
        for arguments in (
            [*predict, tmp_path / name],
            ["train", "--dataset", tmp_path / name, "--output", tmp_path / "run"],
        ):
            assert "is a spreadsheet: save it as CSV" in error_line(*arguments)


def test_inspect_prints_no_json(tiny_export: Path) -> None:
    said = run("inspect", "--onnx", tiny_export).stdout
    assert not {*said} & {*'{}[]"'}
    assert "safe_on" in said
    assert "text_pair         no" in said


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ftx ins", {"plain,inspect"}),
        ("ftx export runs --quantize stat", {"plain,static", "plain,static-fp32-attention"}),
        ("ftx export ru", {"file,ru"}),
        ("ftx predict --onnx mod", {"file,mod"}),
        ("ftx train --text-column te", set()),
    ],
)
def test_the_shell_completes(words: str, found: set[str]) -> None:
    asked = {"_FTX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "ftx"], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    completed = {line for line in done.stdout.splitlines() if line}
    assert found <= completed and bool(found) == bool(completed), done.stderr
