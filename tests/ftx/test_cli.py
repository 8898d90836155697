from __future__ import annotations

import errno
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ftx import __version__
from ftx.cli import ftx
from ftx.cli.predicting import readable
from ftx.runtime import Prediction
from ftx.runtime.exact_kernel import NOTICE

COMMANDS = ["train", "distill", "evaluate", "export", "verify", "predict", "serve", "bench", "inspect", "doctor"]


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(ftx, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def error_line(result: Result, *, status: int = 1) -> str:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_the_commands_are_these() -> None:
    assert list(ftx.commands) == COMMANDS
    assert __version__ in run("--version").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help_and_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example: ftx {command} .*\Z", result.stdout, re.DOTALL)
    for parameter in ftx.commands[command].params:
        assert parameter.param_type_name == "argument" or getattr(parameter, "help", None), parameter.name


def test_the_help_of_all_commands_shows_examples_a_line_each() -> None:
    said = run("--help").stdout
    assert "\\b" not in said
    assert "\b" not in said
    examples = [line.split()[1] for line in said.splitlines() if line.startswith("    ftx ")]
    assert examples == ["export", "train", "export", "predict"]
    assert said.splitlines()[-1].strip().startswith("Example: ftx ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["predict"],
        ["predict", "--onnx"],
        ["verify", "--onnx", "x", "--data", "y"],
        ["train", "--epochs", "x"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_predict_prints_data_on_stdout_only(tiny_export: Path) -> None:
    result = run("predict", "--onnx", tiny_export, "The movie was great!", "The plot was awful!")
    assert result.exit_code == 0
    assert result.stderr in ("", f"{NOTICE}\n")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["positive", "negative"]
    assert all(0.5 <= float(row[1]) <= 1 for row in rows)


def test_predict_json_is_one_object_a_line(tiny_export: Path) -> None:
    result = run("predict", "--onnx", tiny_export / "model.onnx", "--json", "The movie was great!", "")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["text"] == "The movie was great!"
    assert first["label"] == "positive"
    assert set(first) == {"text", "label", "score", "scores", "margin"}
    assert first["score"] == max(first["scores"].values())
    assert second["text"] == ""


def test_predict_reads_a_pipe_line_by_line(tiny_export: Path) -> None:
    lines = ["The movie was great!", "", "The plot was awful!\r", "电影\u2028same line"]
    result = run("predict", "--onnx", tiny_export, "--json", stdin="\n".join(lines) + "\n")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == [line.rstrip("\r") for line in lines]
    assert run("predict", "--onnx", tiny_export, stdin="").stdout == ""


def test_predict_names_the_line_that_is_not_utf8(tiny_export: Path) -> None:
    result = run("predict", "--onnx", tiny_export, stdin=b"good\nb\xff\xfed\n")
    assert "line 2 is not UTF-8" in error_line(result)


def test_predict_shows_a_text_on_one_line(tiny_export: Path) -> None:
    result = run("predict", "--onnx", tiny_export, "a\nb\tc\x1b[31m" + "d" * 1000)
    assert result.stdout.count("\n") == 1
    assert "\x1b" not in result.stdout
    assert result.stdout.endswith("…\n")


def test_a_line_without_end_does_not_fill_the_memory(tiny_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftx.tables.lines.LONGEST_LINE_BYTES", 2**20)
    result = run("predict", "--onnx", tiny_export, stdin="a\n" + "b " * 2**20)
    assert "standard input:2: a line of more than 1 MiB" in error_line(result)


def test_a_label_is_shown_on_one_line() -> None:
    single = Prediction(text="a\nb", label="c\td\n", score=0.5, scores={"c\td\n": 0.5})
    assert readable(single) == "c d \t0.5000\ta b"
    multi = Prediction(text="a", labels=["b\tc", "d"], scores={"b\tc": 0.5, "d": 1.0})
    assert readable(multi) == "b c 0.5000, d 1.0000\ta"


def test_windows_do_not_go_with_pairs(tiny_export: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("text,second\na,b\n")
    arguments = ["--input", tmp_path / "pairs.csv", "--output", tmp_path / "out.csv", "--text-pair-column", "second"]
    result = run("predict", "--onnx", tiny_export, *arguments, "--long-text", "window")
    assert "one text at a time" in error_line(result, status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_the_report_s_place_is_looked_at_before_anything_is_measured(
    tmp_path: Path, tiny_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **values: Any) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr("ftx.bench.bench", never)
    bench = ["bench", "--onnx", tiny_export, "--against", tiny_export, "--output"]
    (tmp_path / "file").write_text("mine")
    assert "is a file; expected a folder" in error_line(run(*bench, tmp_path / "file"))
    assert "Not a directory" in error_line(run(*bench, tmp_path / "file/in"))
    assert (tmp_path / "file").read_text() == "mine"
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: (_ for _ in ()).throw(denied))
    line = error_line(run(*bench, tmp_path / "folder"))
    assert "Permission denied: change the permissions (chmod, chown), or choose another place" in line


def test_a_megabyte_of_text_predicts(tiny_export: Path) -> None:
    result = run("predict", "--onnx", tiny_export, "--json", stdin="great " * 175_000)
    assert json.loads(result.stdout)["label"] in ("positive", "negative")


def test_inspect_tells_what_the_file_says(tiny_export: Path) -> None:
    manifest = json.loads(run("inspect", "--onnx", tiny_export, "--json").stdout)
    assert manifest["id2label"] == {"0": "negative", "1": "positive"}
    assert manifest["format_version"] == 1
    text = run("inspect", "--onnx", tiny_export).stdout
    assert "0 negative, 1 positive" in text
    assert "golden probes" in text


def test_doctor_tells_what_is_here() -> None:
    report = json.loads(run("doctor", "--json").stdout)
    assert set(report) == {"versions", "cpu", "cores", "onnxruntime", "extras", "cache"}
    assert report["versions"]["onnxruntime"]
    assert {"AVX2", "AVX-512", "VNNI", "AMX", "NEON"} <= set(report["cpu"])
    assert report["cores"]["usable"] >= 1
    assert "CPUExecutionProvider" in report["onnxruntime"]["providers"]
    assert report["extras"]["cpu"] is True
    assert report["extras"]["train"] is (find_spec("torch") is not None)
    assert run("doctor").stdout.startswith("versions\n")


def test_verify_prints_json(tiny_export: Path) -> None:
    report = json.loads(run("verify", "--onnx", tiny_export, "--json").stdout)
    assert report["passed"] is True
    assert report["against"] is None


@pytest.mark.parametrize("command", ["predict", "verify", "inspect"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"\x08\x07"])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, command: str, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    extra = ["text"] if command == "predict" else []
    assert str(path) in error_line(run(command, "--onnx", path, *extra))


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    assert "model_quantized.onnx" in error_line(run("predict", "--onnx", tmp_path, "text"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--recipe", "nonsense"], "no recipe 'nonsense': expected emotion, sst2, starter"),
        (["--model", "/nowhere/model"], "/nowhere/model"),
        (["--dataset", "/nowhere/data.csv"], "/nowhere/data.csv"),
        (["--validation", "2"], "validation is 2.0, expected a number between 0 and 1"),
        (["--labels", "one"], "at least two names"),
        (["--labels", "a,a"], "no duplicates"),
        (["--text-column", "sentence"], "there is no column 'sentence'; the columns are text, label"),
    ],
)
def test_train_with_a_wrong_value_is_one_line_and_writes_nothing(
    tmp_path: Path, reviews: Path, arguments: list[str], reason: str
) -> None:
    defaults = [] if "--dataset" in arguments or "--recipe" in arguments else ["--dataset", reviews]
    output = tmp_path / "run"
    assert reason in error_line(run("train", "--output", output, *defaults, *arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["train"], ["evaluate"], ["export", "x"], ["verify"], ["bench"]])
@pytest.mark.parametrize("turned", [False, True])
def test_labels_are_named_in_one_way(command: list[str], turned: bool) -> None:
    options = [["--label-column", "a"], ["--label-columns", "b,c"]]
    (first, second) = reversed(options) if turned else options
    assert "give one of the two" in error_line(run(*command, *first, *second), status=2)


def test_a_name_that_is_no_choice_is_wrong_usage() -> None:
    line = error_line(run("train", "--precision", "int3"), status=2)
    assert "'int3' is not one of 'auto', 'fp32', 'fp16', 'bf16'" in line


def test_train_does_not_touch_a_folder_with_content(tmp_path: Path, reviews: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert "--overwrite" in error_line(run("train", "--dataset", reviews, "--output", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_export_of_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    assert "no run" in error_line(run("export", tmp_path))


def test_recipes_are_listed_and_shown() -> None:
    listed = run("train", "--list")
    assert listed.exit_code == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["emotion", "sst2", "starter"]
    assert 'model = "bert-base-uncased"' in run("train", "--show", "sst2").stdout
    assert "no recipe" in error_line(run("train", "--show", "nonsense"))


def test_train_takes_a_validation_file_and_looks_at_the_data(tmp_path: Path, reviews: Path, tiny_model: Any) -> None:
    validation = tmp_path / "validation.csv"
    validation.write_text("text;label\nthe movie was great;positive\nan unseen dull thing;negative\nbroken\n")
    model = tiny_model("single_label_classification")
    arguments = [
        "--model",
        model,
        "--dataset",
        reviews,
        "--validation",
        validation,
        "--skip-bad-rows",
        1,
        "--max-length",
        32,
        "--max-steps",
        2,
        "--max-length",
        32,
    ]
    result = run("train", *arguments, "--output", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    look = json.loads(result.stdout)["data"]
    assert (look["train_rows"], look["eval_rows"], look["leaks"], look["bad_rows"]) == (95, 2, 1, 1)
    assert look["train_label_counts"] == {"negative": 48, "positive": 47}
    assert look["token_percentiles"]["p50"] == 7
    assert look["truncated_share"] == 0
    assert "95 training rows, 2 held-out rows" in result.stderr
    assert "1 training rows discarded" in result.stderr
    assert json.loads((tmp_path / "run/bad_rows.jsonl").read_text())["where"] == f"{validation}:4"


def test_train_tells_how_much_text_is_cut(tmp_path: Path, reviews: Path, tiny_model: Any) -> None:
    model = tiny_model("single_label_classification")
    arguments = [
        "--model",
        model,
        "--dataset",
        reviews,
        "--max-length",
        6,
        "--max-steps",
        1,
        "--output",
        tmp_path / "run",
    ]
    look = json.loads(run("train", *arguments, "--json").stdout)["data"]
    assert look["truncated_share"] == 1
    assert look["token_percentiles"]["max"] == 7
