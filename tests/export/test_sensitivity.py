from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from ftx import Predictor
from ftx.errors import ModelError
from ftx.export.graph import export_graph
from ftx.export.quantize import write_int8
from ftx.export.reference import Reference
from ftx.export.sensitivity import rank, write_switched
from ftx.runtime.session import open_session
from ftx.runtime.tokenization import encode, load_tokenizer, pad

TEXTS = ["The movie was great!", "The plot was awful, and the cast was poor.", "a", ""]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> tuple[Path, Path]:
    fp32 = export_graph(Reference(tiny_model("single_label_classification")), tmp_path_factory.mktemp("switch"))
    int8 = fp32.with_name("model_quantized.onnx")
    write_int8(fp32, int8, [])
    return fp32, int8


def test_all_switches_on_is_int8_and_all_off_is_fp32(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    fp32, int8 = graphs
    switches = write_switched(fp32, int8, tmp_path / "switched.onnx")
    onnx.checker.check_model(str(tmp_path / "switched.onnx"))
    session = open_session(tmp_path / "switched.onnx")
    for on, path in ((False, fp32), (True, int8)):
        predictor = Predictor(path, batch_size=len(TEXTS))
        tokenizer = load_tokenizer((fp32.parent / "tokenizer.json").read_text(), predictor.manifest, fp32)
        batch = pad(encode(tokenizer, TEXTS), predictor.manifest, predictor._input_names)
        found = session.run(None, {**batch, **{switch: np.array(on) for switch in switches.values()}})[0]
        np.testing.assert_allclose(found, predictor.logits(TEXTS), atol=1e-4)
    assert not np.allclose(Predictor(fp32).logits(TEXTS), Predictor(int8).logits(TEXTS), atol=1e-4)


def test_every_quantised_operator_is_ranked_the_worst_first(graphs: tuple[Path, Path]) -> None:
    ranking = rank(*graphs, TEXTS)
    errors = [entry.rms_logit_error for entry in ranking]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    # Two layers of six MatMuls, and the three embeddings.
    assert len([entry for entry in ranking if entry.node.endswith("MatMul")]) == 12
    assert len([entry for entry in ranking if entry.node.endswith("Gather")]) == 3
    assert not graphs[0].with_name("switched.onnx").exists()


def test_a_ranked_operators_error_is_that_of_a_model_with_it_alone_quantised(graphs: tuple[Path, Path]) -> None:
    fp32, int8 = graphs
    ranking = rank(fp32, int8, TEXTS)
    worst = ranking[0].node
    alone = fp32.with_name("alone.onnx")
    write_int8(fp32, alone, [entry.node for entry in ranking if entry.node != worst])
    batch_size = len(TEXTS)
    difference = Predictor(alone, batch_size=batch_size).logits(TEXTS) - Predictor(fp32).logits(TEXTS)
    alone.unlink()
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(ranking[0].rms_logit_error, rel=0.05)


def test_a_graph_with_nothing_quantised_is_said_so(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no quantised operator"):
        write_switched(graphs[0], graphs[0], tmp_path / "switched.onnx")
