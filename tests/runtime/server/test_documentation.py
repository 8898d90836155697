"""What the documentation of the server shows is so: its requests, its code, its metrics and its reasons."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.runtime.server.serving import WAIT_SEC, Running

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
CURL = re.findall(r"curl -s [^\n]*?'[^']*'", PAGE.replace("\\\n", " "), re.DOTALL)
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_a_request_is_shown_for_each_dialect(tiny: Running) -> None:
    assert tiny.name == "model"
    for command in CURL:
        program, silent, url, data, body = shlex.split(command)
        assert (program, silent, data) == ("curl", "-s", "-d")
        with httpx.Client(timeout=WAIT_SEC) as client:
            # curl's own type of content, which is no JSON's.
            kind = {"content-type": "application/x-www-form-urlencoded"}
            response = client.post(f"http://{url}".replace("localhost:8080", f"127.0.0.1:{tiny.port}"),
                                   content=body, headers=kind)  # fmt: skip
        assert response.status_code == 200, command
    paths = {shlex.split(command)[2].removeprefix("localhost:8080") for command in CURL}
    assert paths == {"/predict", "/", "/v1/classify", "/v1/models/model:predict", "/v2/models/model/infer"}


def test_every_metric_is_described(tiny: Running) -> None:
    table = "".join(line for line in section("Metrics").splitlines() if line.startswith("|"))
    named = dict(re.findall(r"`(ftx_\w+)(?:\{([\w,]+)\})?`", table))
    found = {"ftx_log_lines_dropped_total"}  # of the process
    for family in tiny.service.metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(named[name].split(",")), name
        found.add(name)
    assert found == set(named)


def test_every_reason_and_status_is_described() -> None:
    source = (ROOT / "runtime/server/service.py").read_text(encoding="utf-8")
    reasons = set(re.findall(r'shed\.labels\(\s*"([^"]+)"', source))
    assert len(reasons) >= 5 and all(f"`{reason}`" in section("Metrics") for reason in reasons)
    said = set(
        re.findall(r"\b[45]\d\d\b", ",".join(re.findall(r"^\| ([45][\d, ]+) \|", section("Limits"), re.MULTILINE)))
    )
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "runtime/server").rglob("*.py"))
    given = set(re.findall(r"RequestError\(\s*(\d{3})", code))
    assert given - {"499"} == said - {"431"}  # 499 reaches nobody; 431 is the protocol's


def test_the_code_is_what_one_writes(tiny_export: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_export / "model.onnx", tmp_path)
    run, mount = SNIPPETS
    assert "ftx.serve(" in run and "Mount(" in mount
    process = subprocess.Popen(
        [sys.executable, "-c", run.replace("8080", "0")], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split(" on ")[1].strip()
        assert httpx.post(f"{url}/predict", json={"texts": ["good"]}, timeout=WAIT_SEC).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SEC) == 0
    finally:
        process.kill()
        process.communicate()
    checked = f"""{mount}
import asyncio, httpx
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://x/classifier") as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post("/predict", json={{"texts": ["good"] * 65}})).status_code == 413
        print((await client.post("/predict", json={{"texts": ["good"]}})).json()[0]["label"])
asyncio.run(ask())
"""
    done = subprocess.run([sys.executable, "-c", checked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() in ("positive", "negative") and not done.stderr, done.stderr
