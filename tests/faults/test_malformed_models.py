"""Models that are not what they seem: what a file says of itself, what lies beside it, its graph, its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from ftx import Predictor
from ftx.manifest import MANIFEST_KEY, TOKENIZER_KEY, Manifest
from ftx.onnx_metadata import append_metadata
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.graphs import graphs
from tests.faults.ledger import Ledger, LostError
from tests.faults.odd_values import CONFIG, RAW, SETTINGS, TOKENIZER, UNREADABLE, Spoilt

TEXTS = ["The movie was great!", "The plot was awful"]
GIB = 2**30
# Fields of a manifest that may change an answer.
DECIDING = {
    "problem_type",
    "id2label",
    "max_length",
    "thresholds",
    "pad_token_id",
    "quantization",
    "input_names",
    "text_pair",
}


@pytest.fixture(scope="module")
def bare(tiny_export: Path) -> bytes:
    """The int8 model without what ftx put into it."""
    model = onnx.load(tiny_export / "model_quantized.onnx")
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def manifest(tiny_export: Path) -> Manifest:
    with Predictor(tiny_export / "model_quantized.onnx") as predictor:
        return predictor.manifest


@pytest.fixture(scope="module")
def usual(tiny_export: Path) -> list[str]:
    """The labels of the texts."""
    with Predictor(tiny_export / "model_quantized.onnx") as predictor:
        return [str(one.label) for one in predictor(TEXTS)]


def ask(light: Commands, path: Path, usual: list[str] | None = None, *, refused: bool = False) -> None:
    """Ask a model, and check that it gives the usual answers, or none and a line that says why."""
    for command in (
        ["predict", "--onnx", path, "--json", *TEXTS],
        ["inspect", "--onnx", path],
        ["verify", "--onnx", path],
    ):
        outcome = light.run(*command, fault=Fault(limits={"AS": 4 * GIB}))
        check_ending(outcome)
        if command[0] != "predict":
            continue
        if outcome.status == 0:
            answers = [json.loads(line, parse_constant=no_number) for line in outcome.stdout.decode().splitlines()]
            if refused:
                raise LostError(f"it answered {[one.get('label', one) for one in answers]}")
            if usual and [one.get("label") for one in answers] != usual:
                raise LostError(f"it answered {answers}")


def no_number(word: str) -> None:
    """Refuse what is no JSON."""
    raise LostError(f"it answered {word}")


def test_manifests(
    light: Commands, bare: bytes, manifest: Manifest, tiny_export: Path, usual: list[str], ledger: Ledger,
    new_folder: Callable[[], Path],
) -> None:  # fmt: skip
    """A manifest of a stranger's, well sealed: each of its fields with each kind of value."""
    tokenizer = (tiny_export / "tokenizer.json").read_text()
    names = [field.name for field in dataclasses.fields(Manifest)]
    names += [
        "id2label.0",
        "thresholds.negative",
        "quantization.scheme",
        "probes.0.text",
        "probes.0.logits",
        "probes.0.best",
    ]
    every = [Spoilt(file="manifest", field=name, value=value) for name in names for value in RAW]
    chosen = ledger.chance("manifests").sample(every, min(len(every), ledger.count(60)))

    def attempt(case: Spoilt) -> None:
        path = new_folder() / "model.onnx"
        path.write_bytes(bare)
        text = case.spoil(manifest.to_json())
        append_metadata(path, {TOKENIZER_KEY: tokenizer, MANIFEST_KEY: text})
        ask(light, path, None if case.field.partition(".")[0] in DECIDING else usual)
        shutil.rmtree(path.parent)

    ledger.try_each(chosen, attempt)


