"""Time a few steps in bf16 on a CPU against fp32, and compare their gradients.

The timing only chooses between two formats that both train. As a busy machine may choose differently from an idle one,
the result is cached, and the run's recipe.toml records the format, so that a repeated run uses the same one.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import torch
import transformers

from ftx.machine import cache_home, cpu_model
from ftx.output.record import replace_text

__all__ = ["Bf16Trial", "first_batches", "remembered", "try_bf16"]

STEPS = 4  # timed pairs of steps, after one for warmup
SHORTEST_SEC = 1e-9  # a coarse clock may measure no time at all


@dataclass(frozen=True, kw_only=True)
class Bf16Trial:
    """bf16 compared with fp32 on the same batches.

    Attributes:
        step_sec: Seconds of the shortest fp32 step.
        speedup: fp32's time over bf16's, forward and backward: the median of the steps, as a busy machine makes single
            ones several times too slow.
        loss_change: Largest relative change of a batch's loss.
        gradient_cosine: Smallest cosine similarity of the two gradients of a batch, over all weights.
    """

    step_sec: float
    speedup: float
    loss_change: float
    gradient_cosine: float


def try_bf16(model: Any, batches: list[Any]) -> Bf16Trial:
    """Run forward and backward in both formats by turns; weights and random states are left unchanged.

    Args:
        model: The model to be trained, on the CPU.
        batches: Collated batches with labels, of which the first `STEPS` + 1 are used.
    """
    training = model.training
    seconds, speedups, changes, cosines = [], [], [], []
    with torch.random.fork_rng(devices=[]):
        model.eval()  # without dropout, which would differ between the two
        for batch in batches[: STEPS + 1]:
            exact_sec, exact_loss, exact = step(model, batch, bf16=False)
            bf16_sec, bf16_loss, rounded = step(model, batch, bf16=True)
            seconds.append(exact_sec)
            speedups.append(exact_sec / max(bf16_sec, SHORTEST_SEC))
            changes.append(abs(bf16_loss - exact_loss) / max(abs(exact_loss), 1e-12))
            cosines.append(torch.nn.functional.cosine_similarity(exact, rounded, dim=0).item())
    model.train(training)
    return Bf16Trial(
        step_sec=min(seconds),
        speedup=statistics.median(speedups[1:] or speedups),
        loss_change=max(changes),
        gradient_cosine=min(cosines),
    )


def step(model: Any, batch: Any, *, bf16: bool) -> tuple[float, float, torch.Tensor]:
    """Run a step without updating the weights: seconds, loss, and the gradient of all weights as one vector."""
    began = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    loss.backward()
    seconds = time.perf_counter() - began
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    model.zero_grad(set_to_none=True)
    return seconds, loss.item(), gradient


def first_batches(rows: Any, tokenizer: Any, batch_size: int) -> list[Any]:
    """Collate the first batches of a tokenised data set, as many as a trial takes."""
    columns = [name for name in rows.column_names if name in {*tokenizer.model_input_names, "labels"}]
    some = rows.select_columns(columns).select(range(min(len(rows), batch_size * (STEPS + 1))))
    collate = transformers.DataCollatorWithPadding(tokenizer)
    starts = range(0, len(some), batch_size)
    return [collate([some[n] for n in range(start, min(start + batch_size, len(some)))]) for start in starts]


def remembered(model: Any, batch_size: int, trial: Callable[[], Bf16Trial]) -> Bf16Trial:
    """Run a trial once per kind of model on a machine, so that a repeated run uses the same format.

    The result is cached in `bf16_trials.json` in the cache folder; where that can't be written, the trial is run again.

    Args:
        model: Identified by its type and sizes, not by its weights.
        batch_size: Texts per step.
        trial: Runs the trial.
    """
    config = model.config
    sizes = [getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size", "vocab_size")]
    key = json.dumps([cpu_model(), torch.__version__, torch.get_num_threads(), config.model_type, *sizes, batch_size])
    path = cache_home() / "bf16_trials.json"
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, Bf16Trial])
    except (OSError, msgspec.DecodeError, RecursionError):  # not there yet, damaged, or written by another version
        known = {}
    if key in known:
        return known[key]
    found = trial()
    if all(map(math.isfinite, asdict(found).values())):  # else the model itself computes NaN
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, msgspec.json.format(msgspec.json.encode({**known, key: found})).decode())
    return found
