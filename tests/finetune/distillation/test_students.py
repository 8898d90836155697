"""`ftx distill --search`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ftx
from ftx.cli import ftx as command_line
from ftx.errors import OutputError, RecipeError
from ftx.finetune import load_recipe
from ftx.output.record import is_intact, read_record
from ftx.students import StudentFigures, StudentSearch
from ftx.students.files import check_free, write_files
from ftx.students.search import choose
from ftx.students.shapes import Shape, default_depths, find_shapes, label_of
from tests.schemas import FOLDER

SHORT: dict[str, Any] = {
    "candidate_steps": 0, "epochs": 2.0, "max_loss": 5.0, "batch_size": 12, "learning_rate": 1e-3, "temperature": 3.0,
    "text_column": "text",
}  # fmt: skip
# The same for the command, but for max_loss.
OPTIONS = ["--candidate-steps", 0, "--epochs", 2, "--batch-size", 12, "--learning-rate", 1e-3, "--temperature", 3]


@pytest.fixture(scope="module")
def search(teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> StudentSearch:
    folder = tmp_path_factory.mktemp("students") / "out"
    return ftx.search_students(teacher_run, layers=[1, 3], ffn_share=[1, 0.5], output=folder, **SHORT)


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(command_line, ["distill", *map(str, words)])


def test_each_student_is_distilled_exported_and_timed_beside_the_teacher(
    search: StudentSearch, teacher_run: Path
) -> None:
    folder = Path(search.folder)
    assert [(len(one.layers), one.ffn_share, one.heads) for one in search.students] == [
        (3, 1, 0), (3, 0.5, 0), (1, 1, 0), (1, 0.5, 0),
    ]  # fmt: skip
    sizes = {}
    for one in search.students:
        run = folder / f"{len(one.layers)}-layers{'' if one.ffn_share == 1 else '-ffn-0.5'}"
        sizes[run.name] = json.loads((run / "checkpoint/config.json").read_text())["intermediate_size"]
        assert one.run == str(run)
        told = json.loads((run / "distillation.json").read_text())
        assert (one.value, one.loss_points, one.verdict) == (
            told["metrics"]["accuracy"], told["loss_points"], told["verdict"],
        )  # fmt: skip
        assert told["max_loss_points"] == search.max_loss_points == 5
        recipe = load_recipe(str(run / "recipe.toml"))
        assert (recipe.train_batch_size, recipe.learning_rate, recipe.epochs) == (12, 1e-3, 2)
        assert recipe.distill and recipe.distill.temperature == 3
        parity = json.loads((run / "onnx/parity.json").read_text())
        assert bool(one.failed) is bool(parity["failed"])
        assert Path(one.file).stat().st_size == one.size_bytes
        assert ftx.verify(one.file).passed
        low, high = one.speedup_interval
        assert 0 < low <= one.speedup <= high
    assert sizes["1-layers-ffn-0.5"] == sizes["3-layers-ffn-0.5"] == sizes["3-layers"] // 2
    assert search.teacher == str(teacher_run)
    assert search.teacher_file.value == ftx.evaluate(run=teacher_run).metrics["accuracy"]
    assert not (teacher_run / "onnx").exists(), "the teacher's run stays as it was"
    assert (folder / "teacher-onnx/parity.json").is_file()


def test_report_page_and_terminal_say_the_same(search: StudentSearch) -> None:
    folder = Path(search.folder)
    told = json.loads((folder / "students.json").read_text())
    assert told == json.loads(json.dumps(search.to_dict()))
    schema = json.loads((FOLDER / "students.schema.json").read_text(encoding="utf-8"))
    pytest.importorskip("jsonschema").Draft202012Validator(schema).validate(told)
    page = (folder / "students.html").read_text()
    text = search.to_text()
    for one in search.students:
        for figure in (f"{one.value:.4f}", f"{one.texts_per_sec:,.0f}", f"{one.latency_ms:.2f}"):
            assert f"<td>{figure}</td>" in page and figure in text
    assert "<svg" in page and 'src="http' not in page and 'href="http' not in page


def test_a_second_search_uses_what_is_finished(search: StudentSearch, teacher_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(search.folder, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.onnx")}
    again = invoke(
        teacher_run, "--search", "--layers", "3", "--output", folder, *OPTIONS, "--max-loss", 5, "--json",
    )  # fmt: skip
    told = json.loads(again.stdout)
    assert again.exit_code == int(told["failed"])
    [found] = told["students"]
    assert found["layers"] == list(search.students[0].layers)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.onnx")} == before


def test_a_search_that_was_interrupted_goes_on_where_it_was(
    search: StudentSearch, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftx.finetune.trainer.progress import Progress

    values = {**SHORT, "layers": [1, 3], "save_steps": 10, "output": tmp_path / "out"}
    plain, calls = Progress.on_step_end, 0

    def stop(self: Progress, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        nonlocal calls
        plain(self, args, state, control, **kwargs)
        calls += 1
        if calls == 60 + 25:  # each student takes 60 steps, the deepest first
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "on_step_end", stop)
        ftx.search_students(teacher_run, **values)
    done = tmp_path / "out/3-layers/checkpoint/model.safetensors"
    before = done.stat().st_mtime_ns
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".1-layers.partial", "3-layers"]
    found = ftx.search_students(teacher_run, **values)
    assert done.stat().st_mtime_ns == before
    wide = [one for one in search.students if one.ffn_share == 1]
    for ours, theirs in zip(found.students, wide, strict=True):
        weights = [Path(one.run, "checkpoint/model.safetensors").read_bytes() for one in (ours, theirs)]
        assert weights[0] == weights[1]


def test_a_report_does_not_replace_a_file_of_the_user_s(
    search: StudentSearch, teacher_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("students.json", "students.html", "SHA256SUMS"):
        (folder / name).write_text("mine")
        with pytest.raises(OutputError, match=f"holds {name}, which is not ftx's, or was changed since: move it away"):
            ftx.search_students(teacher_run, layers=[1], output=folder, **SHORT)
        assert [path.name for path in folder.iterdir()] == [name], "nothing is distilled first"
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()
    write_files(folder, {"students.json": "1", "students.html": "1"})
    write_files(folder, {"students.json": "2", "students.html": "2"})
    assert {path.name: path.read_text() for path in folder.glob("students.*")} == {
        "students.json": "2", "students.html": "2",
    }  # fmt: skip
    (folder / "students.html").write_text("noted")
    with pytest.raises(OutputError, match=r"holds students\.html"):
        check_free(folder)
    check_free(Path(search.folder))
    assert all(is_intact(Path(search.folder), *one) for one in read_record(Path(search.folder) / "SHA256SUMS").items())


@pytest.mark.parametrize("kill", range(6))
def test_a_report_that_is_cut_short_is_written_by_the_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    write_files(tmp_path, {"students.json": "1", "students.html": "1"})
    steps, plain = 0, os.replace

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal steps
        if steps == kill:
            raise KeyboardInterrupt
        steps += 1
        return plain(*arguments, **options)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("os.replace", counted)
        write_files(tmp_path, {"students.json": "2", "students.html": "2"})
    write_files(tmp_path, {"students.json": "3", "students.html": "3"})
    assert {path.read_text() for path in tmp_path.glob("students.*")} == {"3"}


def test_the_fastest_that_passes_is_chosen(search: StudentSearch) -> None:
    def student(run: str, verdict: str, speedup: float, failed: str = "") -> StudentFigures:
        return replace(search.students[0], run=run, verdict=verdict, speedup=speedup, failed=failed)

    slow, fast = student("slow", "passes", 1.5), student("fast", "passes", 2.0)
    near, bad = student("near", "near", 3.0), student("bad", "fails", 4.0)
    assert choose([slow, fast, near, bad]) == "fast"
    assert choose([near, bad]) == "near"
    assert choose([bad, student("unsure", "not enough text", 5.0)]) is None
    assert choose([slow, student("no int8", "passes", 2.0, failed="it flips labels")]) == "slow"
    nothing = replace(search, students=[bad], chosen=None)
    assert nothing.failed and nothing.to_dict()["failed"] and nothing.verdict.startswith("no student loses at most 5")
    assert "is near" in replace(search, students=[near], chosen="near").verdict
    narrow = replace(near, heads=2, ffn_share=0.5)
    said = replace(search, students=[narrow], chosen="near").verdict
    assert "layers, each with 2 attention heads and 0.5 of the feed-forward neurons, answer " in said


CONFIG = {"model_type": "bert", "num_hidden_layers": 6, "num_attention_heads": 12}


@pytest.mark.parametrize(
    ("config", "given", "folders"),
    [
        (CONFIG, {}, ["6-layers-ffn-0.375-heads-6", "5-layers", "4-layers", "3-layers", "2-layers", "1-layers"]),
        (CONFIG, {"layers": [2, 3, 2]}, ["3-layers", "2-layers"]),
        (CONFIG, {"ffn_share": [0.5, 1]}, ["6-layers-ffn-0.5"]),
        (CONFIG, {"heads": [6, 0, 12]}, ["6-layers-heads-6"]),
        (
            CONFIG,
            {"layers": [6, 3], "ffn_share": [1, 0.5], "heads": [0, 6]},
            [
                "6-layers-heads-6", "6-layers-ffn-0.5", "6-layers-ffn-0.5-heads-6",
                "3-layers", "3-layers-heads-6", "3-layers-ffn-0.5", "3-layers-ffn-0.5-heads-6",
            ],
        ),
        ({**CONFIG, "model_type": "mpnet", "num_hidden_layers": 3}, {}, ["2-layers", "1-layers"]),
        ({**CONFIG, "pruned_heads": {"0": [1]}, "num_hidden_layers": 2}, {}, ["1-layers"]),
        ({"model_type": "distilbert", "n_layers": 2, "n_heads": 4}, {}, ["2-layers-ffn-0.375-heads-2", "1-layers"]),
    ],
)  # fmt: skip
def test_sizes(config: dict[str, Any], given: dict[str, Any], folders: list[str]) -> None:
    found = find_shapes("it", config, given.get("layers", ()), given.get("ffn_share", ()), given.get("heads", ()))
    assert [shape.folder for shape in found] == folders


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (CONFIG, {"layers": [6, 0]}, "layers 0, 6: expected depths from 1 to 5, as it has 6"),
        (CONFIG, {"layers": [7], "heads": [1]}, "layers 7: expected depths from 1 to 6, as it has 6"),
        (CONFIG, {"heads": [13]}, "heads 13: expected at most 12, as many as it has, or 0 for all"),
        (CONFIG, {"ffn_share": [0.5, 0]}, "ffn_share 0.5, 0: expected shares above 0 and at most 1"),
        (CONFIG, {"ffn_share": [1]}, "it is of that size itself"),
        ({**CONFIG, "model_type": "mpnet"}, {"heads": [1]}, "it is of type mpnet, whose layers can't be narrowed"),
        ({**CONFIG, "num_hidden_layers": 1}, {"layers": [1]}, "expected depths from 1 to 0, as it has 1"),
        ({}, {}, "config.json of it does not say how many layers it has, as num_hidden_layers or n_layers"),
        ({"n_layers": 2}, {}, "does not say how many attention heads it has"),
    ],
)
def test_sizes_that_can_not_be(config: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        find_shapes("it", config, given.get("layers", ()), given.get("ffn_share", ()), given.get("heads", ()))


def test_names_of_sizes() -> None:
    assert label_of(3, 1.0, 0) == "3 layers"
    assert label_of(1, 1.0, 2) == "1 layer, 2 heads"
    assert label_of(6, 0.375, 6) == "6 layers, 6 heads, 0.375 FFN"
    assert Shape(layers=1, ffn_share=0.25).folder == "1-layers-ffn-0.25"


def test_depths(teacher_run: Path, tmp_path: Path) -> None:
    assert default_depths(2) == [1]
    assert default_depths(6) == [5, 4, 3, 2, 1]
    assert default_depths(12) == [10, 8, 6, 4, 2]
    with pytest.raises(RecipeError, match=r"layers 0, 4: expected depths from 1 to 3, as .* has 4"):
        ftx.search_students(teacher_run, layers=[0, 4], output=tmp_path / "out")
    shutil.copytree(teacher_run / "checkpoint", tmp_path / "theirs")
    with pytest.raises(RecipeError, match="theirs is no run of ftx train, which a search needs"):
        ftx.search_students(tmp_path / "theirs", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "1,2"], "--layers: several go with --search"),
        (["--layers", "1", "--heads", "1,2"], "--heads: several go with --search"),
        (["--layers", "1", "--ffn-share", "0.5,0.25"], "--ffn-share: several go with --search"),
        (["--search", "--keep", "0"], "omit --keep"),
    ],
)
def test_options_that_do_not_go_together(teacher_run: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = invoke(teacher_run, "--output", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_report_that_can_t_be_read_and_another_recipe_are_refused(
    search: StudentSearch, teacher_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(search.folder, folder)
    (folder / "3-layers/onnx/parity.json").write_text("{}")
    for options, message in ((["--max-loss", "5"], "parity.json can't be read"), ([], "max_loss")):
        result = invoke(teacher_run, "--search", "--layers", 3, "--output", folder, *OPTIONS, *options)
        assert result.exit_code == 1
        assert message in result.stderr and result.stderr.splitlines()[-1].startswith("Error: ")
