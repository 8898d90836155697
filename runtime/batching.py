"""Which texts run in one batch, and whether that may change what the model says of them."""

from __future__ import annotations

from ftx.manifest import Manifest
from ftx.quantization import PER_TOKEN

__all__ = ["MAX_BATCH_TOKENS", "MAX_CORE_TOKENS", "depends_on_batch", "plan"]

# Maximum tokens in a batch, padding included. With all cores on one batch it bounds onnxruntime's memory, which grows
# with the largest batch seen. With a batch per core it is what a core's cache holds: batches of 8 to 16 sentences were
# 7 to 9 % faster than batches of 32.
MAX_BATCH_TOKENS, MAX_CORE_TOKENS = 2048, 512


def plan(lengths: list[int], batch_size: int, max_tokens: int, *, same_length: bool = False) -> list[list[int]]:
    """Group rows of similar length into batches, longest first, so that no thread is left with a long one at the end.

    Args:
        lengths: Tokens in each row.
        batch_size: Maximum rows in a batch.
        max_tokens: Maximum tokens in a batch, padding included; a longer row is a batch of its own.
        same_length: Whether all rows of a batch have the same length, so that none is padded.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches, start = [], 0
    while start < len(order):
        longest = lengths[order[start]]
        count = max(1, min(batch_size, max_tokens // max(1, longest)))
        batch = [row for row in order[start : start + count] if not same_length or lengths[row] == longest]
        batches.append(batch)
        start += len(batch)
    return batches


def depends_on_batch(manifest: Manifest) -> bool:
    """Tell whether batch composition may change a text's logits.

    It may not in a file without int8, nor with activation scales that are static or each token's own. Block-wise
    products have a scale per token, too, but are summed in another order in batches of another size.
    """
    quantization = manifest.quantization
    own = quantization.kind in ("none", "fp16", "static") or quantization.activations == PER_TOKEN
    return not own or quantization.fallback == "blockwise"
