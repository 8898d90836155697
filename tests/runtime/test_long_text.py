from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ftx import Predictor
from ftx.cli import ftx
from ftx.runtime.heads import probabilities
from ftx.runtime.long_text import pool
from ftx.runtime.session import open_session

# The tiny model reads 32 tokens, two of them its own.
LONG = "the movie was great but the ending was awful and the music dull " * 6
SHORT = "The movie was great!"


@pytest.fixture(scope="module")
def path(tiny_export: Path) -> Path:
    return tiny_export / "model.onnx"


def words(path: Path, text: str) -> list[int]:
    """Token ids without the two that the tokenizer adds."""
    tokenizer = Predictor(path).tokenizer
    tokenizer.no_truncation()
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def ask(session: Any, ids: list[int]) -> np.ndarray:
    row = np.array([ids])
    return np.asarray(
        session.run(None, {"input_ids": row, "attention_mask": row * 0 + 1, "token_type_ids": row * 0})[0]
    )


@pytest.mark.parametrize(("stride", "pooling"), [(None, "mean"), (0, "mean"), (10, "max"), (29, "max")])
def test_windows_are_the_parts_that_a_user_would_cut(path: Path, stride: int | None, pooling: str) -> None:
    predictor = Predictor(path, long_text="window", stride=stride, pooling=pooling)
    ids, step = words(path, LONG), 30 - (8 if stride is None else stride)
    starts = [0]
    while starts[-1] + 30 < len(ids):
        starts.append(starts[-1] + step)
    parts = [[2, *ids[start : start + 30], 3] for start in starts]  # [CLS] and [SEP] of the tiny vocabulary
    session = open_session(path)
    rows = probabilities(np.concatenate([ask(session, part) for part in parts]), "single_label_classification")
    expected = rows.mean(axis=0) if pooling == "mean" else rows.max(axis=0) / rows.max(axis=0).sum()
    found = predictor.predict_proba([SHORT, LONG, SHORT])
    np.testing.assert_allclose(found[1], expected, atol=1e-5)
    np.testing.assert_allclose(found[[0, 2]], Predictor(path).predict_proba([SHORT, SHORT]), atol=1e-5)
    prediction = predictor([SHORT, LONG])[1]
    assert (prediction.windows, prediction.pooling, prediction.truncated) == (len(parts), pooling, False)
    assert prediction.to_dict()["windows"] == len(parts)
    assert prediction.score == pytest.approx(expected.max(), abs=1e-5)


def test_what_is_cut_is_said(path: Path) -> None:
    short, long = Predictor(path)([SHORT, LONG])
    assert (short.truncated, long.truncated) == (False, True)
    assert short.to_dict().keys() == {"text", "label", "score", "scores", "margin"}
    assert long.to_dict()["truncated"] is True


def test_a_text_that_just_fits_is_not_cut(path: Path) -> None:
    text = "great " * 30
    for long_text in ("truncate", "window"):
        [just, more] = Predictor(path, long_text=long_text)([text, text + "great"])
        assert not just.truncated and just.windows == 1
        assert more.truncated or more.windows == 2


def test_windows_have_no_logits_of_their_own(path: Path) -> None:
    predictor = Predictor(path, long_text="window")
    np.testing.assert_allclose(predictor.logits([SHORT]), Predictor(path).logits([SHORT]), atol=1e-6)
    with pytest.raises(ValueError, match="use predict_proba"):
        predictor.logits([SHORT, LONG])


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=20),
    pooling=st.sampled_from(["mean", "max"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pooling_is_that_of_each_text_alone(counts: list[int], pooling: str, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(sum(counts), 3)).astype(np.float32)
    rows = probabilities(logits, "single_label_classification")
    found = pool(rows, np.array(counts), pooling, single_label=True)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    start = 0
    for row, count in zip(found, counts, strict=True):
        own = rows[start : start + count]
        expected = own.mean(axis=0) if pooling == "mean" else own.max(axis=0)
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-5)
        start += count
    apart = pool(rows, np.array(counts), "max", single_label=False)
    assert (apart <= 1).all() and apart.shape == found.shape


def test_the_command_line_says_how_many_were_cut(path: Path) -> None:
    cut = CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--json", LONG, SHORT, LONG])
    assert cut.exit_code == 0
    assert cut.stderr == (
        "2 of 3 texts (66.7 %) are longer than 32 tokens and were truncated; --long-text window reads them whole\n"
    )
    assert [json.loads(line).get("truncated") for line in cut.stdout.splitlines()] == [True, None, True]
    arguments = ["--long-text", "window", "--pooling", "max", LONG, SHORT]
    whole = CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--json", *arguments])
    assert whole.stderr == "1 of 2 texts (50.0 %) are longer than 32 tokens and were read in windows (max)\n"
    first, second = map(json.loads, whole.stdout.splitlines())
    assert first["windows"] > 1 and first["pooling"] == "max"
    assert "windows" not in second
    assert CliRunner().invoke(ftx, ["predict", "--onnx", str(path), SHORT]).stderr == ""


def test_a_job_over_a_file_says_how_many_were_read_in_windows(path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(f"{SHORT}\n{LONG}\n{SHORT}\n")
    files = ["--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.jsonl")]
    whole = CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--long-text", "window", *files])
    assert whole.stderr.endswith("0 bad rows, 1 texts (33.3%) too long for the model and read in windows\n")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = Predictor(path, long_text="window")([SHORT, LONG, SHORT])
    assert [row["predicted_windows"] for row in rows] == [one.windows for one in expected]
    assert [row["predicted_truncated"] for row in rows] == [False] * 3
    cut = CliRunner().invoke(ftx, ["predict", "--onnx", str(path), "--overwrite", *files])
    assert cut.stderr.endswith("0 bad rows, 1 texts (33.3%) too long for the model and truncated\n")


def test_strides_that_leave_nothing_new_are_one_clear_line(path: Path) -> None:
    arguments = ["predict", "--onnx", str(path), "--long-text", "window", "--stride", "99", SHORT]
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 2
    assert "stride 99, expected from 0 to 29" in result.stderr
