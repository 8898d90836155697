"""What the light commands import, seen in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "datasets", "optimum", "evaluate", "accelerate", "sklearn", "onnx", "matplotlib"}

SPY = """
import json, sys
try:
    import ftx.__main__
    sys.argv = ["ftx", *json.loads(sys.argv[1])]
    ftx.__main__.main()
except SystemExit as stop:
    assert not stop.code, stop.code
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def modules(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SPY, json.dumps(arguments)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    ["", "train", "distill", "evaluate", "export", "verify", "predict", "serve", "bench", "inspect", "doctor"],
)
def test_help_loads_nothing_heavy(command: str) -> None:
    loaded = modules(*command.split(), "--help")
    assert not loaded & (HEAVY | {"onnxruntime", "numpy", "tokenizers"})


def test_predict_verify_and_inspect_load_the_runtime_only(tiny_export: Path) -> None:
    for arguments in (
        ("predict", "--onnx", str(tiny_export), "The movie was great!"),
        ("verify", "--onnx", str(tiny_export)),
        ("inspect", "--onnx", str(tiny_export)),
        ("doctor",),
    ):
        loaded = modules(*arguments)
        assert not loaded & HEAVY, arguments
    assert "onnxruntime" in modules("predict", "--onnx", str(tiny_export), "x")


def test_the_library_loads_the_runtime_only() -> None:
    code = "import ftx, sys; ftx.Predictor; ftx.Prediction; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert not set(done.stdout.split()) & HEAVY


def test_evaluating_an_onnx_file_loads_no_pytorch(tiny_export: Path, tmp_path: Path) -> None:
    data = tmp_path / "test.csv"
    data.write_text("text,label\nThe movie was great!,positive\nThe plot was awful!,negative\n")
    loaded = modules("evaluate", "--onnx", str(tiny_export), "--data", str(data))
    assert loaded & HEAVY == {"sklearn"}


def test_evaluating_names_the_extra_that_it_needs(tiny_export: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\nThe movie was great!,positive\n")
    code = (
        "import sys; sys.modules['sklearn'] = None; from ftx.cli import ftx; "
        f"ftx(['evaluate', '--onnx', {str(tiny_export)!r}, '--data', 'test.csv'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "needs sklearn" in done.stderr and "pip install 'ftx-toolkit[evaluate]'" in done.stderr
    assert done.stderr.count("\n") == 1
