"""What is asked is checked before, and what is answered before it leaves: nothing is silently wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from ftx import Predictor
from ftx.cli import ftx
from ftx.errors import DataError, OnnxFileError
from ftx.machine import MAX_THREADS
from ftx.quantization import Quantization
from ftx.runtime import PredictSettings, verify
from ftx.runtime.graphs import Graphs
from ftx.runtime.tokenization import explained

Words = Callable[..., Path]
TEXTS = ["good", "bad", "good good bad"]
LABELS = ["positive", "negative", "positive"]


@pytest.fixture
def predictor(words: Words) -> Iterator[Predictor]:
    with Predictor(words()) as predictor:
        yield predictor


def numbered() -> Iterator[str]:
    yield from TEXTS


@pytest.mark.parametrize(
    "texts",
    [
        list(TEXTS),
        tuple(TEXTS),
        iter(TEXTS),
        numbered(),
        (text for text in TEXTS),
        map(str, TEXTS),
        filter(None, TEXTS),
        dict.fromkeys(TEXTS).keys().__iter__(),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        pandas.Series(TEXTS),
        pandas.DataFrame({"text": TEXTS, "more": 1})["text"],
        pandas.Index(TEXTS),
        [np.str_(text) for text in TEXTS],
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_any_sequence_of_texts_is_read_once(predictor: Predictor, texts: Any) -> None:
    predictions = predictor(texts)
    assert [prediction.label for prediction in predictions] == LABELS
    assert [prediction.text for prediction in predictions] == TEXTS
    assert {type(prediction.text) for prediction in predictions} == {str}


def test_probabilities_and_logits_of_an_iterator(predictor: Predictor) -> None:
    assert predictor.logits(iter(TEXTS)).tolist() == [[-1, 1], [1, -1], [-1, 1]]
    assert predictor.predict_proba(numbered()).shape == (3, 2)
    assert predictor(iter([])) == []


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ("good", "one string"),
        (np.str_("good"), "one string"),
        (b"good", "a bytes"),
        (bytearray(b"good"), "a bytearray"),
        ({"good", "bad"}, "a set"),
        (frozenset(TEXTS), "a frozenset"),
        ({"good": "bad"}, "a dict"),
        ({"good": 1}.keys(), "a dict_keys"),
        (pandas.DataFrame({"text": TEXTS}), r"a DataFrame: write predictor\(table\['text'\]\)"),
        (pyarrow.table({"text": TEXTS}), "a Table: write predictor"),
        (pandas.Series([*TEXTS, None]), r"texts\[3\] is (None|nan)"),
        (pandas.Series([*TEXTS, None], dtype=object), r"texts\[3\] is None"),
        (pyarrow.array(TEXTS), r"texts\[0\] is .*StringScalar"),
        (np.array([["a", "b"]]), r"texts\[0\] is array"),
        (np.array("good"), "a ndarray"),
        (np.array([b"good"]), r"texts\[0\] is .*bytes"),
        (None, "a NoneType"),
        (7, "a int"),
        (["good", None], r"texts\[1\] is None \(NoneType\), expected strings"),
        (["good", float("nan")], r"texts\[1\] is nan \(float\)"),
        (["good", 1], r"texts\[1\] is 1"),
        (["good", b"bad"], r"texts\[1\] is b'bad'"),
        ([["good", "bad"]], r"texts\[0\] is \['good', 'bad'\] \(list\)"),
        ([("good", "bad", "good")], r"texts\[0\] is \("),
        ([("good", None)], r"texts\[0\] is \("),
        (["good", ("good", "bad")], r"texts\[1\] is .*one text at a time.*texts\[0\] is of that kind"),
        ([("good", "bad"), "good"], r"texts\[1\] is 'good', expected pairs of texts"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_sequence_of_texts_is_refused(predictor: Predictor, texts: Any, reason: str) -> None:
    for ask in (predictor, predictor.predict_proba, predictor.logits):
        with pytest.raises(TypeError, match=reason) as caught:
            ask(texts)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text_pair", "wrong"), [(True, "good"), (False, ("good", "bad"))])
def test_a_model_that_says_so_reads_one_kind_only(words: Words, text_pair: bool, wrong: Any) -> None:
    with (
        Predictor(words(text_pair=text_pair)) as predictor,
        pytest.raises(TypeError, match=r"texts\[0\].*trained on them"),
    ):
        predictor([wrong])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"batch_size": True}, "batch_size True, expected a whole number, at least 1"),
        ({"batch_size": 2.0}, "batch_size 2.0"),
        ({"batch_size": "2"}, "batch_size '2'"),
        ({"batch_size": float("nan")}, "batch_size nan"),
        ({"intra_op_num_threads": 10**6}, f"intra_op_num_threads 1000000, expected .* from 1 to {MAX_THREADS}"),
        ({"intra_op_num_threads": True}, "intra_op_num_threads True"),
        ({"intra_op_num_threads": 1.5}, r"intra_op_num_threads 1\.5"),
        ({"stride": 1.5}, r"stride 1\.5"),
        ({"stride": True}, "stride True"),
        ({"stride": -1}, "stride -1"),
        ({"stride": 16}, "stride 16, expected from 0 to 15"),
        ({"invariant": "no"}, "invariant 'no', expected one of True, False"),
        ({"invariant": 1}, "invariant 1"),
        ({"spinning": None}, "spinning None"),
        ({"mode": None}, "mode None"),
        ({"pooling": ["mean"]}, "pooling"),
    ],
)
def test_a_setting_of_another_kind_is_refused(words: Words, setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Predictor(words(), **setting)


def test_numbers_of_numpy_are_numbers(words: Words) -> None:
    with Predictor(words(), batch_size=np.int64(3), intra_op_num_threads=np.int32(1)) as predictor:
        assert type(predictor.settings.batch_size) is type(predictor.settings.intra_op_num_threads) is int
        assert [prediction.label for prediction in predictor(TEXTS)] == LABELS


def test_a_call_may_set_its_batch_size(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = Graphs.logits

    def spied(graphs: Graphs, session: Any, batch: Any, manifest: Any) -> Any:
        sizes.append(len(batch["input_ids"]))
        return run(graphs, session, batch, manifest)

    monkeypatch.setattr(Graphs, "logits", spied)
    with Predictor(words(), batch_size=2, mode="latency") as predictor:
        for ask in (predictor, predictor.predict_proba, predictor.logits):
            for size, expected in ((None, [2, 1]), (1, [1, 1, 1]), (np.int64(8), [3])):
                sizes.clear()
                ask(TEXTS, batch_size=size)
                assert sizes == expected
            with pytest.raises(ValueError, match="batch_size 0, expected a whole number, at least 1"):
                ask(TEXTS, batch_size=0)
        with pytest.raises(AttributeError):
            predictor.batch_size = 1  # type: ignore[misc]
    with Predictor(words(quantization=Quantization(safe_on=("any",))), invariant=True) as predictor:
        sizes.clear()
        predictor(TEXTS, batch_size=8)
        assert sizes == [1, 1, 1]


def test_settings_open_the_same_predictor(words: Words) -> None:
    settings = PredictSettings(batch_size=3, intra_op_num_threads=1, long_text="window", stride=2, pooling="max")
    with Predictor.from_settings(words(), settings) as predictor:
        assert predictor.settings == settings
        assert predictor(["good " * 40])[0].pooling == "max"


def test_a_stride_does_nothing_where_texts_are_cut(words: Words) -> None:
    path, text = words(), "good " * 1000
    [found] = Predictor(path, stride=15).tokenizer.encode_batch_fast([text])
    assert len(found.overflowing) == 62  # 984 tokens more, 16 at a time, not one
    assert Predictor(path, stride=15)([text])[0].truncated


def test_pairs_are_not_read_in_windows(words: Words) -> None:
    with pytest.raises(OnnxFileError, match="reads pairs of texts"):
        Predictor(words(text_pair=True), long_text="window")
    with (
        Predictor(words(), long_text="window") as predictor,
        pytest.raises(DataError, match=r"texts\[0\] is a pair"),
    ):
        predictor([("good", "bad")])
    result = CliRunner().invoke(
        ftx, ["predict", "--onnx", str(words(text_pair=True)), "--long-text", "window", "good", "bad"]
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", ["latency", "throughput"])
@pytest.mark.parametrize("word", ["nan", "inf"])
def test_an_answer_that_is_no_number_is_an_error(words: Words, mode: str, word: str) -> None:
    with Predictor(words(), mode=mode, batch_size=2, intra_op_num_threads=2) as predictor:
        texts = [*TEXTS * 4, f"good {word} bad", *TEXTS]
        for ask in (predictor, predictor.predict_proba, predictor.logits):
            with pytest.raises(OnnxFileError, match=rf"gives logits .* for texts\[12\], 'good {word} bad': not finite"):
                ask(texts)
        assert [prediction.label for prediction in predictor(TEXTS)] == LABELS


@pytest.mark.parametrize("head", ["multi_label_classification", "regression"])
def test_every_head_refuses_what_is_no_number(words: Words, head: str) -> None:
    regression = head == "regression"
    path = words(
        problem_type=head,
        id2label={0: "stars"} if regression else {0: "a", 1: "b"},
        table=[row[:1] if regression else row for row in [[0, 0], [1, 1], [1, 1], [np.nan, 1], [np.inf, 1]]],
        output=(TensorProto.FLOAT, ["batch", 1 if regression else 2]),
    )
    with Predictor(path) as predictor, pytest.raises(OnnxFileError, match=r"logits nan.* for texts\[1\], 'nan': not"):
        predictor(["good", "nan"])


def test_the_text_is_named_behind_windows_and_thousands_of_texts(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftx.runtime.predictor.SORTED_TEXTS", 4)
    with Predictor(words(), long_text="window", stride=0) as predictor:
        texts = ["good " * 40, "bad", "good " * 100, "good", "bad", "good " * 50 + "nan", "good"]
        with pytest.raises(OnnxFileError, match=r"for texts\[5\]"):
            predictor(texts)


def test_the_command_line_says_so_in_a_line(words: Words) -> None:
    result = CliRunner().invoke(ftx, ["predict", "--onnx", str(words()), "good", "nan"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and "texts[1]" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("axes", "keepdims", "shape"), [([0], 1, r"\(1, 2\)"), ([0, 1], 0, r"\(\)"), ([1], 1, r"\(3, 1\)")]
)
def test_another_shape_than_a_row_a_text_is_refused(words: Words, axes: list[int], keepdims: int, shape: str) -> None:
    """NumPy would give one row to each text, and one number to each label."""
    nodes = [
        helper.make_node("Constant", [], ["over"], value_ints=axes),
        helper.make_node("ReduceSum", ["sum", "over"], ["less"], keepdims=keepdims),
        # Through a shape that is known when it runs only.
        helper.make_node("Shape", ["less"], ["known_late"]),
        helper.make_node("Reshape", ["less", "known_late"], ["logits"]),
    ]
    path = words(nodes=nodes, output=(TensorProto.FLOAT, None))
    with Predictor(path) as predictor:
        for ask in (predictor, predictor.predict_proba, predictor.logits):
            with pytest.raises(OnnxFileError, match=rf"gives an array of shape {shape} for 3 texts"):
                ask(TEXTS)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT])
def test_logits_of_another_precision_are_taken(words: Words, kind: int) -> None:
    path = words(nodes=[helper.make_node("Cast", ["sum"], ["logits"], to=kind)], output=(kind, ["batch", 2]))
    with Predictor(path) as predictor:
        found = predictor.logits(TEXTS)
        assert found.dtype == np.float32
        assert found.tolist() == [[-1, 1], [1, -1], [-1, 1]]


def test_a_number_that_float32_does_not_hold_is_no_number(words: Words) -> None:
    nodes = [
        helper.make_node("Cast", ["sum"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Constant", [], ["much"], value=helper.make_tensor("m", TensorProto.DOUBLE, [], [1e300])),
        helper.make_node("Mul", ["wide", "much"], ["logits"]),
    ]
    path = words(nodes=nodes, output=(TensorProto.DOUBLE, ["batch", 2]))
    with (
        Predictor(path) as predictor,
        pytest.raises(OnnxFileError, match=r"-inf, inf for texts\[0\], 'good': not finite"),
    ):
        predictor(TEXTS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {
                "nodes": [helper.make_node("Cast", ["sum"], ["logits"], to=TensorProto.INT64)],
                "output": (TensorProto.INT64, ["batch", 2]),
            },
            r"gives logits as tensor\(int64\), expected logits",
        ),
        ({"input_type": TensorProto.INT32}, r"takes input_ids as tensor\(int32\), expected tensor\(int64\)"),
        (
            {
                "nodes": [
                    helper.make_node("Constant", [], ["axis"], value_ints=[1]),
                    helper.make_node("Unsqueeze", ["sum", "axis"], ["logits"]),
                ],
                "output": (TensorProto.FLOAT, ["batch", 1, 2]),
            },
            "gives logits of 3 dimensions, expected 2",
        ),
    ],
    ids=["whole numbers", "int32", "three dimensions"],
)
def test_graphs_of_another_kind_are_refused_when_opened(words: Words, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(OnnxFileError, match=reason):
        Predictor(words(**options))


def test_a_tokenizer_that_fails_is_one_line(words: Words) -> None:
    import json

    path = words(siblings={})
    file = path.with_name("tokenizer.json")
    values = json.loads(file.read_text())
    values["model"]["unk_token"] = "[NONE]"
    file.write_text(json.dumps(values))
    with Predictor(path) as predictor:
        assert predictor(["good"])[0].label == "LABEL_1"
        with pytest.raises(OnnxFileError, match="tokenizer fails on a text") as caught:
            predictor(["unheard of"])
        assert "\n" not in str(caught.value)


def test_a_token_that_the_graph_does_not_know_is_no_reason_to_export_again(words: Words) -> None:
    path = words(siblings={"max_position_embeddings": 99})
    file = path.with_name("tokenizer.json")
    file.write_text(file.read_text().replace('"inf":4', '"inf":9'))
    with (
        Predictor(path) as predictor,
        pytest.raises(OnnxFileError, match=r"failed on 1 texts of 1 tokens: .*up to 99 tokens") as caught,
    ):
        predictor(["inf"])
    assert "export it again" not in str(caught.value)


def test_what_does_not_fit_into_memory_is_no_fault_of_the_file(words: Words) -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[2**24, 2**24]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["all"], keepdims=0),
        helper.make_node("Add", ["sum", "all"], ["logits"]),
    ]
    path = words(nodes=nodes)
    try:
        predictor = Predictor(path)
    except MemoryError as error:  # where onnxruntime works constants out when it loads them
        assert "needs more memory" in str(error)
        return
    with pytest.raises(MemoryError, match="needs more memory than there is for 1 texts of 1 tokens: use a smaller"):
        predictor(["good"])


@pytest.mark.parametrize("reason", ["ThreadPoolBuildError { kind: IOError }", "std::bad_alloc"])
def test_a_tokenizer_without_threads_is_no_fault_of_the_file(reason: str) -> None:
    with pytest.raises(MemoryError, match="memory or threads ran out"), explained("It fails"):
        raise Exception(reason)


class StoppedError(Exception):
    """What a caller's signal handler raises."""


