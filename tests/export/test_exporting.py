from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from ftx import Predictor
from ftx.cli import ftx
from ftx.errors import DataError, OutputError, ParityError
from ftx.export import ChoiceError, compare, export, exporting
from ftx.export.graph import convert
from ftx.export.graph.convert import export_graph
from ftx.export.parity import stress
from ftx.export.parity.gate import Gate
from ftx.export.parity.margins import margin_error
from ftx.export.parity.reduced import Reduced, measure_kinds
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.stress import KindAgreement, stress_set
from ftx.export.quantization.fitted import Fitted
from ftx.export.quantization.scheme import SCHEMES, Scheme
from ftx.export.search import making, ranking, timing
from ftx.export.search.peers import optimum_preset
from ftx.heldout import read_held_out, write_held_out
from ftx.output.record import read_record
from ftx.quantization import Quantization
from ftx.run_folder import find_checkpoint
from ftx.runtime import verify
from ftx.runtime.session import open_session


def test_the_export_folder_holds_what_is_promised(tiny_export: Path) -> None:
    names = {path.name for path in tiny_export.iterdir()}
    assert {"model.onnx", "model_quantized.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {"parity.json", "parity.html", "README.md", "SHA256SUMS"} <= names
    assert not names & {"search", "switched.onnx", "watched.onnx", "optimised.onnx"}
    for line in (tiny_export / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tiny_export / name).read_bytes()).hexdigest() == digest
        names.discard(name)
    assert names == {"SHA256SUMS"}
    assert [path.name for path in tiny_export.parent.iterdir()] == ["onnx"]


def test_the_names_of_all_that_an_export_writes_are_known_before(tiny_export: Path) -> None:
    files = read_record(tiny_export / "SHA256SUMS")
    assert len(files) > 8
    assert set(files) <= exporting.KIND.owned


