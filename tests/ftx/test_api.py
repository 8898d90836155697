"""The public functions: the options of the commands as arguments, and examples that work."""

from __future__ import annotations

import csv
import doctest
import inspect
import json
import logging
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import ftx
from ftx.cli import ftx as command_line

# Options that are arguments under another name, and None for those that are none.
OTHER_NAMES: dict[str, dict[str, str | None]] = {
    "train": {"list": None, "show": None},
    "bench": {
        "output": None, "peers": None, "compare": None, "max-regression": None, "engine": "engines",
        "workload": "workloads",
    },
    "verify": {"held-out-needed": None},
    "distill": {"search": None},  # which calls search_students
    "predict": {"threads": "intra_op_num_threads", "input": "input_path", "output": "output_path"},
}  # fmt: skip
# `ftx predict` is two functions, and its options for Ray belong to `ftx.runtime.ray`.
PREDICT = {"engine": None, "ray-address": None}
OF_A_JOB = {
    "input", "output", "input-format", "output-format", "text-column", "text-pair-column", "prefix", "skip-bad-rows",
    "rejects", "resume", "overwrite",
}  # fmt: skip


def function(name: str) -> Callable[..., Any]:
    """Find a public function; those that are packages, too, are called by `ftx.rooms`."""
    found = getattr(ftx, name)
    return getattr(found, name) if inspect.ismodule(found) else found  # type: ignore[no-any-return]


def options(command: click.Command) -> dict[str, Any]:
    """Give the default of each parameter of a command, by its name on the command line."""
    found = {}
    for option in command.params:
        name = option.name if isinstance(option, click.Argument) else option.opts[0].removeprefix("--")
        if name != "json" and (isinstance(option, click.Option) or name != "texts"):
            found[str(name)] = option.to_info_dict()["default"]
    return found


def compare(name: str, given: dict[str, Any], called: Callable[..., Any]) -> None:
    """Check that options are arguments of a function, with the same defaults."""
    arguments = inspect.signature(called).parameters
    others = OTHER_NAMES.get(name, {})
    for option, default in given.items():
        argument = others.get(option, option.replace("-", "_"))
        if argument is None:
            continue
        assert argument in arguments, (name, option)
        expected = arguments[argument].default
        if expected is inspect.Parameter.empty:
            continue  # required
        assert (None if expected == () else expected) == (None if default == () else default), (name, option)


@pytest.mark.parametrize("name", ["train", "distill", "evaluate", "export", "verify", "bench", "serve"])
def test_a_function_takes_the_options_of_its_command(name: str) -> None:
    given, called = options(command_line.commands[name]), function(name)
    compare(name, given, called)
    others = OTHER_NAMES.get(name, {})
    known = {others.get(option, option.replace("-", "_")) for option in given}
    assert set(inspect.signature(called).parameters) == known - {None}


def test_predictor_and_predict_file_take_the_options_of_predict() -> None:
    given = {name: value for name, value in options(command_line.commands["predict"]).items() if name not in PREDICT}
    compare("predict", {name: value for name, value in given.items() if name in OF_A_JOB}, ftx.predict_file)
    del given["onnx"]
    compare("predict", {name: value for name, value in given.items() if name not in OF_A_JOB}, ftx.Predictor)


@pytest.fixture
def examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Any, tiny_run: Path, tiny_export: Path, reviews: Path
) -> Path:
    """A folder with the files that the examples name."""
    shutil.copytree(tiny_run, tmp_path / "runs/reviews")
    shutil.copy(tiny_export / "model_quantized.onnx", tmp_path / "model.onnx")
    (tmp_path / "my-bert").symlink_to(tiny_model("single_label_classification"))
    rows = [json.loads(line) for line in reviews.read_text().splitlines()]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# In this order: bench takes the export of the one before.
EXAMPLES = ["Predictor", "predict_file", "evaluate", "verify", "train", "distill", "search_students", "export", "bench"]


