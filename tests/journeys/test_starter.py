"""The whole way on the real starter model: short training, full export, proof, prediction."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from ftx import Predictor
from ftx.export.parity.reference import Reference
from ftx.finetune.data.labelled_text import sentence_key
from ftx.finetune.recipe import load_recipe
from ftx.finetune.starter import starter_model, starter_rows
from ftx.heldout import read_held_out
from ftx.runtime.batching import depends_on_batch
from ftx.runtime.tokenization import encode, load_tokenizer
from tests.runtime.server.serving import serve
from tests.runtime.server.speaking import DIALECTS

# A whole run that is there already, as after `make train export`; a short one takes minutes to make.
MADE = os.environ.get("FTX_STARTER_RUN")
pytestmark = [] if MADE else [pytest.mark.slow]

HARD_TEXTS = [
    "",
    " ",
    "Ça va? Ñandú, İstanbul, Straße, ﬁne, naïve café, e\u0301 a\u030a",
    "电影很好看。映画は面白い！영화가 재미있다",
    "😀👍🏽👩‍👩‍👧‍👦🇩🇪 ok",
    "tab\tnewline\nreturn\rnull\x00bell\x07escape\x1b[31m\x7f\x85",
    "zero\u200bwidth\ufeffbom\u00adsoft\u202eright to left\u2028line",
    "[CLS] [SEP] [MASK] [PAD] [UNK] ##ing",
    "don't can't ''quoted'' `ticks` -- well... #hash @name http://a.b/c?d=e&f",
    "a" * 100_000,
    "word " * 20_000,
    "电" * 100_000,
    "مرحبا بالعالم שלום עולם नमस्ते",
    "\U0001d54f\U0001d550 𝒻𝒶𝓃𝒸𝓎 Ⅷ ½ ①",
    "9" * 300 + " 1,000.50 1e-5",
]


def ftx(*arguments: object, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ftx", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=cwd, timeout=3000)


@pytest.fixture(scope="module")
def starter_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MADE:
        return Path(MADE).resolve()
    run = tmp_path_factory.mktemp("starter") / "run"
    done = ftx("train", "--max-steps", 60, "--output", run, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 60
    return run


@pytest.fixture(scope="module")
def starter_export(starter_run: Path) -> Path:
    if not (starter_run / "onnx").exists():
        done = ftx("export", starter_run, "--search-budget", 20, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads((starter_run / "onnx/parity.json").read_text())
    return starter_run / "onnx"


def test_the_held_out_side_is_large_and_shares_no_sentence(starter_run: Path) -> None:
    held_out = read_held_out(starter_run / "eval.jsonl")
    assert len(held_out) >= 1000
    assert set(held_out.labels) == {"negative", "positive"}
    held_out_keys = {sentence_key(text) for text in held_out.texts}
    rows = list(starter_rows())
    learnt = [row for row in rows if sentence_key(row.text) not in held_out_keys]
    metrics = json.loads((starter_run / "metrics.json").read_text())
    assert metrics["train_rows"] == len(learnt) == len(rows) - len(held_out)


def test_a_short_training_has_learnt(starter_run: Path) -> None:
    assert json.loads((starter_run / "metrics.json").read_text())["accuracy"] >= 0.7  # a whole one: .ci/run


def test_fp32_says_the_same_numbers_on_every_held_out_text(starter_run: Path, starter_export: Path) -> None:
    held_out = read_held_out(starter_run / "eval.jsonl")
    reference = Reference(starter_run / "checkpoint")
    found = Predictor(starter_export / "model.onnx").logits(held_out.texts)
    np.testing.assert_allclose(found, reference.logits(held_out.texts), atol=1e-4, rtol=0)
    hard = [text for text in HARD_TEXTS if len(text) < 1000]
    found = Predictor(starter_export / "model.onnx").logits(hard)
    np.testing.assert_allclose(found, reference.logits(hard), atol=1e-4, rtol=0)


def test_int8_says_the_same_answers(starter_run: Path, starter_export: Path) -> None:
    done = ftx("verify", "--onnx", starter_export, "--against", starter_run, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is True
    proof = report["against"]["proof"]
    assert [result["batch_size"] for result in proof["parity"]] == [32, 1]
    assert all(result["label_agreement"] >= 0.99 for result in proof["parity"])
    assert proof["batch_invariance"]["flips"] <= 0.005 * proof["batch_invariance"]["texts"]
    assert (starter_export / "model_quantized.onnx").stat().st_size < (starter_export / "model.onnx").stat().st_size / 2


def test_the_search_says_what_it_tried_and_why_it_chose(starter_export: Path) -> None:
    report = json.loads((starter_export / "parity.json").read_text())
    search = report["search"]
    tried = {one["name"]: one for one in search["candidates"]}
    chosen = tried[search["chosen"]]
    assert chosen["kind"] == "int8"
    assert chosen["verdict"] != "fails"
    assert search["choice"]
    # On a slow machine there may have been no time to compare.
    if search["baseline"]:
        assert search["baseline"] == "Optimum avx512_vnni"
        assert chosen["speed"]["rounds"] >= 3
        assert chosen["expected_agreement"] > tried[search["baseline"]]["expected_agreement"]
    assert report["fusion"]["found"] == {
        "Attention": 6,
        "SkipLayerNormalization": 12,
        "LayerNormalization": 1,
        "BiasGelu": 6,
    }
    errors = [entry["rms_logit_error"] for entry in search["ranking"]]
    assert errors == sorted(errors, reverse=True)
    page = (starter_export / "parity.html").read_text()
    assert page.count("<svg") == 1 + 2 * bool(search["baseline"]) + bool(errors)
    for flip in report["int8"]["flips"]:
        assert flip["expected"] != flip["found"]


def test_tokenisation_is_that_of_transformers() -> None:
    from transformers import AutoTokenizer

    folder = starter_model()
    theirs = AutoTokenizer.from_pretrained(folder)
    manifest = load_recipe("starter")
    for max_length in (manifest.max_length, 8):
        described = type("Described", (), {"max_length": max_length, "text_pair": False})
        ours = load_tokenizer((folder / "tokenizer.json").read_text(), described, folder)  # type: ignore[arg-type]
        expected = theirs(HARD_TEXTS, truncation=True, max_length=max_length)
        for place, encoding in enumerate(encode(ours, HARD_TEXTS)):
            assert encoding.ids == expected["input_ids"][place]
            assert encoding.type_ids == expected["token_type_ids"][place]
            assert encoding.attention_mask == expected["attention_mask"][place]


def test_the_file_alone_predicts_in_an_empty_folder(starter_export: Path, tmp_path: Path) -> None:
    shutil.copy(starter_export / "model_quantized.onnx", tmp_path / "model.onnx")
    done = ftx(
        "predict", "--onnx", "model.onnx", "--json", "This movie was great!", "A dull, lifeless mess.", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["positive", "negative"]


@pytest.fixture(scope="module")
def predicted(starter_run: Path, starter_export: Path) -> tuple[list[str], list[dict[str, float]]]:
    """The held-out texts, and the probabilities that `ftx predict --invariant` prints for them."""
    texts = read_held_out(starter_run / "eval.jsonl").texts
    lines = [text for text in texts if text.splitlines() == [text]]
    assert len(lines) >= 1000
    done = ftx("predict", "--onnx", starter_export, "--json", "--invariant", stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == lines
    return lines, [row["scores"] for row in rows]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_answers_as_predict_does_alone_and_under_32_clients(
    starter_export: Path, predicted: tuple[list[str], list[dict[str, float]]], dialect: str
) -> None:
    texts, wanted = predicted
    labels = list(wanted[0])
    with serve(starter_export, invariant=True) as server, server.client() as alone:

        def ask(client: httpx.Client, rows: range) -> None:
            found = DIALECTS[dialect](client, server.name, [texts[row] for row in rows], labels)
            for row, (label, scores) in zip(rows, found, strict=True):
                assert label in (None, max(wanted[row], key=wanted[row].__getitem__))
                assert {name: np.float32(scores[name]) for name in scores} == {
                    name: np.float32(wanted[row][name]) for name in labels
                }, texts[row]

        def one(number: int) -> None:
            with server.client() as client:
                ask(client, range(number, len(texts), 32))

        for row in range(20):
            ask(alone, range(row, row + 1))
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(32)))
        assert server.log == []


def test_padding_moves_an_answer_of_the_server_by_a_rounding_at_most(
    starter_export: Path, predicted: tuple[list[str], list[dict[str, float]]]
) -> None:
    texts, wanted = predicted
    labels = list(wanted[0])
    with serve(starter_export, max_texts=len(texts)) as server, server.client() as client:
        found = DIALECTS["ours"](client, server.name, texts, labels)
    moved = np.array([[scores[name] for name in labels] for _, scores in found], dtype=np.float32)
    exact = np.array([[scores[name] for name in labels] for scores in wanted], dtype=np.float32)
    dynamic = depends_on_batch(server.predictor.manifest)
    np.testing.assert_allclose(moved, exact, atol=0.05 if dynamic else 2e-3, rtol=0)


def test_transformers_and_optimum_read_the_real_folders(starter_run: Path, starter_export: Path) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    texts = read_held_out(starter_run / "eval.jsonl").texts[:16]
    tokenizer = AutoTokenizer.from_pretrained(starter_export)
    classify = pipeline("text-classification", model=str(starter_run / "checkpoint"), device="cpu")
    expected = [answer["label"] for answer in classify(texts, truncation=True)]
    model = ORTModelForSequenceClassification.from_pretrained(starter_export, file_name="model.onnx")
    by_optimum = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(texts, truncation=True)
    assert [answer["label"] for answer in by_optimum] == expected
    assert [prediction.label for prediction in Predictor(starter_export / "model.onnx")(texts)] == expected


def test_what_is_there_is_not_overwritten(starter_run: Path, starter_export: Path) -> None:
    before = (starter_export / "parity.json").read_bytes()
    for command in (("train", "--output", starter_run), ("export", starter_run)):
        done = ftx(*command)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        assert "--overwrite" in done.stderr
        assert "Traceback" not in done.stderr
    assert (starter_export / "parity.json").read_bytes() == before


@pytest.mark.slow
def test_a_student_of_half_the_layers_is_distilled_and_exported(
    starter_run: Path, starter_export: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student"
    quick = ["--train-rows", 1500, "--epochs", 1, "--candidate-steps", 10, "--max-loss", 20]
    done = ftx("distill", starter_run, "--layers", 3, *quick, "--output", student, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((student / "distillation.json").read_text())
    assert report["verdict"] == "passes"
    assert report["texts"] == len(read_held_out(starter_run / "eval.jsonl"))
    assert report["agreement"] > 0.75
    assert len(report["candidates"]) == 3
    done = ftx("export", student, "--quantize", "fast", "--json")
    assert done.returncode == 0, done.stderr
    sizes = [(one / "model_quantized.onnx").stat().st_size for one in (student / "onnx", starter_export)]
    assert sizes[0] < 0.85 * sizes[1]
