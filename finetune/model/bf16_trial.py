"""Find out by a few steps whether a CPU trains faster in bf16, and whether the gradients stay the same.

The clock takes part in a choice here, never in a verdict. Whether the gradients stay the same does not hang on it, and
either format trains; which of them it is may differ between a busy machine and an idle one, so what was found is kept,
the run's recipe.toml names the format that was taken, and a run made again from that takes the same one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ftx.machine import cache_home, cpu_model

__all__ = ["Bf16Trial", "remembered", "try_bf16"]

STEPS = 4  # pairs that are timed, after one that is not
SHORTEST_SEC = 1e-9  # a coarse clock may say that a step took no time at all


@dataclass(frozen=True, kw_only=True)
class Bf16Trial:
    """bf16 against fp32 on the same batches.

    Attributes:
        step_sec: Seconds of the shortest fp32 step.
        speedup: fp32's time over bf16's, forward and backward, in the step where it was least: bf16 must be faster in
            every step, so that a busy machine does not choose another format in the next run.
        loss_change: Largest |difference| of a batch's loss, as a share of it.
        gradient_cosine: Smallest cosine between the two gradients of a batch, over all weights.
    """

    step_sec: float
    speedup: float
    loss_change: float
    gradient_cosine: float


def try_bf16(model: Any, batches: list[Any]) -> Bf16Trial:
    """Run forward and backward in both formats, in turn. Weights and random states stay as they are.

    Args:
        model: The model to be trained, on the CPU.
        batches: Collated batches with labels; `STEPS` + 1 of them are enough.
    """
    training = model.training
    seconds, speedups, changes, cosines = [], [], [], []
    with torch.random.fork_rng(devices=[]):
        model.eval()  # dropout would differ between the two
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
        speedup=min(speedups[1:] or speedups),
        loss_change=max(changes),
        gradient_cosine=min(cosines),
    )


def step(model: Any, batch: Any, *, bf16: bool) -> tuple[float, float, torch.Tensor]:
    """Take one step without moving the weights: seconds, loss and the gradient of all weights in a row."""
    began = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    loss.backward()
    seconds = time.perf_counter() - began
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    model.zero_grad(set_to_none=True)
    return seconds, loss.item(), gradient


def remembered(model: Any, batch_size: int, trial: Callable[[], Bf16Trial]) -> Bf16Trial:
    """Try once for each kind of model on a machine, so that a repeat of a run takes the format that the run took.

    What was found is kept in `bf16_trials.json` in the cache folder; where that can't be written, it is found again.

    Args:
        model: Its kind and sizes count, its weights do not.
        batch_size: Texts a step.
        trial: Finds out.
    """
    config = model.config
    sizes = [getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size", "vocab_size")]
    key = json.dumps([cpu_model(), torch.__version__, torch.get_num_threads(), config.model_type, *sizes, batch_size])
    path = cache_home() / "bf16_trials.json"
    known = read(path)
    try:
        return Bf16Trial(**{name: float(value) for name, value in known[key].items()})
    except (AttributeError, KeyError, TypeError, ValueError):  # not tried yet, or the file is another version's
        found = trial()
    if not all(map(math.isfinite, asdict(found).values())):  # the model's own numbers are none: nothing to keep
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(
            json.dumps({**known, key: asdict(found)}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)
    except (OSError, ValueError):  # ValueError: the file holds a NaN of an earlier version's
        pass
    return found


def read(path: Path) -> dict[str, Any]:
    """Read what was found before; nothing where it can't be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
