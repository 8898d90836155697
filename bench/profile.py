"""Where the time goes in an ONNX file: by operator type and by layer, from onnxruntime's profiler."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftx.bench.apart import run_apart
from ftx.text import Text

__all__ = ["OperatorTime", "Profile", "profile"]

LAYER = re.compile(r"layers?[./_](\d+)|^(?:Multi[Hh]ead)?Attention_(\d+)|^(?:Bias|Fast)?Gelu\w*?_(\d+)")
SUFFIX = "_kernel_time"
PRODUCTS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QLinearMatMul", "QGemm", "MatMulNBits",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """What the nodes of one type took, or those of one layer.

    Attributes:
        name: The type, or the layer.
        calls: How often they ran.
        ms: Their time.
        share: As a share of all nodes' time.
        gmac_per_sec: Multiply-accumulates a second, in 10^9, of plain products; None for other operators.
    """

    name: str
    calls: int
    ms: float
    share: float
    gmac_per_sec: float | None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time goes.

    Attributes:
        operators: By type, the longest first.
        layers: In their order; what belongs to none comes last.
    """

    operators: list[OperatorTime]
    layers: list[OperatorTime]


def profile(path: Path, texts: list[Text], threads: int, batch_size: int) -> Profile:
    """Run texts in batches sorted by length, and sum what each node took; in a process of its own."""
    events = run_apart("The profiler", node_events, path, texts, threads, batch_size)
    return Profile(
        operators=sorted(grouped(events, lambda event: str(event["op"])), key=lambda one: -one.ms),
        layers=sorted(grouped(events, layer_of), key=lambda one: (not one.name[-1].isdigit(), int_of(one.name))),
    )


def node_events(path: Path, texts: list[Text], threads: int, batch_size: int) -> list[dict[str, Any]]:
    """Profile a session. Runs in a process of its own.

    Returns:
        Each node's call: its name, operator, microseconds, and the shapes of its first input and of its result.
    """
    import onnxruntime

    from ftx.export.parity.batches import Batches
    from ftx.quantization import EXACT_SETTING
    from ftx.runtime.exact_kernel import needs_exact_kernel
    from ftx.runtime.model_file import describe

    with TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if needs_exact_kernel(describe(path)[0], path):
            options.add_session_config_entry(*EXACT_SETTING.split("="))
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        batches = Batches(texts, path, [node.name for node in session.get_inputs()]).of(batch_size)
        for batch in [*batches, *batches]:
            session.run(None, batch)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)]
    return [
        {
            "name": event["name"].removesuffix(SUFFIX),
            "op": event["args"]["op_name"],
            "us": event["dur"],
            "left": first_shape(event["args"].get("input_type_shape")),
            "result": first_shape(event["args"].get("output_type_shape")),
        }
        for event in nodes[len(nodes) // 2 :]  # the first pass warms up
    ]


def first_shape(shapes: list[dict[str, list[int]]] | None) -> list[int]:
    """Give the first tensor's shape; that of a constant that was packed is missing."""
    return next(iter(shapes[0].values())) if shapes else []


def grouped(events: list[dict[str, Any]], key: Any) -> list[OperatorTime]:
    """Sum events by a key."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    whole = sum(event["us"] for event in events) or 1
    found = []
    for name, some in groups.items():
        took, products = sum(event["us"] for event in some), sum(map(products_of, some))
        found.append(
            OperatorTime(
                name=name, calls=len(some), ms=took / 1000, share=took / whole,
                gmac_per_sec=products / took / 1000 if products and took else None,
            )
        )  # fmt: skip
    return found


def products_of(event: dict[str, Any]) -> int:
    """Count a product's multiply-accumulates: elements of the result by the inner size; 0 for other operators."""
    left = event["left"]
    return math.prod(event["result"]) * int(left[-1]) if event["op"] in PRODUCTS and left else 0


def layer_of(event: dict[str, Any]) -> str:
    """Give a node's layer by its name."""
    found = LAYER.search(event["name"])
    return f"layer {next(group for group in found.groups() if group)}" if found else "other"


def int_of(name: str) -> int:
    """Give a layer's number; 0 for the others."""
    return int(name.split()[-1]) if name[-1].isdigit() else 0
