from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx.cli import ftx
from ftx.errors import OnnxFileError
from ftx.manifest import MANIFEST_KEY, Manifest, read_manifest, write_manifest
from ftx.runtime import verify


def rewritten(source: Path, target: Path, change: object) -> Path:
    """The graph of an exported file with another manifest."""
    import onnx

    manifest, tokenizer_json = read_manifest(source) or (None, "")
    assert isinstance(manifest, Manifest)
    model = onnx.load(str(source))
    del model.metadata_props[:]
    onnx.save(model, str(target))
    write_manifest(target, change(manifest), tokenizer_json)  # type: ignore[operator]
    return target


@pytest.mark.parametrize("name", ["model.onnx", "model_quantized.onnx"])
def test_an_exported_file_answers_its_probes(tiny_export: Path, name: str) -> None:
    report = verify(tiny_export / name)
    assert report.passed
    assert report.probes == 8
    assert report.max_abs_diff <= report.atol


def test_another_answer_fails(tiny_export: Path, tmp_path: Path) -> None:
    def shifted(manifest: Manifest) -> Manifest:
        first = manifest.probes[0]
        moved = replace(first, logits=(first.logits[0] + 0.1, *first.logits[1:]))
        return replace(manifest, probes=(moved, *manifest.probes[1:]))

    report = verify(rewritten(tiny_export / "model.onnx", tmp_path / "model.onnx", shifted))
    assert not report.passed
    assert report.max_abs_diff == pytest.approx(0.1, abs=1e-3)


def test_a_file_without_probes_is_refused(tiny_export: Path, tmp_path: Path) -> None:
    path = rewritten(tiny_export / "model.onnx", tmp_path / "model.onnx", lambda manifest: replace(manifest, probes=()))
    with pytest.raises(OnnxFileError, match=MANIFEST_KEY):
        verify(path)


def test_a_changed_weight_is_caught_by_the_seal(tiny_export: Path, tmp_path: Path) -> None:
    content = bytearray((tiny_export / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 0x40
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(OnnxFileError, match="damaged"):
        verify(tmp_path / "model.onnx")


def test_names_in_another_order_are_caught(tiny_export: Path, tmp_path: Path) -> None:
    def permuted(manifest: Manifest) -> Manifest:
        return replace(manifest, id2label={0: manifest.id2label[1], 1: manifest.id2label[0]})

    path = rewritten(tiny_export / "model.onnx", tmp_path / "model.onnx", permuted)
    report = verify(path)
    assert report.max_abs_diff <= report.atol
    assert report.renamed == report.probes
    assert not report.passed
    done = CliRunner().invoke(ftx, ["verify", "--onnx", str(path)])
    assert done.exit_code == 1
    assert "labels were renamed after the export" in done.stdout


def test_a_wrong_tokenizer_is_caught(tiny_export: Path, tmp_path: Path) -> None:
    source, target = tiny_export / "model.onnx", tmp_path / "model.onnx"
    manifest, tokenizer_json = read_manifest(source) or (None, "")
    assert isinstance(manifest, Manifest)
    import onnx

    model = onnx.load(str(source))
    del model.metadata_props[:]
    onnx.save(model, str(target))
    tokenizer = json.loads(tokenizer_json)
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["movie"], vocabulary["great"] = vocabulary["great"], vocabulary["movie"]
    write_manifest(target, manifest, json.dumps(tokenizer))
    report = verify(target)
    assert not report.passed
    assert report.max_abs_diff > report.atol
