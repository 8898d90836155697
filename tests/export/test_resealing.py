from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

import ftx
from ftx.cli import ftx as command_line
from ftx.errors import OnnxFileError
from ftx.export.graph.precision import precision_of
from ftx.export.quantization.scheme import SCHEMES
from ftx.manifest import Manifest, read_manifest
from ftx.output.record import is_intact, read_record
from tests.export.conftest import Graphs

TEXTS = ["The movie was great!", "The plot was awful!"]


def quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target)


def save(source: Path, target: Path) -> None:
    """Write a file anew, as a tool does that simplifies graphs."""
    model = onnx.load(str(source))
    model.producer_name = "another tool"
    onnx.save(model, str(target))


def spoil(source: Path, target: Path) -> None:
    """Change what the model says."""
    model = onnx.load(str(source))
    [bias] = [tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias"]
    bias.CopyFrom(numpy_helper.from_array(np.array([5, -5], dtype=np.float32), bias.name))
    onnx.save(model, str(target))


def run(path: Path, tiny_run: Path, *rest: str) -> Result:
    return CliRunner().invoke(command_line, ["verify", "--onnx", str(path), "--against", str(tiny_run), *rest])


def manifest_in(path: Path) -> Manifest:
    found = read_manifest(path)
    assert found
    return found[0]


@pytest.mark.parametrize(
    ("change", "name", "kind"),
    [(quantize, "model.onnx", "dynamic"), (save, "model.onnx", "none"), (save, "model_quantized.onnx", "static")],
)
def test_a_file_that_another_tool_has_changed_is_verified_and_sealed_anew(
    tiny_export: Path, tiny_run: Path, tmp_path: Path, change: Callable[[Path, Path], None], name: str, kind: str
) -> None:
    path = tmp_path / "model.onnx"
    change(tiny_export / name, path)
    path.chmod(0o640)
    with pytest.raises(OnnxFileError, match=r"changed after export, by another tool, or is damaged.*RUN --reseal"):
        ftx.Predictor(path)
    assert run(path, tiny_run).exit_code == 1
    result = run(path, tiny_run, "--reseal")
    assert result.exit_code == 0, result.output
    assert f"sealed    {path}, with new probes and figures" in result.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]
    assert path.stat().st_mode & 0o777 == 0o640
    before, found = manifest_in(tiny_export / name), manifest_in(path)
    assert (found.labels, found.max_length, found.problem_type) == (before.labels, 32, before.problem_type)
    assert (found.quantization.kind, len(found.probes)) == (kind, 8)
    assert found.parity["batch_32"]["texts"] == 24
    if kind == "dynamic":
        assert found.quantization.scheme == "dynamic, made by another tool"
        assert found.quantization.safe_on
    else:
        assert found.quantization.name == before.quantization.name
    # One that is int8 now is held to the gate, with its limits for other kinds of text; one in fp32 to its logits.
    assert (bool(found.parity.get("stress")), bool(found.quantization.gate)) == ((kind != "none"),) * 2
    assert ("joined_2 text" in result.stdout) is (kind != "none")
    assert ftx.verify(path).passed
    assert [one.label for one in ftx.Predictor(path)(TEXTS)] == ["positive", "negative"]

    content = path.read_bytes()
    again = ftx.verify(path, against=tiny_run, reseal=True)
    assert again.passed
    assert not again.resealed, "its seal holds: there is nothing to do"
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", [spoil, lambda source, target: (spoil(source, target), quantize(target, target))])
def test_a_file_that_fails_stays_as_it_was(tiny_export: Path, tiny_run: Path, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "model.onnx"
    change(tiny_export / "model.onnx", path)
    content = path.read_bytes()
    result = run(path, tiny_run, "--reseal", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["passed"], found["resealed"], found["against"]["verdict"]) == (False, False, "fails")
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]
    assert f"unchanged {path}: it is not sealed anew" in run(path, tiny_run, "--reseal").stdout


def test_a_damaged_file_is_refused_in_one_line(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = (tiny_export / "model.onnx").read_bytes()
    graph = content.index(b"LayerNorm")
    for damaged in (content[: len(content) // 2], content[:graph] + b"\xff" * 40 + content[graph + 40 :]):
        path.write_bytes(damaged)
        result = run(path, tiny_run, "--reseal")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
        assert path.read_bytes() == damaged
        assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_the_labels_must_be_the_checkpoints(
    tiny_export: Path, tiny_model: Callable[[str], Path], tiny_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    save(tiny_export / "model.onnx", path)
    other = tiny_model("multi_label_classification")
    result = run(path, other, "--reseal", "--data", str(tiny_run / "eval.jsonl"))
    assert result.exit_code == 1
    assert "they are not the same model" in result.stderr


def test_a_file_without_a_manifest_gets_one(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(tiny_export, folder)
    model = onnx.load(str(folder / "model.onnx"))
    del model.metadata_props[:]
    onnx.save(model, str(folder / "model.onnx"))
    result = run(folder / "model.onnx", tiny_run, "--reseal")
    assert f"page    {folder / 'parity.html'}, of the file as it was exported\n" in result.stdout
    assert ftx.verify(folder / "model.onnx").passed
    assert all(is_intact(folder, *entry) for entry in read_record(folder / "SHA256SUMS").items())


def test_resealing_needs_something_to_compare_with(tiny_export: Path) -> None:
    with pytest.raises(ValueError, match="reseal goes with against"):
        ftx.verify(tiny_export, reseal=True)
    result = CliRunner().invoke(command_line, ["verify", "--onnx", str(tiny_export), "--reseal"])
    assert result.exit_code == 2
    assert "--reseal goes with --against" in result.stderr


@pytest.mark.parametrize("name", [*SCHEMES])
def test_the_operators_tell_how_a_graph_is_quantised(graphs: Graphs, name: str) -> None:
    made = SCHEMES[name].to_dict()
    assert precision_of(onnx.load(str(graphs.write(SCHEMES[name])))) == (made["kind"], made["weights"])
    assert precision_of(onnx.load(str(graphs.optimised))) == ("none", "fp32")
