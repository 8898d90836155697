"""Models that are not what they seem: what a file says of itself, what lies beside it, its graph, its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from ftx import Predictor
from ftx.errors import FtxError
from ftx.manifest import MANIFEST_KEY, TOKENIZER_KEY, Manifest
from ftx.onnx_metadata import append_metadata
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.ledger import Ledger, LostError

TEXTS = ["The movie was great!", "The plot was awful"]
GIB = 2**30
# Takes the place of a value in JSON, for what Python's json would not write.
PLACE = '"here"'
RAW = {
    "null": "null", "true": "true", "false": "false", "minus": "-1", "zero": "0", "one": "1", "broken": "1.5",
    "int32": str(2**31), "uint32": str(2**32), "int64": str(2**63), "huge": str(10**30), "digits": "9" * 5000,
    "exponent": "1e400", "nan": "NaN", "infinite": "-Infinity", "empty": '""', "word": '"yes"', "number": '"7"',
    "long": json.dumps("x" * 10**6), "surrogate": '"\\ud800"', "list": "[]", "numbers": "[1, 2.5]", "lists": "[[[]]]",
    "words": '["a", null]', "object": "{}", "labels": '{"0": "a", "1": "a"}', "gap": '{"0": "a", "7": "b"}',
    "letters": '{"a": "b"}', "objects": '{"0": {"1": []}}', "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000, "open": "[", "nothing": "",
}  # fmt: skip
# Fields of a manifest that may change an answer.
DECIDING = {"problem_type", "id2label", "max_length", "thresholds", "pad_token_id", "quantization", "input_names", "text_pair"}
CONFIG = ["id2label", "problem_type", "max_position_embeddings", "pad_token_id", "thresholds", "text_pair", "num_labels", "model_type"]
SETTINGS = ["model_max_length", "truncation_side", "do_lower_case"]
TOKENIZER = ["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"]


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """A field of a file with a value that does not belong there."""

    file: str
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field} = {self.value} ({RAW[self.value]:.40})"

    def spoil(self, text: str) -> str:
        """Put the value into the file's text."""
        values = json.loads(text)
        inner = values
        *path, last = self.field.split(".")
        for name in path:
            inner = inner[int(name) if name.isdigit() else name]
        inner[last] = json.loads(PLACE)
        return json.dumps(values).replace(PLACE, RAW[self.value])


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


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[Any], Path]:
    """Make a folder for a case."""

    def make(case: Any) -> Path:
        folder = tmp_path / f"{abs(hash(case)):x}"
        folder.mkdir()
        return folder

    return make


def ask(light: Commands, path: Path, usual: list[str] | None = None, *, refused: bool = False) -> None:
    """Ask a model, and check that it gives the usual answers, or none and a line that says why."""
    for command in (["predict", "--onnx", path, "--json", *TEXTS], ["inspect", "--onnx", path], ["verify", "--onnx", path]):
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
    folders: Callable[[Any], Path],
) -> None:  # fmt: skip
    """A manifest of a stranger's, well sealed: each of its fields with each kind of value."""
    tokenizer = (tiny_export / "tokenizer.json").read_text()
    names = [field.name for field in dataclasses.fields(Manifest)]
    names += ["id2label.0", "thresholds.negative", "quantization.scheme", "probes.0.text", "probes.0.logits", "probes.0.best"]
    every = [Spoilt(file="manifest", field=name, value=value) for name in names for value in RAW]
    chosen = ledger.chance("manifests").sample(every, min(len(every), ledger.count(150)))

    def attempt(case: Spoilt) -> None:
        path = folders(case) / "model.onnx"
        path.write_bytes(bare)
        text = case.spoil(manifest.to_json())
        append_metadata(path, {TOKENIZER_KEY: tokenizer, MANIFEST_KEY: text})
        ask(light, path, None if case.field.partition(".")[0] in DECIDING else usual)
        shutil.rmtree(path.parent)

    ledger.try_each(chosen, attempt)


def test_files_beside_a_model(
    light: Commands, bare: bytes, tiny_export: Path, ledger: Ledger, folders: Callable[[Any], Path]
) -> None:
    every = [
        Spoilt(file=file, field=field, value=value)
        for file, fields in (("config.json", CONFIG), ("tokenizer_config.json", SETTINGS), ("tokenizer.json", TOKENIZER))
        for field in fields
        for value in RAW
    ]
    chosen = ledger.chance("siblings").sample(every, min(len(every), ledger.count(150)))

    def attempt(case: Spoilt) -> None:
        folder = folders(case)
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
    name: str, light: Commands, bare: bytes, tiny_export: Path, ledger: Ledger, folders: Callable[[Any], Path]
) -> None:
    def attempt(what: str) -> None:
        folder = folders(what)
        (folder / "model.onnx").write_bytes(bare)
        for other in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_export / other, folder / other)
        path = folder / name
        path.unlink()
        UNREADABLE[what](path)
        ask(light, folder, refused=name != "tokenizer_config.json" or what in ("zeros", "text"))

    ledger.try_each([what for what in UNREADABLE if what != "elsewhere"], attempt)


