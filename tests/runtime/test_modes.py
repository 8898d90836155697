"""One text or thousands, one thread or many, this process or another: the same answers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftx import Predictor
from ftx.errors import ProviderError
from ftx.runtime.batching import plan
from ftx.runtime.session import PROVIDERS, open_session

TEXTS = [f"The movie was {'very ' * (n % 11)}great {n}" for n in range(300)]


@pytest.fixture(scope="module")
def path(tiny_export: Path) -> Path:
    return tiny_export / "model.onnx"


@pytest.mark.parametrize("mode", ["auto", "latency", "throughput"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_mode_gives_the_same_answers(path: Path, mode: str, threads: int) -> None:
    expected = Predictor(path, batch_size=1, intra_op_num_threads=1).logits(TEXTS)
    with Predictor(path, mode=mode, intra_op_num_threads=threads, batch_size=7) as predictor:
        np.testing.assert_allclose(predictor.logits(TEXTS), expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(predictor.logits(TEXTS[:1]), expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mode", "texts", "threads_used"),
    [("auto", 1, {4}), ("auto", 56, {4}), ("auto", 57, {1, 4}), ("latency", 64, {4}), ("throughput", 64, {1})],
)
def test_the_size_of_a_call_decides_how_the_cores_share_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, texts: int, threads_used: set[int]
) -> None:
    opened = []

    def spied(*args: Any, intra_op_num_threads: int, **options: Any) -> Any:
        opened.append(intra_op_num_threads)
        return open_session(*args, intra_op_num_threads=intra_op_num_threads, **options)

    monkeypatch.setattr("ftx.runtime.graphs.open_session", spied)
    predictor = Predictor(path, mode=mode, intra_op_num_threads=4, batch_size=8)
    for _ in range(2):
        predictor.logits(TEXTS[:texts])
    assert set(opened) == threads_used
    assert len(opened) == len(threads_used)  # each is opened once


def test_another_provider_is_opened_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def spied(*args: Any, provider: str, intra_op_num_threads: int, **options: Any) -> Any:
        opened.append((provider, intra_op_num_threads))
        return open_session(*args, intra_op_num_threads=intra_op_num_threads, **options)

    monkeypatch.setattr("ftx.runtime.graphs.open_session", spied)
    predictor = Predictor(path, mode="throughput", provider="cuda", intra_op_num_threads=4, batch_size=8)
    predictor.logits(TEXTS)
    assert opened == [("cuda", 4)]


@given(
    lengths=st.lists(st.integers(0, 6000) | st.integers(1, 9), max_size=200), batch_size=st.integers(1, 40),
    most=st.integers(1, 5000), same_length=st.booleans(),
)  # fmt: skip
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(
    lengths: list[int], batch_size: int, most: int, same_length: bool
) -> None:
    batches = plan(lengths, batch_size, most, same_length=same_length)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, tokens in zip(batches, longest, strict=True):
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * tokens <= most
        assert not same_length or {lengths[row] for row in batch} == {tokens}


def test_more_texts_than_are_sorted_together_keep_their_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(path)
    expected = predictor.logits(TEXTS)
    monkeypatch.setattr("ftx.runtime.predictor.SORTED_TEXTS", 7)
    np.testing.assert_allclose(predictor.logits(TEXTS), expected, atol=1e-5)


def test_threads_share_a_predictor_in_both_modes_at_once(path: Path) -> None:
    predictor = Predictor(path, intra_op_num_threads=2, batch_size=8)
    expected = predictor.logits(TEXTS)
    with ThreadPoolExecutor(6) as threads:
        for size, found in threads.map(lambda n: (n, predictor.logits(TEXTS[:n])), [1, 300, 5, 200, 64, 1, 300] * 3):
            np.testing.assert_allclose(found, expected[:size], atol=1e-5)


def test_a_pickled_predictor_opens_its_file_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    predictor = Predictor(path.name, batch_size=5, long_text="window", stride=3, pooling="max")
    pickled = pickle.dumps(predictor)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    texts = [*TEXTS[:5], "great " * 100]
    np.testing.assert_array_equal(again.predict_proba(texts), predictor.predict_proba(texts))
    assert again(texts)[-1].windows == predictor(texts)[-1].windows > 1


def ask(predictor: Predictor, texts: list[str], results: Any) -> None:
    results.put(predictor.logits(texts))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_predictor_works_after_a_fork(path: Path) -> None:
    predictor = Predictor(path, intra_op_num_threads=2, batch_size=8)
    expected = predictor.logits(TEXTS)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    for size in (1, 300):
        child = context.Process(target=ask, args=(predictor, TEXTS[:size], results))
        child.start()
        np.testing.assert_allclose(results.get(timeout=600), expected[:size], atol=1e-5)
        child.join(600)
        assert child.exitcode == 0
    np.testing.assert_array_equal(predictor.logits(TEXTS[:8]), predictor.logits(TEXTS[:8]))


def test_a_closed_predictor_says_so(path: Path) -> None:
    with Predictor(path) as predictor:
        assert len(predictor(TEXTS[:2])) == 2
    with pytest.raises(ValueError, match="closed"):
        predictor(TEXTS[:2])
    predictor.close()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mode": "fast"}, "mode 'fast', expected one of auto, latency, throughput"),
        ({"long_text": "cut"}, "long_text 'cut', expected one of truncate, window"),
        ({"pooling": "sum"}, "pooling 'sum', expected one of mean, max"),
        ({"intra_op_num_threads": 0}, "intra_op_num_threads 0, expected a whole number from 1 to"),
        ({"long_text": "window", "stride": 30}, "stride 30, expected from 0 to 29"),
        ({"long_text": "window", "stride": -1}, "stride -1"),
    ],
)
def test_settings_are_checked_at_the_door(path: Path, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(path, **setting)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_a_provider_that_is_not_there_is_one_clear_line(path: Path, provider: str) -> None:
    import onnxruntime

    if PROVIDERS[provider][0] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    with pytest.raises(ProviderError, match=rf"provider {provider}: this onnxruntime has cpu.*install"):
        Predictor(path, provider=provider)


def test_an_unknown_provider_is_refused(path: Path) -> None:
    with pytest.raises(ProviderError, match="provider tpu: expected one of cpu, cuda"):
        Predictor(path, provider="tpu")


def test_another_provider_never_takes_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where onnxruntime-gpu is installed and there is no driver: onnxruntime only logs it, and takes the CPU."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )

    class Logging(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, options: Any, providers: list[str]) -> None:
            super().__init__(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", Logging)
    with pytest.raises(ProviderError, match=r"cuda is installed and does not start.*CPUExecutionProvider"):
        Predictor(path, provider="cuda")
