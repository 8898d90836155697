"""Other layouts than BERT's, built from their configurations: fused as far as can be, quantised, proven."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ftx import Predictor
from ftx.export import export
from ftx.export.graph import convert as graph
from ftx.export.graph.fusion import Fusion
from ftx.export.parity.reference import Reference
from ftx.heldout import write_held_out
from ftx.runtime import verify
from tests.conftest import NEGATIVE, NOUNS, POSITIVE, build_tiny

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.1,
}
# By model_type: more of the configuration, what onnxruntime's optimiser makes of two layers, and how many operators of
# the last layer work on the first token only. These are the architectures that README names.
WHOLE = {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2}
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, int], int]] = {
    "bert": ({}, WHOLE, 6),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}, WHOLE, 6),
    "roberta": ({}, WHOLE, 6),
    "xlm-roberta": ({}, WHOLE, 6),
    "electra": ({"embedding_size": 16}, WHOLE, 6),
    "albert": ({"embedding_size": 16}, {"Attention": 1, "SkipLayerNormalization": 4, "FastGelu": 2}, 6),
    "mpnet": ({}, {"SkipLayerNormalization": 5, "BiasGelu": 2}, 6),
    "modernbert": ({"global_attn_every_n_layers": 2, "local_attention": 16}, {"SkipLayerNormalization": 4}, 4),
    "deberta-v2": (
        {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
        },
        {"SkipLayerNormalization": 4, "BiasGelu": 2},
        6,
    ),
}
# Of these the optimiser is known to fuse everything.
WHOLE_LAYOUTS = {name for name, (_, found, _) in LAYOUTS.items() if found == WHOLE}


def build(folder: Path, model_type: str) -> Path:
    """A checkpoint with random weights; the tokenizer is the tiny BERT's."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    build_tiny(folder, "single_label_classification", ["negative", "positive"])
    more = LAYOUTS[model_type][0]
    sizes = {} if model_type == "distilbert" else SIZES
    common = {"vocab_size": 200, "pad_token_id": 0, "max_position_embeddings": 66, "initializer_range": 0.1}
    config = AutoConfig.for_model(model_type, **{**sizes, **common, **more})
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    torch.manual_seed(5)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    if model_type in ("distilbert", "mpnet", "modernbert"):  # they have no token types
        settings = folder / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "attention_mask"]}
        settings.write_text(json.dumps(json.loads(settings.read_text()) | names))
    return folder


def held_out(folder: Path, checkpoint: Path) -> Path:
    """Sentences, labelled by the model itself, that it is not in two minds about."""
    draw = random.Random(2)
    words = [*POSITIVE, *NEGATIVE, *NOUNS, "the", "was", "and", "not"]
    texts = [" ".join(draw.choices(words, k=draw.randint(2, 20))) for _ in range(300)]
    reference = Reference(checkpoint)
    logits = reference.logits(texts)
    margin = np.abs(logits[:, 0] - logits[:, 1])
    rows = np.argsort(-margin)[:200]
    labels = [reference.id2label[int(column)] for column in logits.argmax(axis=1)]
    write_held_out(folder / "data.jsonl", [(texts[row], labels[row]) for row in sorted(rows)])
    return folder / "data.jsonl"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # transformers' DeBERTa
@pytest.mark.parametrize("model_type", LAYOUTS)
def test_a_layout_is_fused_quantised_and_proven(tmp_path: Path, model_type: str) -> None:
    checkpoint = build(tmp_path / "checkpoint", model_type)
    data = held_out(tmp_path, checkpoint)
    report = export(checkpoint, tmp_path / "onnx", data=data, quantize="fast")
    _, expected, first_token_nodes = LAYOUTS[model_type]
    assert {kind: report.fusion.found[kind] for kind in expected} == expected
    assert (report.fusion.expected == expected) == (model_type in WHOLE_LAYOUTS)
    assert not report.fusion.missed
    # The last layer's output projection and feed-forward block work on the first token only.
    assert report.fusion.first_token_nodes == first_token_nodes
    assert not report.failed
    assert report.int8
    assert report.int8.verdict in ("passes", "near")
    assert verify(tmp_path / "onnx/model_quantized.onnx").passed
    texts = ["The movie was great", "not the plot", ""]
    np.testing.assert_allclose(
        Predictor(tmp_path / "onnx/model.onnx").logits(texts), Reference(checkpoint).logits(texts), atol=1e-4
    )
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "onnx/model_quantized.onnx")).graph.node]
    # Query, key and value of each attention that was fused, and three products a layer.
    attentions = expected.get("Attention", 0)
    assert {"Attention", "QAttention"}.isdisjoint(kinds)
    assert kinds.count("MatMulIntegerToFloat") + kinds.count("MatMulNBits") >= 6 + 3 * attentions


def test_an_architecture_the_optimiser_breaks_still_exports(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(plain: Path, target: Path, config: Any) -> Fusion:
        raise ValueError("no such layout\nand more")

    monkeypatch.setattr(graph, "fuse", broken)
    caplog.set_level("INFO", "ftx")
    report = export(tiny_run, tmp_path / "onnx", quantize="fast")
    assert report.fusion.problem == "no such layout"
    assert report.int8
    assert report.int8.verdict == "not enough text"
    assert "NOT optimised, slower than it could be: no such layout" in caplog.text
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "onnx/model_quantized.onnx")).graph.node}
    assert "MatMulIntegerToFloat" in kinds


def test_a_fusion_that_changes_the_answers_is_not_used(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = graph.fuse

    def wrong(source: Path, target: Path, config: Any) -> Fusion:
        fusion = plain(source, target, config)
        model = onnx.load(str(target))
        for node in model.graph.node:
            if node.op_type == "Attention":
                node.attribute[0].i = 2  # heads, where the model has 4
        onnx.save(model, str(target))
        return fusion

    monkeypatch.setattr(graph, "fuse", wrong)
    report = export(tiny_run, tmp_path / "onnx", quantize="static")
    assert "max |Δlogit|" in report.fusion.problem
    assert report.fp32.passes_fp32()


def test_readme_names_these_architectures() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Tested architectures: ([^.]*)\.", readme)
    assert {name.lower() for name in re.split(r", | and ", listed)} == set(LAYOUTS)


def test_a_missed_fusion_is_said() -> None:
    fusion = Fusion(found={"Attention": 1}, expected={"Attention": 2, "BiasGelu": 2}, first_token_nodes=0)
    assert fusion.missed == {"Attention": 1, "BiasGelu": 2}
    assert "MISSED 1 Attention, 2 BiasGelu" in fusion.to_text()