# Makes of a path something that is no model and no JSON.
UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a loop": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("gone"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: path.symlink_to("/dev/null"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "text": lambda path: path.write_text("This movie was great!\n" * 100),
    "very large": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "page": lambda path: path.write_text("<!doctype html><title>Sign in</title>"),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01a\x94."),
    "packed": lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0"),
    "long field": lambda path: path.write_bytes(b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "groups": lambda path: path.write_bytes(b"\x0b" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "bench", "evaluate", "export", "train"])
def test_paths_that_are_no_models(
    command: str, light: Commands, heavy: Commands, reviews: Path, ledger: Ledger, folders: Callable[[Any], Path]
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
        "300 letters": "x" * 300, "many letters": "x" * 5000, "many folders": "x/" * 3000, "root": "/", "dots": "../" * 100,
        "empty": "", "dot": ".", "blank": " ", "option": "-", "accents": "é" * 200, "surrogate": "\udcff.onnx",
    }  # fmt: skip

    def attempt(what: str) -> None:
        folder = folders(what)
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
        names = ledger.chance(f"paths of {command}").sample(names, min(len(names), ledger.count(8)))
    ledger.try_each(names, attempt)


HEAD = "int64[b,s] input_ids, int64[b,s] attention_mask"
MEAN = "x = Cast<to=1>(input_ids)\n m = ReduceMean<axes=[1], keepdims=1>(x)\n n = Neg(m)"
ENDLESS = """
 many = Constant<value = int64 {9223372036854775807}>()
 yes = Constant<value = bool {1}>()
 last, all = Loop(many, yes, x) <body = b (int64 i, bool go, float[b,s] before) => (bool on, float[b,s] after, float[b,s] each)
 { on = Identity(go)  after = Identity(before)  each = Identity(before) }>
"""


def graph(body: str, inputs: str = HEAD, outputs: str = "float[b,2] logits", more: str = "", version: int = 17) -> bytes:
    """Make a model from onnx's text form."""
    text = f'<ir_version: 8, opset_import: ["" : {version}, "mine" : 1]>\ng ({inputs}) => ({outputs})\n{{\n {body}\n}}\n{more}'
    return bytes(onnx.parser.parse_model(text).SerializeToString())


def with_weights(location: str, how: str) -> bytes:
    """Make a model whose weights lie in another file."""
    model = onnx.load_from_string(graph(f"{MEAN}\n c = Concat<axis=1>(m, n)\n logits = Add(c, w)", inputs=f"{HEAD}, float[2] w"))
    del model.graph.input[2]
    outside = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        outside.external_data.add(key=key, value=value)
    if how == "initializer":
        model.graph.initializer.append(outside)
    elif how == "constant":
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=outside))
    elif how == "sparse":
        indices = onnx.helper.make_tensor("indices", onnx.TensorProto.INT64, [2], [0, 1])
        model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=outside, indices=indices, dims=[2]))
    elif how == "function":
        node = onnx.helper.make_node("Constant", [], ["w"], value=outside)
        versions = [onnx.helper.make_opsetid("", 17)]
        model.functions.append(onnx.helper.make_function("mine", "Weights", [], ["w"], [node], versions))
        model.graph.node.insert(0, onnx.helper.make_node("Weights", [], ["w"], domain="mine"))
    return bytes(model.SerializeToString())


