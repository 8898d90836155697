from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from ftx.errors import ModelError
from ftx.export.quantization import sensitivity
from ftx.export.quantization.scheme import SCHEMES
from ftx.export.quantization.sensitivity import Switched, texts_for, write_switched
from ftx.export.quantization.write import write_quantized
from ftx.runtime.session import open_session
from tests.export.conftest import TEXTS, Graphs

SCHEME = SCHEMES["static"]


def test_all_switches_on_is_int8_and_all_off_is_fp32(graphs: Graphs) -> None:
    int8 = graphs.write(SCHEME, rearrange=False)
    switches = write_switched(graphs.optimised, int8, graphs.folder / "switched.onnx")
    onnx.checker.check_model(str(graphs.folder / "switched.onnx"))
    session = open_session(graphs.folder / "switched.onnx")
    found = {}
    for on, path in ((False, graphs.optimised), (True, int8)):
        positions = {switch: np.array(on) for switch in switches.values()}
        batches = graphs.batches.of(32)
        found[on] = np.concatenate([session.run(None, {**batch, **positions})[0] for batch in batches])
        expected = np.concatenate([open_session(path).run(None, batch)[0] for batch in batches])
        np.testing.assert_allclose(found[on], expected, atol=1e-5)
    assert not np.allclose(found[True], found[False], atol=1e-4)


def test_every_quantised_operator_is_ranked_the_worst_first(graphs: Graphs) -> None:
    ranking = Switched(graphs.optimised, graphs.write(SCHEME, rearrange=False), graphs.batches).rank()
    errors = [entry.rms_logit_error for entry in ranking]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    # Two layers with a fused attention and three MatMuls each; the small vocabulary is not worth int8.
    assert len([entry for entry in ranking if entry.node.startswith("Attention")]) == 2
    assert len([entry for entry in ranking if entry.node.endswith("MatMul")]) == 6
    assert len(ranking) == 8
    assert not (graphs.folder / "switched.onnx").exists()


def test_a_larger_model_is_ranked_on_fewer_texts(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = 2 * (32 * 96 + 32 * 32 + 2 * 32 * 64)  # two layers: query, key and value, the output, the feed-forward
    assert texts_for(graphs.optimised) == 32
    monkeypatch.setattr(sensitivity, "PRODUCTS", 20 * weights)
    assert texts_for(graphs.optimised) == 20
    monkeypatch.setattr(sensitivity, "PRODUCTS", weights)
    assert texts_for(graphs.optimised) == 8
    assert len(Switched(graphs.optimised, graphs.write(SCHEME, rearrange=False), graphs.batches).logits(set())) == 8


def test_a_ranked_operators_error_is_that_of_a_model_with_it_alone_quantised(graphs: Graphs) -> None:
    switched = Switched(graphs.optimised, graphs.write(SCHEME, rearrange=False), graphs.batches, len(TEXTS))
    ranking = switched.rank()
    others = tuple(entry.node for entry in ranking[1:])
    alone = graphs.write(replace(SCHEME, name="alone", fallback_nodes=others))
    logits = [graphs.batches.logits(open_session(path), 16) for path in (alone, graphs.optimised)]
    assert np.sqrt(np.mean((logits[0] - logits[1]) ** 2)) == pytest.approx(ranking[0].rms_logit_error, rel=0.01)


def test_each_operator_left_in_fp32_helps_most_with_those_before_it(graphs: Graphs) -> None:
    switched = Switched(graphs.optimised, graphs.write(SCHEME, rearrange=False), graphs.batches)
    ranking = switched.rank()
    every = {entry.node for entry in ranking}
    chosen = switched.worst_together(ranking, 3, among=len(ranking))
    assert len(set(chosen)) == 3
    for count in range(3):
        before = set(chosen[:count])
        taken = switched.error(every - before - {chosen[count]})
        assert all(taken <= switched.error(every - before - {other}) for other in every - before)
    assert switched.worst_together(ranking, 99) and len(switched.worst_together(ranking, 99)) == len(ranking)


def test_a_graph_with_nothing_quantised_is_said_so(graphs: Graphs) -> None:
    with pytest.raises(ModelError, match="no quantised operator"):
        write_switched(graphs.optimised, graphs.optimised, graphs.folder / "switched.onnx")
    everything = tuple(node.name for node in onnx.load(str(graphs.optimised)).graph.node)
    target = graphs.folder / "none.onnx"
    with pytest.raises(ModelError, match="no operator"):
        write_quantized(graphs.optimised, target, replace(SCHEME, fallback_nodes=everything), graphs.fitted)
    assert not Path(target).exists()
