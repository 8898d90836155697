from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ftx.export.search import peers as peers_module
from ftx.export.search.forms import Form
from ftx.export.search.peers import optimum_preset, peers
from ftx.runtime.model_file import describe
from ftx.runtime.session import open_session
from ftx.runtime.tokenization import Batch, encode, load_tokenizer, pad

WITHOUT_OPENVINO = "OpenVINO is skipped: install ftx-toolkit[peers]"
# A process of its own: NNCF sends nothing where it sees pytest, and a library may print past sys.stdout.
PROGRAM = """
import os, socket, sys
from pathlib import Path
import numpy as np
from ftx.export.search.peers import peers

def refuse(host, *rest, **options):
    os.write(1, f"asked for {host}".encode())
    raise OSError("no network")

socket.getaddrinfo = refuse
batch = {name: np.ones((2, 5), dtype=np.int64) for name in sys.argv[3:]}
for peer in peers(Path(sys.argv[1]), Path(sys.argv[2]), [batch] * 3, 1):
    print(peer.name, *peer.run(batch).shape)
"""


@pytest.fixture(scope="module")
def batches(tiny_export: Path) -> list[Batch]:
    """Two texts to a batch, of different lengths."""
    manifest, tokenizer_json = describe(tiny_export / "model.onnx")
    tokenizer = load_tokenizer(tokenizer_json, manifest, tiny_export / "model.onnx")
    names = [given.name for given in open_session(tiny_export / "model.onnx").get_inputs()]
    words = ["great", "bad", "lovely", "awful", "superb", "terrible", "fine", "dull"]
    texts = [
        f"The {noun} was {word}!" + " The cast too." * long
        for noun in ("film", "plot")
        for word in words
        for long in (0, 1)
    ]
    encodings = encode(tokenizer, list(texts))
    return [pad(encodings[start : start + 2], manifest, names) for start in range(0, len(encodings), 2)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_answers(found: list[Form], folder: Path, batches: list[Batch]) -> None:
    """Each peer says nearly what fp32 says, and is no smaller than its weights in int8."""
    session = open_session(folder / "model.onnx")
    expected = np.concatenate([session.run(["logits"], batch)[0] for batch in batches])
    for peer in found:
        logits = np.concatenate([peer.run(batch) for batch in batches])
        assert logits.dtype == np.float32
        assert logits.shape == expected.shape
        atol = 1e-4 if "fp32" in peer.name else 0.1 * float(np.ptp(expected))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=atol, err_msg=peer.name)
        assert np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)) >= 0.95, peer.name
        assert peer.size_bytes > 10_000


def test_optimum_answers_by_each_preset_that_differs(
    tiny_export: Path,
    batches: list[Batch],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers_module, "find_spec", lambda module: None)
    before = files(tiny_export)
    found = list(peers(tiny_export, tmp_path, batches, 1))
    # arm64's graph is the one of avx512_vnni, byte for byte.
    assert [peer.name for peer in found] == ["Optimum avx512_vnni", "Optimum avx2"]
    check_answers(found, tiny_export, batches)
    assert files(tiny_export) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["optimum_avx2.onnx", "optimum_avx512_vnni.onnx"]
    assert caplog.messages == [WITHOUT_OPENVINO]
    assert capsys.readouterr() == ("", "")


def test_a_preset_leaves_its_file_alone_in_the_folder(tiny_export: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_export / name).read_bytes())
    before = files(tmp_path)
    optimum_preset(tmp_path, tmp_path / "model_optimum.onnx", "avx2")
    after = files(tmp_path)
    assert len(after.pop("model_optimum.onnx")) < len(after["model.onnx"])
    assert after == before


def test_a_peer_that_cannot_be_made_is_reported_and_skipped(
    tiny_export: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "find_spec", lambda module: None)
    monkeypatch.setattr(peers_module, "PRESETS", ("z80", "avx2"))
    assert [peer.name for peer in peers(tiny_export, tmp_path, [], 1)] == ["Optimum avx2"]
    refused, last = caplog.messages
    assert refused.startswith("Optimum z80 is skipped: ")
    assert last == WITHOUT_OPENVINO


def test_openvino_answers_in_fp32_and_int8(
    tiny_export: Path,
    batches: list[Batch],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino", reason="the extra peers is not installed")
    pytest.importorskip("nncf", reason="the extra peers is not installed")
    monkeypatch.setattr(peers_module, "PRESETS", ())
    before = files(tiny_export)
    found = list(peers(tiny_export, tmp_path, batches, 1))
    assert [peer.name for peer in found] == ["OpenVINO fp32", "OpenVINO int8 (NNCF)"]
    check_answers(found, tiny_export, batches)
    assert files(tiny_export) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_openvino_prints_nothing_and_reports_to_nobody(tiny_export: Path, batches: list[Batch], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra peers is not installed")
    pytest.importorskip("nncf", reason="the extra peers is not installed")
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    told = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_export), str(work), *batches[0]],
        env={**told, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    names = ["Optimum avx512_vnni", "Optimum avx2", "OpenVINO fp32", "OpenVINO int8 (NNCF)"]
    assert (done.stdout, done.stderr) == ("".join(f"{name} 2 2\n" for name in names), "")
    assert not (home / "intel").exists()  # where OpenVINO keeps the number that it gives to a user