@pytest.mark.slow
def test_the_examples_work_and_print_nothing(
    examples: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert {*EXAMPLES, "serve", "FtxError", "Prediction", "__version__"} == set(ftx.__all__)
    runner = doctest.DocTestRunner()
    logging.getLogger("ftx").setLevel(logging.ERROR)
    try:
        for name in EXAMPLES:
            found = doctest.DocTestParser().get_doctest(inspect.getdoc(function(name)) or "", {"ftx": ftx}, name, "", 0)
            assert found.examples, name
            outcome = runner.run(found, clear_globs=False, out=lambda text: None)
            assert not outcome.failed, (name, outcome)
    finally:
        logging.getLogger("ftx").setLevel(logging.NOTSET)
    assert not [record for record in caplog.records if record.name.startswith("ftx")]
    assert capfd.readouterr() == ("", "")


def test_the_example_of_serve_serves(examples: Path) -> None:
    pytest.importorskip("uvicorn")
    (example,) = doctest.DocTestParser().get_examples(inspect.getdoc(ftx.serve) or "")
    code = f"import ftx\nprint({example.source})"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr and server.stdout
        try:
            assert "serving model on http://127.0.0.1:" in server.stderr.readline()
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.stdout.read() == example.want
    assert server.returncode == 0


def test_arguments_reach_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftx import finetune

    asked: list[Any] = []
    monkeypatch.setattr(
        finetune, "train", lambda *arguments, **values: asked.append((arguments, values)), raising=False
    )
    ftx.train(model="starter", dataset=tmp_path, validation=0.2, batch_size=4, labels=["a", "b"], resume=True)
    ftx.train(recipe="sst2", validation="held_out.csv", output=tmp_path)
    (first, place), values = asked[0]
    starter = tomllib.loads(finetune.recipe_path("starter").read_text(encoding="utf-8"))
    assert (first.model, first.dataset, first.validation) == ("starter", str(tmp_path), 0.2)
    assert (first.train_batch_size, first.labels) == (4, ("a", "b"))
    assert first.learning_rate == starter["learning_rate"]
    assert (place, values) == (Path("runs/starter"), {"overwrite": False, "resume": True})
    (second, place), _ = asked[1]
    assert (second.validation_file, place) == ("held_out.csv", tmp_path)


def test_arguments_that_do_not_go_together_are_refused(tiny_export: Path) -> None:
    with pytest.raises(ValueError, match="either run or onnx"):
        ftx.evaluate()
    with pytest.raises(ValueError, match="data goes with against"):
        ftx.verify(tiny_export, data="texts.txt")


def test_verify_gives_what_the_command_prints(tiny_export: Path, tiny_run: Path) -> None:
    from click.testing import CliRunner

    arguments = ["verify", "--onnx", str(tiny_export), "--against", str(tiny_run), "--json"]
    printed = json.loads(CliRunner().invoke(command_line, arguments).stdout)
    found = ftx.verify(tiny_export, against=tiny_run)
    assert found.passed and printed["passed"]
    assert json.loads(json.dumps(found.to_dict())).keys() == printed.keys()
    assert found.to_dict()["probes"] == printed["probes"]


def test_importing_ftx_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import ftx; dir(ftx); print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("ftx")} == {"ftx"}
    assert not {name.split(".")[0] for name in loaded} - {*sys.stdlib_module_names, "ftx"}


def test_every_public_name_is_there_without_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from ftx import *\nimport ftx\n"
        "assert 'transformers' not in sys.modules and 'onnx' not in sys.modules\n"
        "try:\n    export('runs/nothing')\nexcept ftx.FtxError as error:\n    print(error)\n"
        "try:\n    ftx.nothing\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert "torch" in first and "ftx-toolkit[cpu,export]" in first
    assert second == "module 'ftx' has no attribute 'nothing'"


def test_a_package_that_can_be_called_is_still_a_package() -> None:
    import ftx.bench
    import ftx.export

    assert inspect.ismodule(ftx.export)
    assert callable(ftx.export)
    assert ftx.export.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ftx.export.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ftx.bench.nothing  # type: ignore[attr-defined]  # noqa: B018
