"""The options of a job, on a command of their own: `ftx predict` takes them in the same way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ftx.cli import ftx
from ftx.cli.group import ExplainingGroup
from ftx.cli.options import SETTINGS
from ftx.cli.streaming import INPUT_FORMATS, OUTPUT_FORMATS, PREFIX, done, job_options, run_job, show_progress
from ftx.runtime.long_text import POOLINGS
from ftx.runtime.session import PROVIDERS
from ftx.runtime.settings import LONG_TEXTS, PredictSettings
from ftx.runtime.stream import Progress, columns
from ftx.runtime.stream import formats as output_formats
from ftx.tables import formats

Run = Callable[..., Result]


@pytest.fixture
def run(fake: Any) -> Run:
    @click.group(cls=ExplainingGroup)
    def group() -> None: ...

    @group.command()
    @job_options
    @click.option("--json", "as_json", is_flag=True)
    @click.argument("texts", nargs=-1)
    def predict(as_json: bool, texts: tuple[str, ...], job: Any) -> None:
        if job:
            run_job(fake, job)
        else:
            click.echo("no job")

    def invoke(*arguments: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(group, ["predict", *map(str, arguments)], input=stdin)

    return invoke


def test_a_job(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in.csv").write_text("id,review\n1,good\n2,much longer than the model reads\n3\n")
    arguments = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--text-column", "review"]
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path}/in.csv:4: 1 cells separated by ',', expected 2 as in the header\n"
    result = run(*arguments, "--skip-bad-rows", "1", "--prefix", "p_")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("2 rows in ")
    assert result.stderr.endswith("1 bad rows, 1 texts (50.0%) too long for the model and truncated\n")
    assert (tmp_path / "out.csv").read_text().startswith("id,review,p_label,p_score,p_score_negative,p_score_pos")
    result = run(*arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "add --overwrite" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "ray", "a text"], "name its --input"),
        (["--ray-address", "auto", "--input", "a.csv"], "name its --input"),
        (["--engine", "ray", "--input", "a.csv", "--output", "out", "--provider", "cuda"], "--provider cuda does not"),
        (["--engine", "ray", "--input", "a.csv", "--output", "out", "--resume"], "--resume does not go with"),
        (["--engine", "ray", "--input", "a.csv"], "a pipe does not go with"),
    ],
)
def test_what_does_not_go_with_ray_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "a.csv").write_text("text\na\n")
    in_folder = [str(tmp_path / word) if word == "a.csv" else word for word in arguments]
    result = CliRunner().invoke(ftx, ["predict", "--onnx", str(tmp_path / "model.onnx"), *in_folder])
    assert result.exit_code == 2
    assert said in result.stderr


def test_standard_streams_are_json_lines_unless_said_otherwise(run: Run) -> None:
    result = run("--input", "-", stdin='{"text": "a"}\n')
    assert result.exit_code == 0
    assert json.loads(result.stdout)["text"] == "a"
    result = run("--input", "-", "--input-format", "txt", "--output", "-", "--output-format", "tsv", stdin="a\n")
    assert result.stdout.startswith("text\tpredicted_label")


@pytest.mark.parametrize(
    ("content", "options", "said", "header"),
    [
        ("id;text\n1;a\n", [], "is read as a table: its first line is a header with a column 'text'", "id,text,"),
        ("a; b\n", [], "is read as one text a line: its first line is no header with a column 'text'", "text,"),
        ("id;review\n1;a\n", ["--text-column", "review"], "", "id,review,"),
    ],
)
def test_how_plain_text_was_read_is_said_where_its_first_line_decided(
    tmp_path: Path, run: Run, content: str, options: list[str], said: str, header: str
) -> None:
    (tmp_path / "in.txt").write_text(content)
    result = run("--input", tmp_path / "in.txt", "--output", tmp_path / "out.csv", *options)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out.csv").read_text().startswith(f"{header}predicted_label")
    *notices, _ = result.stderr.splitlines()
    assert notices == ([f"{tmp_path}/in.txt {said}"] if said else [])


def test_wrong_usage(tmp_path: Path, run: Run) -> None:
    assert run().stdout == "no job\n"
    for arguments in (
        ["--input", "in.csv", "a text"],
        ["--input", "in.csv", "--json"],
        ["--resume"],
        ["--prefix", "x"],
        ["--prefix", PREFIX],  # given, although it is the default
        ["--skip-bad-rows", "0"],
    ):
        assert run(*arguments).exit_code == 2, arguments
    assert run("--input", tmp_path / "none.csv").exit_code == 1


def test_formats_are_those_of_the_library() -> None:
    assert (INPUT_FORMATS, OUTPUT_FORMATS) == (formats.INPUT_FORMATS, output_formats.OUTPUT_FORMATS)
    assert PREFIX == columns.PREFIX


def test_options_and_defaults_are_those_of_the_library() -> None:
    command = ftx.commands["predict"]
    options = {option.name: option for option in command.params}
    values = command.make_context("predict", ["--onnx", "model.onnx", "a text"]).params
    assert PredictSettings(**{name: values[name] for name in SETTINGS}) == PredictSettings()
    choices = {"long_text": LONG_TEXTS, "pooling": POOLINGS, "provider": tuple(PROVIDERS)}
    assert {name: tuple(options[name].type.choices) for name in choices} == choices  # type: ignore[attr-defined]


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(Progress(rows=12_345, rows_per_sec=810.4, done=0.256, left_sec=3725.0))
    assert capsys.readouterr().err == "\r12,345 rows, 810/s, 26%, 1:02:05 left"


def test_a_broken_pipe_ends_quietly(tmp_path: Path, fake_job: Path) -> None:
    source, model = tmp_path / "in.txt", tmp_path / "model.onnx"
    source.write_text("some text of some length\n" * 50_000)
    model.write_bytes(b"a model")
    script = f"""
import importlib.util, click
from pathlib import Path
from ftx.cli.group import ExplainingGroup
from ftx.cli.streaming import job_options, run_job
spec = importlib.util.spec_from_file_location("fake_job", {str(fake_job)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
group = ExplainingGroup("ftx")
command = job_options(lambda job: run_job(module.Fake(Path({str(model)!r})), job))
group.add_command(click.command("predict")(command))
group()
"""
    job = subprocess.Popen(
        [sys.executable, "-c", script, "predict", "--input", str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["text"] == "some text of some length"
    job.stdout.close()
    assert job.stderr is not None
    assert job.stderr.read() == ""
    job.stderr.close()
    assert job.wait(600) == 141  # 128 + SIGPIPE, as other tools have it


def test_what_was_done_before_is_no_speed() -> None:
    assert done(6000, 2.0) == "6,000 rows in 2 s (3,000/s)"
    assert done(6000, 2.0, 4000) == "6,000 rows, the last 2,000 of them in 2 s (1,000/s)"
    assert done(6000, 0.0, 6000) == "6,000 rows, all of them finished before"


def test_a_finished_job_that_is_to_go_on_is_a_success(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,good\n")
    arguments = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--resume")
    assert (result.exit_code, result.stdout) == (0, "")
    said = f"{tmp_path}/out.csv already exists, and there is no unfinished job: nothing to do\n"
    assert result.stderr == said
