"""The JSON schemas of the documentation are those of the code, and what is written follows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

for needed in ("torch", "msgspec", "optimum"):
    pytest.importorskip(needed, reason="needs every room: install the extra train,export", exc_type=ImportError)
jsonschema = pytest.importorskip("jsonschema")

from ftx.runtime.model_file import describe  # noqa: E402
from tests.schemas import FOLDER, WRITTEN, text  # noqa: E402


def check(name: str, found: Any) -> None:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)


@pytest.mark.parametrize("name", WRITTEN)
def test_schemas_are_as_the_code_has_them(name: str) -> None:
    written = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert written == text(name), "run: .venv/bin/python -m tests.schemas"


@pytest.mark.parametrize("file", ["model.onnx", "model_quantized.onnx"])
def test_a_manifest_follows_its_schema(tiny_export: Path, file: str) -> None:
    manifest, _ = describe(tiny_export / file)
    check("manifest", json.loads(manifest.to_json()))


def test_parity_json_follows_its_schema(tiny_export: Path) -> None:
    found = json.loads((tiny_export / "parity.json").read_text())
    check("parity", found)
    with pytest.raises(jsonschema.ValidationError):
        check("parity", {**found, "fp32": None})
