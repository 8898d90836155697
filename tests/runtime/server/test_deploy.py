"""The files of `deploy/` say what `ftx serve` understands."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ftx.cli.serving import serve
from ftx.runtime.server import ServeSettings, app
from tests.runtime.conftest import save_words

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
YAML_FILES = sorted(DEPLOY.rglob("*.yaml"))


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def dockerfile() -> dict[str, str]:
    """The last line of each instruction of the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return {line.split()[0]: line.split(None, 1)[1] for line in text.splitlines() if re.match("[A-Z]+ ", line)}


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
def test_each_command_is_understood(name: str, tmp_path: Path) -> None:
    given = [re.sub(r"^(--onnx=)?/.*", rf"\g<1>{tmp_path}", word) for word in arguments()[name]]
    try:
        with serve.make_context("ftx serve", given) as context:
            assert context.params["onnx"] == tmp_path
            assert context.params["port"] == 8080
            assert name == "systemd" or context.params["host"] == "0.0.0.0"
    except click.ClickException as error:
        pytest.fail(error.format_message())


def test_ports_and_health_paths_are_those_of_the_server(paths: set[str]) -> None:
    for container in containers().values():
        assert [port["containerPort"] for port in container["ports"]] == [8080]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["path"] in paths
    [checked] = re.findall(r"http://127\.0\.0\.1:8080(/[\w/]+)", docker_health())
    assert checked in paths
    deployment, service = documents("kubernetes/deployment.yaml")
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/path"] in paths
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    grace = [int(re.findall(r"\d+", word)[0]) for word in containers()["deployment"]["args"] if "drain" in word]
    assert len(grace) == 2 and sum(grace) < template["spec"]["terminationGracePeriodSeconds"]


def docker_health() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_autoscaler_looks_at_a_metric_of_the_server() -> None:
    from ftx.runtime.server.metrics import Metrics

    [scaler] = documents("kubernetes/autoscaler.yaml")
    [metric] = scaler["spec"]["metrics"]
    names = {one.name for one in Metrics({}).collect()}
    assert metric["pods"]["metric"]["name"] in names


def test_the_image_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [named] = re.findall(r"'\.\[([\w,]+)\]'", docker_health())
    assert named.split(",") == ["cpu", "serve"] and set(named.split(",")) <= set(extras)
    assert (ROOT / "constraints.txt").is_file()
    assert re.search("^USER 10001$", docker_health(), re.MULTILINE)
