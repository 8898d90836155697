"""Write the JSON schemas of docs/reference/schemas/: `.venv/bin/python -m tests.schemas`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from ftx.bench import BenchReport
from ftx.export import ExportReport
from ftx.finetune import DistillationReport
from ftx.manifest import Manifest
from ftx.students import StudentSearch

FOLDER = Path(__file__).parents[1] / "docs/reference/schemas"
BOOLEAN, NUMBER, WHOLE = {"type": "boolean"}, {"type": "number"}, {"type": "integer"}
REASON = {"type": ["string", "null"]}
# Of each file its class, and what is written beside the fields of the class.
WRITTEN: dict[str, tuple[type, dict[str, Any]]] = {
    "manifest": (Manifest, {"format_version": WHOLE}),
    "parity": (
        ExportReport,
        {"format_version": WHOLE, "passed": BOOLEAN, "failed": REASON, "fp32_max_abs_logit_diff": NUMBER},
    ),
    "distillation": (DistillationReport, {}),
    "students": (StudentSearch, {"format_version": WHOLE, "failed": BOOLEAN, "verdict": {"type": "string"}}),
    "bench": (BenchReport, {"format_version": WHOLE}),
}


def schema(name: str) -> dict[str, Any]:
    """Make the schema of a file from the types of its class."""
    kind, more = WRITTEN[name]
    (_,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    top = definitions.pop(kind.__name__)
    top["properties"] = {**more, **top["properties"]}
    for one in (top, *definitions.values()):
        one["description"] = inspect.cleandoc(one.get("description", ""))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": definitions}


def text(name: str) -> str:
    return json.dumps(schema(name), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in WRITTEN:
        (FOLDER / f"{name}.schema.json").write_text(text(name), encoding="utf-8")
