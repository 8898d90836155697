"""What a model's hub id looks like; nothing here asks a hub."""

from __future__ import annotations

import re

__all__ = ["is_model_id"]

MODEL_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+(?:@[\w./-]+)?", re.ASCII)
LONGEST = 96  # huggingface_hub's own limit


def is_model_id(name: str) -> bool:
    """Tell whether a name may be a model's hub id, `NAME` or `ORG/NAME`, either with `@REVISION`."""
    short = all(len(part) <= LONGEST for part in name.split("@"))
    return short and MODEL_ID.fullmatch(name) is not None and not name.startswith(".")