def test_parity_json_says_what_was_measured(tiny_export: Path, tiny_run: Path) -> None:
    report = json.loads((tiny_export / "parity.json").read_text())
    rows = len(read_held_out(tiny_run / "eval.jsonl"))
    assert report["passed"] is True
    fp32, int8 = report["fp32"]["parity"], report["int8"]["parity"]
    assert [result["batch_size"] for result in fp32] == [32, 1]
    assert all(result["texts"] == rows and result["max_abs_logit_diff"] <= 1e-4 for result in fp32)
    # One half chose, the other reports.
    assert report["search"]["texts"] == rows - rows // 2
    assert all(result["texts"] == rows // 2 and result["label_agreement"] >= 0.995 for result in int8)
    assert report["int8"]["batch_invariance"]["flips"] == 0
    assert len(report["int8"]["prob_diffs"]) == rows // 2
    assert {one["verdict"] for one in report["int8"]["stress"]} == {"passes"}
    assert all(0 < one["texts"] <= rows // 2 for one in report["int8"]["stress"])
    assert [one["kind"] for one in report["search"]["candidates"][0]["stress"]] == [
        one["kind"] for one in report["int8"]["stress"]
    ]
    clipping = report["int8"]["clipping"]
    kinds = ["held_out", *(one["kind"] for one in report["int8"]["stress"])]
    assert all(list(shares) == kinds for shares in (clipping["total"], *clipping["activations"].values()))
    assert 0 <= max(clipping["total"].values()) < 0.01
    assert report["int8"]["near_boundary"]["flips"] == 0
    cascade = report["int8"]["near_boundary"]["cascade"]
    assert (cascade["texts"], cascade["flips"], cascade["label_agreement"]) == (rows // 2, 0, 1.0)
    for page in ("README.md", "parity.html"):
        assert "with --fallback model.onnx" in (tiny_export / page).read_text()
    assert report["fusion"]["found"]["Attention"] == report["fusion"]["expected"]["Attention"] == 2
    assert report["search"]["chosen"] == report["int8"]["quantization"]["name"]
    assert report["environment"]["versions"]["onnxruntime"]
    assert report["size_bytes"]["model_quantized.onnx"] == (tiny_export / "model_quantized.onnx").stat().st_size


def test_other_kinds_of_text_count_in_what_is_near_the_boundary(tiny_run: Path, tiny_export: Path) -> None:
    reference = Reference(tiny_run / "checkpoint")
    held_out = read_held_out(tiny_run / "eval.jsonl")
    predictor = Predictor(tiny_export / "model_quantized.onnx")
    every = ReferenceSet(held_out=held_out, logits=reference.logits(held_out.texts), manifest=predictor.manifest)
    choosing, reporting = every.split()
    logits = predictor.logits(choosing.held_out.texts, batch_size=32)
    held = margin_error(logits, choosing.logits, predictor.manifest)
    _, other = measure_kinds(predictor.path, stress_set(reference, reporting), Gate())
    assert held and other
    assert predictor.manifest.margin_error == pytest.approx(max(held, other), rel=1e-3)
    assert other > held, "this model changes more on other kinds of text"


def test_the_card_carries_the_figures(tiny_export: Path) -> None:
    card = (tiny_export / "README.md").read_text()
    report = json.loads((tiny_export / "parity.json").read_text())
    assert f"{report['fp32']['parity'][0]['max_abs_logit_diff']:.2g}" in card
    assert "ftx predict --onnx model_quantized.onnx" in card
    assert "negative, positive" in card
    page = (tiny_export / "parity.html").read_text()
    for one in report["int8"]["stress"]:
        kind = one["kind"].replace("_", " ")
        assert f"| {kind} | {one['texts']} | {one['label_agreement']:.4f} |" in card
        assert f'<td class="name">{kind}' in page


def test_the_manifest_carries_figures_and_probes(tiny_export: Path) -> None:
    fp32 = Predictor(tiny_export / "model.onnx").manifest
    int8 = Predictor(tiny_export / "model_quantized.onnx").manifest
    assert (fp32.quantization.kind, int8.quantization.kind) == ("none", "static")
    assert int8.quantization.safe_on
    assert int8.quantization.gate["min_agreement"] == 0.995
    assert int8.max_length == 32
    assert set(int8.parity) == {"batch_1", "batch_32", "batch_invariance", "margin_error", "stress"}
    assert {"joined_2", "few_words", "typos"} < set(int8.parity["stress"])
    assert int8.quantization.gate["min_stress_agreement"] == 0.99
    assert int8.margin_error
    assert (fp32.margin_error, set(fp32.parity)) == (None, {"batch_1", "batch_32", "batch_invariance"})
    assert fp32.metrics["accuracy"] >= 0.9
    np.testing.assert_allclose(
        [probe.logits for probe in fp32.probes], [probe.reference for probe in fp32.probes], atol=1e-4
    )


def test_int8_weights_are_in_the_graph(tiny_export: Path) -> None:
    kinds = {node.op_type for node in onnx.load(str(tiny_export / "model_quantized.onnx")).graph.node}
    assert {"MatMulIntegerToFloat", "FusedMatMul"} <= kinds
    assert {"Attention", "QAttention", "MatMul"}.isdisjoint(kinds)
    assert "MatMulIntegerToFloat" not in {
        node.op_type for node in onnx.load(str(tiny_export / "model.onnx")).graph.node
    }


def test_optimum_and_transformers_read_the_folder(tiny_export: Path) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    texts = ["The movie was great!", "The plot was awful!"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_export)
    for name in ("model.onnx", "model_quantized.onnx"):
        model = ORTModelForSequenceClassification.from_pretrained(tiny_export, file_name=name)
        answers = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(texts)
        assert [answer["label"] for answer in answers] == ["positive", "negative"]
        found = model(**tokenizer(texts[0], return_tensors="np")).logits
        np.testing.assert_allclose(found, Predictor(tiny_export / name).logits(texts[:1]), atol=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "model_quantized.onnx"])
def test_a_file_passes_against_its_checkpoint(tiny_export: Path, tiny_run: Path, name: str) -> None:
    comparison = compare(tiny_export / name, tiny_run)
    assert comparison.passed
    assert json.loads(json.dumps(comparison.to_dict()))["proof"]["parity"][0]["texts"] == 24
    assert compare(tiny_export / name, tiny_run / "checkpoint", data=tiny_run / "eval.jsonl").passed


def test_other_kinds_of_text_are_compared_when_asked(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Was the plot any good?\nAn awful cast, awful.\n")
    int8 = compare(tiny_export / "model_quantized.onnx", tiny_run, stress=True)
    reported = json.loads((tiny_export / "parity.json").read_text())["int8"]["stress"]
    assert json.loads(json.dumps(int8.to_dict()))["stress"] == reported, "as the export reported"
    arguments = ["verify", "--onnx", str(tiny_export / "model.onnx"), "--against", str(tiny_run), "--stress"]
    result = CliRunner().invoke(ftx, [*arguments, str(own), "--json"])
    assert result.exit_code == 0, result.stderr
    fp32 = json.loads(result.stdout)["against"]["stress"]
    assert [one["kind"] for one in fp32] == [*(one["kind"] for one in reported), "given"]
    assert fp32[-1]["texts"] == 2
    assert all(one["label_agreement"] == 1 and one["max_abs_logit_diff"] < 1e-4 for one in fp32)
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("other     ") == len(reported)
    assert CliRunner().invoke(ftx, [*arguments[:3], "--stress"]).exit_code == 2


def test_a_limit_for_other_text_that_nothing_keeps_makes_the_verdict(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(kind: str, logits: Any, *rest: Any) -> KindAgreement:
        found = plain(kind, logits, *rest)
        return replace(found, verdict="near" if kind == "typos" else found.verdict)

    plain = stress.judge_kind
    monkeypatch.setattr(stress, "judge_kind", never)
    report = export(tiny_run, tmp_path / "onnx", quantize="static")
    assert report.reduced
    assert report.reduced.verdict == "near"
    assert "on typos text, required 0.99" in report.to_text()
    assert "on typos text, required 0.99" in (tmp_path / "onnx" / "README.md").read_text()


def test_a_limit_for_other_text_must_be_a_share(tiny_run: Path, tmp_path: Path) -> None:
    for limit in (-0.1, 1.1, float("nan")):
        with pytest.raises(ChoiceError, match="expected a share from 0 to 1"):
            export(tiny_run, tmp_path / "onnx", min_stress_agreement=limit)
    with pytest.raises(ChoiceError, match="--stress goes with a smaller file"):
        export(tiny_run, tmp_path / "onnx", stress=tmp_path / "own.txt", quantize="none")


def shift_bias(model: Path, amount: float) -> None:
    """Make a graph wrong: move the classifier's bias."""
    proto = onnx.load(str(model))
    for tensor in proto.graph.initializer:
        if tensor.name == "classifier.bias":
            moved = numpy_helper.to_array(tensor) + np.array([amount, 0], dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
            break
    else:
        raise AssertionError("no classifier.bias")
    onnx.save(proto, str(model))


def test_a_graph_that_says_something_else_is_not_exported(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(reference: Reference, folder: Path) -> Path:
        model = export_graph(reference, folder)
        shift_bias(model, 2e-4)
        return model

    monkeypatch.setattr(convert, "export_graph", wrong)
    with pytest.raises(ParityError, match=r"max \|Δlogit\| 0\.0002"):
        export(tiny_run, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantize", ["fast", "static"])
def test_when_no_int8_passes_fp32_is_kept_and_status_is_1(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize: str
) -> None:
    plain = making.write_quantized

    def wrong(base: Path, target: Path, scheme: Scheme, fitted: Fitted, **options: bool) -> None:
        plain(base, target, scheme, fitted, **options)
        shift_bias(target, 100)

    for module in (making, ranking):
        monkeypatch.setattr(module, "write_quantized", wrong)
    arguments = ["export", str(tiny_run), "--output", str(tmp_path / "onnx"), "--quantize", quantize]
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 1
    assert "FAILED     none of" in result.stdout, result.stderr
    names = {path.name for path in (tmp_path / "onnx").iterdir()}
    assert "model.onnx" in names
    assert "model_quantized.onnx" not in names
    report = json.loads((tmp_path / "onnx/parity.json").read_text())
    assert report["passed"] is False
    assert report["int8"] is None
    assert report["search"]["chosen"] is None
    tried = [one["name"] for one in report["search"]["candidates"]]
    # All forms: three with outliers in fp32, one with blocks, one with operators in fp32, and every scheme.
    assert len(tried) == (1 if quantize == "static" else 3 + 1 + 1 + len(SCHEMES))
    assert all(name in report["failed"] for name in tried)
    assert Predictor(tmp_path / "onnx")(["The movie was great!"])[0].label == "positive"
    assert "No: none of" in (tmp_path / "onnx/parity.html").read_text()


def test_a_choice_that_fails_on_the_other_texts_is_not_kept(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = exporting.verify_reduced

    def spoilt(path: Path, *rest: Any, **options: Any) -> Reduced:
        """Spoil the file that was chosen, as if it had passed on the texts to choose on by luck alone."""
        shift_bias(path, 100)
        return plain(path, *rest, **options)

    monkeypatch.setattr(exporting, "verify_reduced", spoilt)
    report = export(tiny_run, tmp_path / "onnx", quantize="static")
    assert report.int8
    assert report.int8.verdict == "fails"
    assert len(report.int8.flips) > 3
    assert "failed on the other half of the held-out texts" in report.failed
    assert not (tmp_path / "onnx/model_quantized.onnx").exists()
    assert report.int8.flips[0].found in (tmp_path / "onnx/parity.html").read_text()


def test_an_operator_that_int8_spoils_falls_back(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, victim = making.write_quantized, "/bert/encoder/layer.0/output/dense/MatMul"

    def hurting(base: Path, target: Path, scheme: Scheme, fitted: Fitted, **options: bool) -> None:
        """Quantise, and spoil the scale of one operator's weights, unless it is treated otherwise."""
        plain(base, target, scheme, fitted, **options)
        proto = onnx.load(str(target))
        spoilt = [tensor for tensor in proto.graph.initializer if tensor.name == f"{victim}/weight/scale"]
        if victim not in scheme.fallback_nodes:
            for tensor in spoilt:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * -50, tensor.name))
            onnx.save(proto, str(target))

    for module in (making, ranking):
        monkeypatch.setattr(module, "write_quantized", hurting)
    report = export(tiny_run, tmp_path / "onnx", quantize="fast")
    assert report.int8
    assert report.search
    assert report.search.ranking[0].node == victim
    assert report.search.ranking[0].rms_logit_error > 5 * report.search.ranking[1].rms_logit_error
    assert [one.verdict for one in report.search.candidates] == ["fails", "not enough text"]
    assert "required 0.995" in report.search.candidates[0].missed[0]
    assert report.int8.quantization.fallback_nodes == (victim,)
    assert report.search.chosen == "static-outliers-x1"


def test_a_form_that_fails_on_the_other_texts_gives_way_to_the_next(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = exporting.verify_reduced

    def spoilt(path: Path, quantization: Quantization, **options: Any) -> Reduced:
        if quantization.name == "static":
            shift_bias(path, 100)
        return plain(path, quantization, **options)

    monkeypatch.setattr(exporting, "verify_reduced", spoilt)
    report = export(tiny_run, tmp_path / "onnx", search_budget=0)
    assert report.search and report.int8
    assert report.search.rejected == ["static"]
    assert report.search.chosen == report.int8.quantization.name == "static-outliers-x1"
    assert not report.failed
    assert "rejected   failed on the other half of the held-out texts: static" in report.to_text()
    assert "static failed on the other half of the held-out texts" in (tmp_path / "onnx/parity.html").read_text()


def test_the_search_times_what_passes_and_takes_the_fastest(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "MAX_ROUNDS", 3)
    report = export(tiny_run, tmp_path / "onnx", search_budget=10**6)
    assert report.search
    by_name = {one.name: one for one in report.search.candidates}
    assert {"Optimum avx512_vnni", "fp32", "fp32, optimised graph", "static"} <= set(by_name)
    assert report.search.baseline == "Optimum avx512_vnni"
    assert any(one.on_front for one in by_name.values())
    # On so small a model fp32 may well be the fastest; either answer is a choice, neither a failure.
    assert report.search.chosen in by_name
    assert not report.failed
    kept = by_name[report.search.chosen].kind == "int8"
    assert (tmp_path / "onnx/model_quantized.onnx").exists() is kept
    page = (tmp_path / "onnx/parity.html").read_text()
    assert page.count("<svg") >= 2
    assert "with the baseline, <b>Optimum avx512_vnni</b>" in page
    assert ("fp32 is as fast here" in report.to_text()) is not kept


def test_without_a_budget_the_first_form_that_passes_is_taken_and_the_page_says_that_nothing_was_timed(
    tiny_run: Path, tmp_path: Path
) -> None:
    report = export(tiny_run, tmp_path / "onnx", search_budget=0)
    assert report.search and report.int8
    assert [one.name for one in report.search.candidates] == ["static"]
    assert report.int8.verdict == "not enough text"
    page = (tmp_path / "onnx/parity.html").read_text()
    assert "Nothing was timed" in page
    assert "the first candidate that keeps the limits" in page


def test_none_makes_fp32_alone_and_is_no_failure(tiny_run: Path, tmp_path: Path) -> None:
    report = export(tiny_run, tmp_path / "onnx", quantize="none")
    assert (report.int8, report.search, report.failed) == (None, None, "")
    assert "Use model.onnx (fp32)" in (tmp_path / "onnx/parity.html").read_text()
    assert not (tmp_path / "onnx/model_quantized.onnx").exists()


def test_dynamic_is_the_best_dynamic_scheme_and_depends_on_no_batch(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    report = export(tiny_run, folder, quantize="dynamic")
    assert report.int8
    found = Predictor(folder).manifest.quantization
    assert (found.name, found.kind, found.activations) == ("dynamic-per-token", "dynamic", "per-token")
    assert found.calibrated_tokens is None
    written = json.loads((folder / "parity.json").read_text())["int8"]
    assert written["quantization"]["activations"] == "per-token"
    assert written["batch_invariance"]["flips"] == 0
    card = (folder / "README.md").read_text()
    assert "none is clipped, whatever the text" in card
    assert "calibrated on" not in card
    texts = ["The movie was great!", "The plot was awful! " * 3, "a"]
    invariant = Predictor(folder, invariant=True)
    assert not invariant.alone
    alone = np.concatenate([invariant.logits([text]) for text in texts])
    assert np.array_equal(invariant.logits([*texts, *texts])[:3], alone)


@pytest.mark.parametrize(("target", "safe"), [("any", True), ("avx2", True), ("arm64", False), ("vnni", False)])
def test_a_target_decides_where_weights_are_safe(tiny_run: Path, tmp_path: Path, target: str, safe: bool) -> None:
    report = export(tiny_run, tmp_path / "onnx", quantize="static", target=target)
    assert report.int8
    assert report.int8.quantization.target == target
    assert ("avx2" in (report.int8.quantization.safe_on or ())) is safe
    assert (report.int8.quantization.safe_setting is None) is safe


@pytest.mark.parametrize(("target", "preset", "safe"), [("vnni", "avx512_vnni", False), ("any", "avx2", True)])
def test_a_preset_of_optimum_is_gated_sealed_and_run_like_any_other_form(
    tiny_run: Path, tmp_path: Path, target: str, preset: str, safe: bool
) -> None:
    folder = tmp_path / "onnx"
    arguments = ["export", str(tiny_run), "--output", str(folder), "--quantize", "optimum", "--target", target]
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads((folder / "parity.json").read_text())
    [tried] = report["search"]["candidates"]
    assert (tried["name"], tried["kind"], report["search"]["choice"]) == ("optimum", "int8", "requested by name")
    assert isinstance(tried["batch_flips"], int), "its answers depend on the batch, so both are judged"
    assert report["int8"]["stress"]
    optimum_preset(folder, tmp_path / "optimum.onnx", preset)
    predictor = Predictor(folder, invariant=True)
    assert predictor.path.name == "model_quantized.onnx"
    quantization = predictor.manifest.quantization
    assert (quantization.kind, quantization.name, quantization.target) == ("dynamic", "optimum", target)
    assert f"Optimum's preset {preset}" in quantization.scheme
    assert ("avx2" in (quantization.safe_on or ())) is safe
    assert predictor.alone, "each text runs alone where the batch would change its answer"
    texts = ["The movie was great!", "The plot was awful, and long. " * 5]
    theirs = open_session(tmp_path / "optimum.onnx")
    for text, logits in zip(texts, predictor.logits(texts), strict=True):
        inputs = predictor.tokenizer.encode(text)
        batch = {
            "input_ids": [inputs.ids], "attention_mask": [inputs.attention_mask], "token_type_ids": [inputs.type_ids]
        }  # fmt: skip
        expected = theirs.run(None, {name: np.array(values, dtype=np.int64) for name, values in batch.items()})[0][0]
        np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert verify(folder).passed
    assert compare(folder, tiny_run).passed
    card, inspected = (folder / "README.md").read_text(), CliRunner().invoke(ftx, ["inspect", "--onnx", str(folder)])
    assert "Activations are scaled over the whole batch" in card
    assert f"Optimum's preset {preset}" in card and f"Optimum's preset {preset}" in inspected.stdout


def test_half_precision_for_a_gpu_passes_the_same_gate(tiny_run: Path, tmp_path: Path) -> None:
    report = export(tiny_run, tmp_path / "onnx", device="cuda")
    assert report.fp16
    assert report.fp16.verdict == "not enough text"
    assert report.fp16.missed == []
    model = onnx.load(str(tmp_path / "onnx/model_fp16.onnx"))
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    predictor = Predictor(tmp_path / "onnx")
    assert predictor.path.name == "model_fp16.onnx"
    assert predictor.manifest.quantization.kind == "fp16"
    texts = ["The movie was great!", "The plot was awful!"]
    np.testing.assert_allclose(
        predictor.logits(texts), Predictor(tmp_path / "onnx/model.onnx").logits(texts), atol=0.02
    )
    assert compare(tmp_path / "onnx/model_fp16.onnx", tiny_run).passed
    assert report.size_bytes["model_fp16.onnx"] < report.size_bytes["model.onnx"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"quantize": "int3"}, "--quantize int3: expected one of auto, fast, none, static"),
        ({"target": "sparc"}, "--target sparc: expected one of vnni"),
        ({"device": "tpu"}, "--device tpu: expected one of cpu, cuda"),
        ({"min_agreement": 99.5}, "expected a share from 0.5 to 1, like 0.995"),
    ],
)
def test_what_is_no_choice_is_wrong_usage(tiny_run: Path, tmp_path: Path, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ChoiceError, match=message):
        export(tiny_run, tmp_path / "onnx", **choice)
    [(name, value)] = choice.items()
    option = f"--{name.replace('_', '-')}"
    result = CliRunner().invoke(ftx, ["export", str(tiny_run), "--output", str(tmp_path / "onnx"), option, str(value)])
    assert result.exit_code == 2
    said = "99.5 is not in the range 0.5<=x<=1" if name == "min_agreement" else f"{value!r} is not one of "
    assert said in result.stderr
    assert not (tmp_path / "onnx").exists()


def test_content_is_not_overwritten_unless_asked(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/mine.txt").write_text("x")
    with pytest.raises(OutputError, match="--overwrite"):
        export(tiny_run, tmp_path / "onnx")
    export(tiny_run, tmp_path / "onnx", overwrite=True, quantize="none")
    assert (tmp_path / "onnx/mine.txt").read_text() == "x"
    assert (tmp_path / "onnx/model.onnx").is_file()
    (tmp_path / "onnx/README.md").write_text("a card of my own")
    with pytest.raises(OutputError, match=r"holds README\.md, which is not ftx's, or was changed since: move it away"):
        export(tiny_run, tmp_path / "onnx", overwrite=True)
    assert (tmp_path / "onnx/README.md").read_text() == "a card of my own"


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_other_heads_export_and_pass(tiny_model: Callable[[str], Path], tmp_path: Path, problem_type: str) -> None:
    texts = [
        f"The {noun} was {word}" for noun in ("movie", "plot", "cast") for word in ("great", "bad", "fine", "dull")
    ]
    reference = Reference(tiny_model(problem_type))
    labels: list[list[str] | float] = [
        float(row[0]) if problem_type == "regression" else [reference.id2label[c] for c in np.flatnonzero(row > 0)]
        for row in reference.logits(texts)
    ]
    data = tmp_path / "data.jsonl"
    write_held_out(data, zip(texts, labels, strict=True))
    report = export(tiny_model(problem_type), tmp_path / "onnx", data=data, quantize="fast", few=True)
    assert report.fp32.parity[0].label_agreement == 1
    assert report.fp32.parity[0].accuracy == (None if problem_type == "regression" else 1)
    predictor = Predictor(tmp_path / "onnx/model.onnx")
    np.testing.assert_allclose(predictor.logits(texts), reference.logits(texts), atol=1e-4)
    pages = [(tmp_path / "onnx" / name).read_text() for name in ("parity.html", "README.md")]
    for said in (*pages, report.to_text(), *compare(tmp_path / "onnx", tiny_model(problem_type), data=data).lines()):
        labels_spoken_of = [word for word in ("label agreement", "flips", "|Δp|", "Δlogit", "ccuracy") if word in said]
        assert not labels_spoken_of or problem_type != "regression", (labels_spoken_of, said)
    if problem_type == "regression":
        values = report.fp32.parity[0].values
        assert values and values.correlation == pytest.approx(1)
        assert values.mae is not None and values.mae <= 1e-5
        assert all("correlation" in page and "MAE" in page for page in pages)


def test_held_out_text_with_other_labels_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    write_held_out(tmp_path / "data.jsonl", [("text", "neutral")])
    with pytest.raises(DataError, match="labels neutral; the model has negative, positive"):
        export(tiny_run, tmp_path / "onnx", data=tmp_path / "data.jsonl", few=True)
    assert not (tmp_path / "onnx").exists()


def test_another_models_file_fails_against_a_checkpoint(
    tiny_export: Path, tiny_run: Path, tiny_model: Callable[[str], Path]
) -> None:
    untrained = tiny_model("single_label_classification")
    comparison = compare(tiny_export / "model.onnx", untrained, data=tiny_run / "eval.jsonl")
    assert not comparison.passed


def test_a_permuted_label_list_is_caught(tiny_export: Path, tiny_run: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(find_checkpoint(tiny_run), tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    config["id2label"] = {"0": "positive", "1": "negative"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ParityError, match="not the same model"):
        compare(tiny_export, checkpoint, data=tiny_run / "eval.jsonl")