@pytest.mark.parametrize("error", [StoppedError, RuntimeError, TimeoutError])
@pytest.mark.parametrize("where", ["tokenizing", "running", "opening"])
def test_what_a_signal_handler_raises_reaches_the_caller(
    words: Words, monkeypatch: pytest.MonkeyPatch, error: type[Exception], where: str
) -> None:
    import onnxruntime

    def stop(number: int, frame: Any) -> None:
        raise error("stopped by the caller")

    def struck(function: Any) -> Any:
        def call(*args: Any, **values: Any) -> Any:
            signal.raise_signal(signal.SIGUSR1)
            return function(*args, **values)

        return call

    class Struck:
        """A tokenizer during whose work the signal comes."""

        encode_batch_fast = struck(list)

    predictor = Predictor(words())
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        if where == "tokenizing":
            monkeypatch.setattr(predictor, "tokenizer", Struck())
        else:
            name = "run" if where == "running" else "__init__"
            session = onnxruntime.InferenceSession
            monkeypatch.setattr(session, name, struck(getattr(session, name)))
        with pytest.raises(error, match="stopped by the caller"):
            (Predictor(predictor.path) if where == "opening" else predictor)(TEXTS)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_while_texts_are_read_is_one() -> None:
    with pytest.raises(KeyboardInterrupt), explained("It fails"):
        raise KeyboardInterrupt


def test_a_file_that_onnxruntime_can_not_load_is_one_line(words: Words, capfd: pytest.CaptureFixture[str]) -> None:
    """It would try again and tell on standard output, and log."""
    path = words(siblings={})
    whole = path.read_bytes()
    for content in (whole.replace(b"Gather", b"Gathe\xff"), whole.replace(b"ReduceSum", b"ReduceMum"), whole + whole):
        path.write_bytes(content)
        with pytest.raises(OnnxFileError, match="can't load") as caught:
            Predictor(path)
        assert "\n" not in str(caught.value) and "/proc/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_golden_probes_that_are_no_number_do_not_pass(words: Words) -> None:
    from ftx.manifest import Probe

    probe = Probe(text="nan", logits=(1.0, 2.0), reference=(1.0, 2.0))
    with pytest.raises(OnnxFileError, match="not finite"):
        verify(words(probes=(probe,)))
