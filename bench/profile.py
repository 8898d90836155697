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

LAYER = re.compile(r"layer[./_]?(\d+)|h\.(\d+)|layers[./_](\d+)", re.IGNORECASE)
SUFFIX = "_kernel_time"
# Operators with a weight matrix as second input, whose product its shape counts.
PRODUCTS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QLinearMatMul", "QGemm", "MatMulNBits",
}  # fmt: skip
# Where the second matrix stands among the inputs.
SECOND = {"QLinearMatMul": 3, "QGemm": 3}


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
        Each node's call: its name, operator, microseconds and shapes of inputs.
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
        for batch in batches:
            session.run(None, batch)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        {
            "name": event["name"].removesuffix(SUFFIX), "op": event["args"]["op_name"], "us": event["dur"],
            "shapes": [next(iter(one.values())) for one in event["args"].get("input_type_shape", [])],
        }
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)
    ]  # fmt: skip


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
    """Count a product's multiply-accumulates from the shapes of its inputs; 0 for other operators."""
    second = SECOND.get(event["op"], 1)
    shapes = event["shapes"]
    if event["op"] not in PRODUCTS or len(shapes) <= second or not shapes[0] or len(shapes[second]) < 2:
        return 0
    left, right = shapes[0], shapes[second]
    # Of the right matrix, the dimension that is not summed over; a transposed one has it in front.
    columns = right[-1] if right[-2] == left[-1] else right[-2]
    return math.prod(left) * int(columns)


def layer_of(event: dict[str, Any]) -> str:
    """Give a node's layer by its name."""
    found = LAYER.search(event["name"])
    return f"layer {next(group for group in found.groups() if group)}" if found else "other"


def int_of(name: str) -> int:
    """Give a layer's number; 0 for the others."""
    return int(name.split()[-1]) if name[-1].isdigit() else 0
