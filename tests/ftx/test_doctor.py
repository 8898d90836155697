from __future__ import annotations

import json
import subprocess
import sys

from ftx.doctor import diagnose


def test_the_report_is_json_and_says_what_is_missing() -> None:
    report = diagnose()
    assert json.loads(json.dumps(report)) == report
    assert report["extras"]["ray"] in (True, False)
    assert report["versions"]["ftx-toolkit"]


def test_a_machine_without_onnxruntime_is_diagnosed_too() -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None
from ftx.doctor import diagnose
print(diagnose()["onnxruntime"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "{'providers': []}"