def test_files_beside_a_model(
    light: Commands, bare: bytes, tiny_export: Path, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    every = [
        Spoilt(file=file, field=field, value=value)
        for file, fields in (
            ("config.json", CONFIG),
            ("tokenizer_config.json", SETTINGS),
            ("tokenizer.json", TOKENIZER),
        )
        for field in fields
        for value in RAW
    ]
    chosen = ledger.chance("siblings").sample(every, min(len(every), ledger.count(60)))

    def attempt(case: Spoilt) -> None:
        folder = new_folder()
        (folder / "model.onnx").write_bytes(bare)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_export / name, folder / name)
        path = folder / case.file
        path.write_text(case.spoil(path.read_text()))
        ask(light, folder)
        shutil.rmtree(folder)

    ledger.try_each(chosen, attempt)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_files_beside_a_model_that_are_none(
    name: str, light: Commands, bare: bytes, tiny_export: Path, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    def attempt(what: str) -> None:
        folder = new_folder()
        (folder / "model.onnx").write_bytes(bare)
        for other in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_export / other, folder / other)
        path = folder / name
        path.unlink()
        UNREADABLE[what](path)
        ask(light, folder, refused=name != "tokenizer_config.json" or what in ("zeros", "text"))

    ledger.try_each([what for what in UNREADABLE if what != "elsewhere"], attempt)


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "bench", "evaluate", "export", "train"])
def test_paths_that_are_no_models(
    command: str, light: Commands, heavy: Commands, reviews: Path, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    commands = light if command in ("predict", "inspect", "verify") else heavy
    words = {
        "predict": lambda path: ["predict", "--onnx", path, "text"],
        "evaluate": lambda path: ["evaluate", "--run", path, "--data", reviews],
        "export": lambda path: ["export", path, "--data", reviews],
        "train": lambda path: ["train", "--model", path, "--dataset", reviews, "--output", path.parent / "run"],
        "bench": lambda path: ["bench", "--onnx", path, "--data", reviews],
    }  # fmt: skip
    long = {
        "300 letters": "x" * 300, "many letters": "x" * 5000, "many folders": "x/" * 3000, "root": "/",
        "dots": "../" * 100,
        "empty": "", "dot": ".", "blank": " ", "option": "-", "accents": "é" * 200, "surrogate": "\udcff.onnx",
    }  # fmt: skip

    def attempt(what: str) -> None:
        folder = new_folder()
        path: Any = folder / "model.onnx"
        if what in UNREADABLE:
            UNREADABLE[what](path)
        else:
            path = long[what]
        say = words.get(command, lambda path: [command, "--onnx", path])
        if command == "train" and what in long:
            arguments = ["train", "--model", path, "--dataset", reviews, "--output", folder / "run"]
        else:
            arguments = say(path)
        outcome = commands.run(*arguments, fault=Fault(limits={"AS": 4 * GIB}), cwd=folder)
        check_ending(outcome, usual=outcome)
        assert outcome.status in (1, 2), f"{outcome.status}: {outcome.stdout!r} {outcome.stderr}"

    # "many letters" is more than a path may have, and less than an argument.
    names = [*UNREADABLE, *long]
    if commands is heavy:
        names = ledger.chance(f"paths of {command}").sample(names, min(len(names), ledger.count(4)))
    ledger.try_each(names, attempt)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "beside"])
def test_graphs(
    sealed: bool, light: Commands, manifest: Manifest, tiny_export: Path, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """A well-formed seal makes no stranger's graph one to trust."""
    every = graphs()
    # The runtime takes no part in what a graph looks up: an index outside is onnxruntime's to refuse.
    values = json.loads(manifest.to_json()) | {"probes": []}

    def attempt(name: str) -> None:
        folder = new_folder()
        (folder / "weights.bin").write_bytes(bytes(8))
        (folder.parent / "weights.bin").write_bytes(bytes(8))
        path = folder / "model.onnx"
        path.write_bytes(every[name])
        for other in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_export / other, folder / other)
        if sealed:
            append_metadata(
                path, {TOKENIZER_KEY: (folder / "tokenizer.json").read_text(), MANIFEST_KEY: json.dumps(values)}
            )
        ask(light, path, refused=True)

    ledger.try_each(every, attempt)
