from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ftx import Predictor, machine
from ftx.cli import ftx
from ftx.errors import OnnxFileError
from ftx.manifest import Manifest, Probe, write_manifest
from ftx.quantization import EXACT_SETTING, Quantization
from ftx.runtime.exact_kernel import NOTICE

EVERYWHERE = list(machine.INSTRUCTION_SETS)
VNNI = ["avx512_vnni", "avx_vnni", "amx_int8", "arm64"]
INT8 = "static int8: weights s8 per channel, activations u8 per tensor"
OLD, NEW, WITH_VNNI, UNTOLD = {"avx2"}, {"avx2", "avx512f"}, {"avx2", "avx512f", "avx512_vnni"}, set[str]()


def cpu(monkeypatch: pytest.MonkeyPatch, flags: set[str], arch: str = "x86_64") -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)


def save(path: Path, quantization: dict[str, Any] | None) -> Path:
    """A classifier that adds up two numbers a word; None: it carries no manifest."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1, "bad": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("ReduceSum", ["words", "axes"], ["logits"], keepdims=0),
        ],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.array([[0, 0], [-1, 1], [1, -1]], np.float32), "table"),
            numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    if quantization is None:
        path.with_name("config.json").write_text('{"id2label": {"0": "negative", "1": "positive"}}')
        path.with_name("tokenizer.json").write_text(tokenizer.to_str())
        return path
    manifest = Manifest(
        problem_type="single_label_classification",
        id2label={0: "negative", 1: "positive"},
        max_length=16,
        input_names=("input_ids",),
        quantization=Quantization.from_dict(quantization),
        probes=(Probe(text="good", logits=(-1.0, 1.0), reference=(-1.0, 1.0)),),
    )
    write_manifest(path, manifest, tokenizer.to_str())
    return path


def setting(predictor: Predictor) -> str | None:
    """What onnxruntime's session was given."""
    try:
        [session] = predictor.graphs._here().sessions.values()
        options = session.get_session_options()
        return str(options.get_session_config_entry(EXACT_SETTING.split("=")[0]))
    except RuntimeError:
        return None


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(ftx, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("flags", "arch", "safe_on"),
    [
        (WITH_VNNI, "x86_64", VNNI),
        ({"avx2", "avx_vnni"}, "AMD64", VNNI),
        (UNTOLD, "arm64", VNNI),
        ({"asimd"}, "aarch64", VNNI),
        (UNTOLD, "ppc64le", VNNI),
        (OLD, "x86_64", EVERYWHERE),
        (NEW, "x86_64", EVERYWHERE),
        ({"sse4_1"}, "x86_64", EVERYWHERE),
        (UNTOLD, "AMD64", EVERYWHERE),
    ],
)
def test_where_no_weight_saturates_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: set[str], arch: str, safe_on: list[str]
) -> None:
    cpu(monkeypatch, flags, arch)
    quantization = {"scheme": INT8, "safe_on": safe_on, "safe_setting": None}
    predictor = Predictor(save(tmp_path / "model.onnx", quantization))
    assert setting(predictor) is None
    assert predictor.notice is None


@pytest.mark.parametrize("flags", [OLD, NEW, UNTOLD])
@pytest.mark.parametrize("written", [{"safe_setting": EXACT_SETTING}, {}], ids=["with the setting", "an old file"])
def test_where_they_could_the_setting_is_set_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: set[str], written: dict[str, str]
) -> None:
    cpu(monkeypatch, flags)
    predictor = Predictor(save(tmp_path / "model.onnx", {"scheme": INT8, "safe_on": VNNI, **written}))
    assert setting(predictor) == "1"
    assert predictor.notice == NOTICE
    assert EXACT_SETTING in NOTICE
    assert predictor(["good"])[0].label == "positive"


@pytest.mark.parametrize("unmended", [None, "session.load_model_format=ORT"])
def test_where_no_known_setting_mends_it_the_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unmended: object
) -> None:
    path = save(tmp_path / "model.onnx", {"scheme": INT8, "safe_on": VNNI, "safe_setting": unmended})
    cpu(monkeypatch, NEW)
    with pytest.raises(
        OnnxFileError, match="saturate on this CPU, which reports avx2, avx512; expected one of avx512_vnni"
    ):
        Predictor(path)
    result = run("predict", "--onnx", path, "good")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "ftx export --target avx2, or use model.onnx" in result.stderr
    cpu(monkeypatch, WITH_VNNI)
    assert Predictor(path).notice is None


@pytest.mark.parametrize(
    "quantization",
    [{"scheme": "none: fp32", "safe_on": ["any"]}, {"scheme": "none: fp32"}, {"scheme": INT8, "safe_on": ["any"]}],
)
def test_fp32_is_safe_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quantization: dict[str, Any]) -> None:
    cpu(monkeypatch, OLD)
    predictor = Predictor(save(tmp_path / "model.onnx", quantization))
    assert setting(predictor) is None
    assert predictor.notice is None


@pytest.mark.parametrize("quantization", [None, {"scheme": INT8}])
@pytest.mark.parametrize(("flags", "found"), [(OLD, "1"), (WITH_VNNI, None)])
def test_a_file_that_does_not_say_is_run_exactly(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    quantization: dict[str, Any] | None,
    flags: set[str],
    found: str | None,
) -> None:
    cpu(monkeypatch, flags)
    predictor = Predictor(save(tmp_path / "model.onnx", quantization))
    assert setting(predictor) == found
    assert predictor.notice is None


@pytest.mark.parametrize("command", [["predict", "good", "bad"], ["verify"], ["verify", "--json"]])
def test_the_commands_tell_it_once_on_stderr(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    path = save(tmp_path / "model.onnx", {"scheme": INT8, "safe_on": VNNI, "safe_setting": EXACT_SETTING})
    for flags, told in ((OLD, f"{NOTICE}\n"), (WITH_VNNI, "")):
        cpu(monkeypatch, flags)
        result = run(command[0], "--onnx", path, *command[1:])
        assert result.exit_code == 0
        assert result.stderr == told
        assert "CPU" not in result.stdout or "--json" in command