def graphs() -> dict[str, bytes]:
    """Give graphs that are no text classifiers, or not ones to trust."""
    both = f"{MEAN}\n logits = Concat<axis=1>(m, n)"
    made = {
        "endless loop": graph(f"{MEAN}\n{ENDLESS}\n k = ReduceMean<axes=[1], keepdims=1>(last)\n logits = Concat<axis=1>(k, n)"),
        "not a number": graph(f"{MEAN}\n z = Sub(m, m)\n q = Div(z, z)\n logits = Concat<axis=1>(q, n)"),
        "infinite": graph(f"{MEAN}\n z = Sub(m, m)\n q = Div(m, z)\n r = Neg(q)\n logits = Concat<axis=1>(q, r)"),
        "one row for all": graph(f"{MEAN}\n a = ReduceMean<axes=[0], keepdims=1>(m)\n logits = Concat<axis=1>(a, a)", outputs="float[c,2] logits"),
        "a row too many": graph(f"{both[:-19]} c = Concat<axis=1>(m, n)\n logits = Concat<axis=0>(c, c)", outputs="float[c,2] logits"),
        "three columns": graph(f"{MEAN}\n logits = Concat<axis=1>(m, n, m)", outputs="float[b,3] logits"),
        "any columns": graph(f"{MEAN}\n logits = Concat<axis=1>(m, n, m)", outputs="float[b,c] logits"),
        "one column": graph(f"{MEAN}\n logits = Identity(m)", outputs="float[b,1] logits"),
        "three dimensions": graph(f"{MEAN}\n c = Concat<axis=1>(m, n)\n a = Constant<value_ints=[1]>()\n logits = Unsqueeze(c, a)", outputs="float[b,1,2] logits"),
        "a number": graph(f"{MEAN}\n logits = ReduceMean<keepdims=0>(m)", outputs="float logits"),
        "whole numbers": graph(f"{MEAN}\n c = Concat<axis=1>(m, n)\n logits = Cast<to=7>(c)", outputs="int64[b,2] logits"),
        "words": graph(f"{MEAN}\n c = Concat<axis=1>(m, n)\n logits = Cast<to=8>(c)", outputs="string[b,2] logits"),
        "two outputs": graph(f"{both}\n more = Identity(m)", outputs="float[b,2] logits, float[b,1] more"),
        "another input": graph(f"{MEAN}\n k = Add(m, pixels)\n logits = Concat<axis=1>(k, n)", inputs=f"{HEAD}, float[b,1] pixels"),
        "no input_ids": graph("x = Cast<to=1>(attention_mask)\n m = ReduceMean<axes=[1], keepdims=1>(x)\n logits = Concat<axis=1>(m, m)", inputs="int64[b,s] attention_mask"),
        "inputs of another kind": graph(both, inputs="int32[b,s] input_ids, int32[b,s] attention_mask"),
        "fixed length": graph(both, inputs="int64[b,3] input_ids, int64[b,3] attention_mask"),
        "fixed batch": graph(both, inputs="int64[7,s] input_ids, int64[7,s] attention_mask", outputs="float[7,2] logits"),
        "unknown operator": graph(f"{MEAN}\n logits = mine.Thing(m)"),
        "very much memory": graph(f"{MEAN}\n l = Constant<value_ints=[100000,1000000]>()\n h = ConstantOfShape(l)\n k = ReduceMean<keepdims=1>(h)\n j = Add(m, k)\n logits = Concat<axis=1>(j, n)"),
        "wrong shapes": graph(f"{MEAN}\n l = Constant<value_ints=[7,3]>()\n k = Reshape(x, l)\n logits = Concat<axis=1>(m, n, k)"),
        "an index outside": graph(f"{MEAN}\n t = Constant<value_floats=[1.0,2.0]>()\n k = Gather(t, input_ids)\n j = ReduceMean<axes=[1], keepdims=1>(k)\n logits = Concat<axis=1>(j, n)"),
    }  # fmt: skip
    model = onnx.load_from_string(graph(both))
    model.opset_import[0].version = 999
    made["a version to come"] = bytes(model.SerializeToString())
    model.opset_import[0].version, model.ir_version = 17, 999
    made["a format to come"] = bytes(model.SerializeToString())
    model.ir_version = 8
    del model.graph.node[1:]
    made["no nodes"] = bytes(model.SerializeToString())
    model.ClearField("graph")
    made["no graph"] = bytes(model.SerializeToString())
    for how in ("initializer", "constant", "sparse", "function"):
        for location in ("weights.bin", "../weights.bin", "/etc/passwd", ""):
            made[f"weights in {location or 'no file'}, {how}"] = with_weights(location, how)
    return made


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "beside"])
def test_graphs(
    sealed: bool, light: Commands, manifest: Manifest, tiny_export: Path, ledger: Ledger, folders: Callable[[Any], Path]
) -> None:
    """A well-formed seal makes no stranger's graph one to trust."""
    every = graphs()
    # The runtime takes no part in what a graph looks up: an index outside is onnxruntime's to refuse.
    values = json.loads(manifest.to_json()) | {"probes": []}

    def attempt(name: str) -> None:
        folder = folders(name)
        (folder / "weights.bin").write_bytes(bytes(8))
        (folder.parent / "weights.bin").write_bytes(bytes(8))
        path = folder / "model.onnx"
        path.write_bytes(every[name])
        for other in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_export / other, folder / other)
        if sealed:
            append_metadata(path, {TOKENIZER_KEY: (folder / "tokenizer.json").read_text(), MANIFEST_KEY: json.dumps(values)})
        ask(light, path, refused=True)

    ledger.try_each(every, attempt)


