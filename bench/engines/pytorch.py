"""The checkpoint in PyTorch on the CPU: eager, compiled, and with its own dynamic int8; texts sorted by length."""

from __future__ import annotations

from ftx.bench.engine import EngineSpec, Infer

__all__ = ["PROGRAM", "load", "load_compiled", "load_int8"]

PROGRAM = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
torch.set_num_threads(int(sys.argv[2]))
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    print(model(**tokenizer(sys.argv[3], return_tensors="pt")).logits)
"""


def load(spec: EngineSpec) -> Infer:
    """Load it in eager mode, fp32."""
    import torch

    from ftx.export.parity.reference import Reference

    torch.set_num_threads(spec.threads)
    reference = Reference(spec.path)
    return lambda texts, batch_size: reference.logits(texts, batch_size=batch_size)


def load_compiled(spec: EngineSpec) -> Infer:
    """Compile it with `torch.compile`, for any length; the first call compiles."""
    import torch

    from ftx.export.parity.reference import Reference

    torch.set_num_threads(spec.threads)
    reference = Reference(spec.path)
    reference.model.compile(dynamic=True)
    return lambda texts, batch_size: reference.logits(texts, batch_size=batch_size)


def load_int8(spec: EngineSpec) -> Infer:
    """Quantise its linear layers with `torch.ao.quantization.quantize_dynamic`."""
    import torch
    from torch.ao.quantization import quantize_dynamic

    from ftx.export.parity.reference import Reference
    from ftx.export.quiet import quiet

    torch.set_num_threads(spec.threads)
    reference = Reference(spec.path)
    with quiet():
        reference.model = quantize_dynamic(reference.model, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return lambda texts, batch_size: reference.logits(texts, batch_size=batch_size)
