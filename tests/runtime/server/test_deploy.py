"""The files of `deploy/` say what `ftx serve` understands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ftx.runtime.server import ServeSettings, app
from tests.runtime.conftest import save_words

ROOT = Path(__file__).parents[3]
WAIT_SEC = 120.0  # only ends a hang
DEPLOY = ROOT / "deploy"
YAML_FILES = sorted(DEPLOY.rglob("*.yaml"))


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def dockerfile() -> dict[str, str]:
    """The last line of each instruction of the Dockerfile."""
    lines = [line for line in dockerfile_text().splitlines() if re.match("[A-Z]+ ", line)]
    return {line.split()[0]: line.split(None, 1)[1] for line in lines}


def containers() -> dict[str, Any]:
    deployment, _ = documents("kubernetes/deployment.yaml")
    [service] = documents("kubernetes/inference-service.yaml")
    [its] = deployment["spec"]["template"]["spec"]["containers"]
    [kserve] = service["spec"]["predictor"]["containers"]
    return {"deployment": its, "kserve": kserve}


def arguments() -> dict[str, list[str]]:
    """What each file gives to `ftx serve`."""
    found = {"Dockerfile": json.loads(dockerfile()["CMD"])}
    [compose] = documents("compose.yaml")
    found["compose"] = compose["services"]["ftx"]["command"]
    unit = (DEPLOY / "ftx.service").read_text(encoding="utf-8")
    [command] = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    program, name, *rest = shlex.split(command)
    assert program.endswith("/ftx") and name == "serve"
    found["systemd"] = rest
    return found | {name: container["args"] for name, container in containers().items()}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("served")
    return {getattr(route, "path", "") for route in app(save_words(folder / "model.onnx"), ServeSettings()).routes}


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_every_document_parses_and_is_described(path: Path) -> None:
    assert all(isinstance(one, dict) for one in documents(str(path.relative_to(DEPLOY))))


def test_each_file_is_described() -> None:
    said = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert f"{path.relative_to(DEPLOY)}`" in said, path


@pytest.mark.parametrize("name", ["Dockerfile", "compose", "systemd", "deployment", "kserve"])
def test_each_command_serves_and_writes_nothing(name: str, tmp_path: Path) -> None:
    model = tmp_path / "models"
    model.mkdir()
    save_words(model / "model.onnx")
    given = arguments()[name]
    port = "--port=8080" in given or "--port" in given
    mapped = [
        re.sub(r"^(--onnx=)?/.*", rf"\g<1>{model}", re.sub("^(--port=)?8080$", r"\g<1>0", word)) for word in given
    ]
    mapped = [word.replace("--drain-grace-sec=5", "--drain-grace-sec=0.1") for word in mapped]
    assert sum(str(model) in word for word in mapped) == 1
    command = [sys.executable, "-m", "ftx", "serve", *mapped, *([] if port else ["--port", "0"])]
    environment = os.environ | {"FTX_TOKEN": "secret"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = [process.stderr.readline()]
            assert "serving models on http://" in lines[0], lines[0] + process.stderr.read()
            found = re.findall(r"http://[\d.]+:(\d+)", lines[0])[0]
            with httpx.Client(base_url=f"http://127.0.0.1:{found}", timeout=WAIT_SEC) as client:
                answered = client.post(
                    "/predict", json={"texts": ["good"]}, headers={"authorization": "Bearer secret"}
                ).json()
                assert answered[0]["label"] == "positive"
                if name in containers():
                    for probe in ("readinessProbe", "livenessProbe"):
                        assert client.get(containers()[name][probe]["httpGet"]["path"]).status_code == 200
            if name == "Dockerfile":
                check = [re.sub("8080", found, word) for word in health_command()]
                assert subprocess.run([sys.executable, *check[1:]], check=False, timeout=WAIT_SEC).returncode == 0
            process.terminate()
            lines += process.stderr.readlines()
            assert process.wait(WAIT_SEC) == 0
        finally:
            process.kill()
    if any("json" in word for word in given):
        assert [json.loads(line)["level"] for line in lines] == ["INFO", "INFO"]
    assert list(tmp_path.iterdir()) == [model] and len(list(model.iterdir())) == 1


def health_command() -> list[str]:
    """What the Dockerfile's health check runs."""
    command = re.findall(r"HEALTHCHECK .*CMD (\[.*\])$", dockerfile_text(), re.MULTILINE)
    words = json.loads(command[0])
    assert words[:2] == ["python", "-c"]
    return list(words)


def dockerfile_text() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_ports_and_health_paths_are_those_of_the_server(paths: set[str]) -> None:
    for container in containers().values():
        assert [port["containerPort"] for port in container["ports"]] == [8080]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["path"] in paths
    [checked] = re.findall(r"http://127\.0\.0\.1:8080(/[\w/]+)", dockerfile_text())
    assert checked in paths
    deployment, service = documents("kubernetes/deployment.yaml")
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/path"] in paths
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    grace = [int(re.findall(r"\d+", word)[0]) for word in containers()["deployment"]["args"] if "drain" in word]
    assert len(grace) == 2 and sum(grace) < template["spec"]["terminationGracePeriodSeconds"]


def test_the_autoscaler_looks_at_a_metric_of_the_server() -> None:
    from ftx.runtime.server.metrics import Metrics

    [scaler] = documents("kubernetes/autoscaler.yaml")
    [metric] = scaler["spec"]["metrics"]
    names = {one.name for one in Metrics({}).collect()}
    assert metric["pods"]["metric"]["name"] in names


def test_the_image_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [named] = re.findall(r"'\.\[([\w,]+)\]'", dockerfile_text())
    assert named.split(",") == ["cpu", "serve"] and set(named.split(",")) <= set(extras)
    assert (ROOT / "constraints.txt").is_file()
    assert re.search("^USER 10001$", dockerfile_text(), re.MULTILINE)
