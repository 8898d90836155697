from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx import Predictor
from ftx.cli import ftx
from ftx.errors import DataError, ModelError
from ftx.finetune import evaluate

ROWS = "review;stars\nThe movie was great!;positive\nThe plot was awful!;negative\nThe cast was dull!;positive\n"


def test_evaluating_a_run_reproduces_its_training_metrics(tiny_run: Path) -> None:
    report = evaluate(tiny_run)
    trained = json.loads((tiny_run / "metrics.json").read_text())
    for name in ("accuracy", "f1_macro", "mcc"):
        assert report.metrics[name] == trained[name]
    found = report.to_dict()["scores"]
    assert found["confusion_matrix"] == trained["scores"]["confusion_matrix"]
    assert found["brier"] == pytest.approx(trained["scores"]["brier"], abs=1e-6)


def test_a_file_scores_as_its_checkpoint(tiny_run: Path, tiny_export: Path) -> None:
    by_file = evaluate(Predictor(tiny_export / "model.onnx"), tiny_run / "eval.jsonl")
    by_torch = evaluate(tiny_run / "checkpoint", tiny_run / "eval.jsonl")
    assert by_file.metrics == by_torch.metrics
    assert by_file.model.endswith("model.onnx")
    assert by_torch.model.endswith("checkpoint")


def test_the_command_reads_any_labelled_table(tiny_run: Path, tiny_export: Path, tmp_path: Path) -> None:
    data = tmp_path / "test.csv"
    data.write_text(ROWS)
    columns = ["--data", str(data), "--text-column", "review", "--label-column", "stars"]
    for model in (["--run", str(tiny_run)], ["--onnx", str(tiny_export)]):
        said = CliRunner().invoke(ftx, ["evaluate", *model, *columns])
        assert said.exit_code == 0, said.output
        assert "3 rows" in said.stdout
        assert "accuracy   0.6667, 95 % interval" in said.stdout
        assert [line.split()[0] for line in said.stdout.splitlines()[-2:]] == ["negative", "positive"]
        report = json.loads(CliRunner().invoke(ftx, ["evaluate", *model, *columns, "--json"]).stdout)
        assert report["scores"]["confusion_matrix"] == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("text,label\n", [], "is empty"),
        ("text,label\na,neutral\n", [], "test.csv:2: label 'neutral' is not in the list; expected negative, positive"),
        ("review,label\na,positive\n", [], "there is no column 'text'"),
        ("text,other,label\na,b,positive\n", ["--text-pair-column", "other"], "reads one text at a time"),
    ],
)
def test_data_that_does_not_fit_is_one_line(
    tiny_export: Path, tmp_path: Path, content: str, options: list[str], reason: str
) -> None:
    (tmp_path / "test.csv").write_text(content)
    arguments = ["evaluate", "--onnx", str(tiny_export), "--data", str(tmp_path / "test.csv"), *options]
    said = CliRunner().invoke(ftx, arguments)
    assert said.exit_code == 1
    assert reason in said.stderr
    assert said.stderr.count("\n") == 1


def test_bad_rows_are_counted(tiny_export: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,neutral\nb,positive\n")
    report = evaluate(Predictor(tiny_export), tmp_path / "test.csv", skip_bad_rows=1)
    assert (report.rows, report.bad_rows) == (1, 1)


def test_an_empty_path_is_neither_the_held_out_rows_nor_the_current_folder(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test.csv").write_text("text,label\nb,positive\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data is '', expected a file or folder"):
        evaluate(tiny_run, "")


def test_there_must_be_a_model_and_rows(tiny_export: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no run of ftx train and no checkpoint"):
        evaluate(tmp_path)
    with pytest.raises(DataError, match="name labelled rows with --data"):
        evaluate(Predictor(tiny_export))
    for arguments in ([], ["--run", "a", "--onnx", "b"]):
        assert CliRunner().invoke(ftx, ["evaluate", *arguments]).exit_code == 2


def test_missing_data_is_said_before_pytorch_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys, ftx.finetune, ftx.errors\n"
        "try:\n    ftx.finetune.evaluate('run', 'nope.csv')\n"
        "except ftx.errors.DataError as error:\n    print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("nope.csv can't be read") and done.stdout.endswith("False\n")