def test_checkpoints(
    heavy: Commands, tiny_run: Path, reviews: Path, ledger: Ledger, folders: Callable[[Any], Path]
) -> None:
    """To train from, to evaluate, to export: a checkpoint of a stranger's."""
    fields = {
        "config.json": [*CONFIG, "vocab_size", "hidden_size", "num_attention_heads", "architectures", "label2id", "layer_norm_eps"],
        "tokenizer_config.json": [*SETTINGS, "tokenizer_class", "pad_token"],
        "tokenizer.json": TOKENIZER,
    }  # fmt: skip
    every: list[Any] = [Spoilt(file=file, field=field, value=value) for file in fields for field in fields[file] for value in RAW]
    chance = ledger.chance("checkpoints")
    chosen = chance.sample(every, min(len(every), ledger.count(30)))
    whole = [("model.safetensors", what) for what in UNREADABLE if what not in ("a terminal", "memory")]
    chosen += chance.sample(whole, min(len(whole), ledger.count(8)))

    def attempt(case: Any) -> None:
        folder = folders(case)
        checkpoint = folder / "run" / "checkpoint"
        shutil.copytree(tiny_run, folder / "run")
        if isinstance(case, Spoilt):
            path = checkpoint / case.file
            path.write_text(case.spoil(path.read_text()))
        else:
            (checkpoint / case[0]).unlink()
            UNREADABLE[case[1]](checkpoint / case[0])
        arguments = chance.choice(
            [
                ["evaluate", "--run", folder / "run"],
                ["export", folder / "run", "--quantize", "none"],
                ["train", "--model", checkpoint, "--dataset", reviews, "--max-steps", "1", "--output", folder / "new"],
            ]
        )
        outcome = heavy.run(*arguments, fault=Fault(limits={"AS": 4 * GIB}))
        check_ending(outcome, usual=outcome)
        shutil.rmtree(folder)

    ledger.try_each(chosen, attempt)


TOML = {
    "true": "true", "minus": "-1", "zero": "0", "broken": "0.5", "int64": "9223372036854775807", "huge": "9" * 40,
    "nan": "nan", "infinite": "inf", "empty": '""', "word": '"x"', "long": f'"{"x" * 5000}"', "list": "[]",
    "words": '["a", "b"]', "twice": '["a", "a"]', "mixed": '["a", 1]', "table": "{}", "date": "2020-01-01", "path": '"/"',
    "nul": '"a\\u0000b"', "open": "[", "nothing": "",
}  # fmt: skip


def test_recipes(ledger: Ledger, tmp_path: Path) -> None:
    """Every value of a recipe with each kind of TOML: one that can be meant, or an error."""
    from ftx.finetune import Recipe, load_recipe

    def attempt(case: tuple[str, str]) -> None:
        name, kind = case
        given = {"model": '"m"', "dataset": '"d"', name: TOML[kind]}
        path = tmp_path / "r.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in given.items()), encoding="utf-8")
        try:
            load_recipe(str(path))
        except FtxError as error:
            assert len(str(error).splitlines()) == 1, str(error)

    names = [field.name for field in dataclasses.fields(Recipe)]
    ledger.try_each([(name, kind) for name in [*names, "versions", "quick", "starter"] for kind in TOML], attempt, workers=1)


def test_held_out_texts(ledger: Ledger, tmp_path: Path) -> None:
    """Lines of eval.jsonl: of a stranger's run."""
    from ftx.heldout import read_held_out

    def attempt(case: tuple[str, str]) -> None:
        field, kind = case
        line = {"text": '"a"', "label": '"positive"', field: RAW[kind]}
        path = tmp_path / "eval.jsonl"
        path.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in line.items()) + "}\n", encoding="utf-8")
        try:
            held_out = read_held_out(path)
        except FtxError as error:
            assert len(str(error).splitlines()) == 1, str(error)
        else:
            [text] = held_out.texts
            parts = text if isinstance(text, tuple) else (text,)
            assert all(isinstance(part, str) for part in parts), text

    ledger.try_each([(field, kind) for field in ("text", "label", "text_pair") for kind in RAW], attempt, workers=1)
