"""The onnxruntime sessions of one ONNX file: one for each number of threads, in each process."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import OnnxFileError, out_of_memory
from ftx.manifest import Manifest
from ftx.runtime.session import first_line, open_session, raised_in
from ftx.runtime.shutdown import Native
from ftx.runtime.tokenization import Batch
from ftx.snapshot import Snapshot

__all__ = ["Graphs", "check_graph"]

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
# Of logits; they are returned as float32.
OUTPUT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(double)")


class Opened:
    """What belongs to one process.

    Attributes:
        native: Guards its calls of native code.
        lock: Held while a session is opened or released.
        sessions: By the number of threads that share a batch.
    """

    def __init__(self) -> None:
        self.native, self.lock = Native(), threading.RLock()
        self.sessions: dict[int, Any] = {}


class Graphs:
    """The sessions of one ONNX file, each opened on first use, all of the same bytes.

    Args:
        file: The file.
        exact_kernel: Whether to use onnxruntime's exact, slower int8 kernel; None: where this CPU needs it.
        provider: Where to run.
        spinning: Whether idle threads busy-wait.
    """

    def __init__(self, file: Snapshot, *, exact_kernel: bool | None, provider: str, spinning: bool) -> None:
        self._file, self._exact_kernel, self._provider, self._spinning = file, exact_kernel, provider, spinning
        self._closed = False
        self._by_process: dict[int, Opened] = {}
        # Also called when the process ends.
        weakref.finalize(self, let_go, self._by_process)

    @property
    def native(self) -> Native:
        """The guard of native calls in this process."""
        return self._here().native

    def session(self, threads: int) -> Any:
        """Return the session in which this many threads share a batch.

        Raises:
            ValueError: The graphs are closed.
            OnnxFileError: The file was changed since it was opened.
        """
        here = self._here()
        with here.lock:
            if self._closed:
                raise ValueError("this Predictor is closed")
            if threads not in here.sessions:
                with here.native:
                    here.sessions[threads] = open_session(
                        self._file, intra_op_num_threads=threads, exact_kernel=self._exact_kernel,
                        provider=self._provider, spinning=self._spinning, arena=threads > 1,
                    )  # fmt: skip
            return here.sessions[threads]

    def logits(self, session: Any, batch: Batch, manifest: Manifest) -> NDArray[np.float32]:
        """Run a session on a batch.

        Returns:
            *Shape:* `(batch_size, num_labels)`.

        Raises:
            OnnxFileError: The graph fails, or its output has another shape.
            MemoryError: It needs more memory than there is.
        """
        rows, tokens = batch["input_ids"].shape
        try:
            with self.native:
                found = session.run(None, batch)[0]
        except Exception as error:
            if not raised_in("onnxruntime", error):
                raise
            if out_of_memory(error):
                raise MemoryError(
                    f"{self._file.path} needs more memory than there is for {rows} texts of {tokens} tokens: "
                    "use a smaller batch_size, or a smaller max_length"
                ) from error
            raise OnnxFileError(
                f"{self._file.path} failed on {rows} texts of {tokens} tokens: {first_line(error)}; expected a graph "
                f"that reads up to {manifest.max_length} tokens, and the tokenizer it was trained with"
            ) from error
        if getattr(found, "shape", None) != (rows, len(manifest.id2label)):
            raise OnnxFileError(
                f"{self._file.path} gives an array of shape {getattr(found, 'shape', None)} for {rows} texts, "
                f"expected {(rows, len(manifest.id2label))}: a logit for each text and label"
            )
        with np.errstate(over="ignore"):  # the predictor checks for infinities
            return np.asarray(found, dtype=np.float32)

    def close(self) -> None:
        """Release the sessions; calls in progress finish normally."""
        here = self._here()
        with here.lock:
            self._closed = True
            here.sessions.clear()
            self._file.close()

    def _here(self) -> Opened:
        """Return what belongs to this process: a fork does not inherit the sessions' threads."""
        process = os.getpid()
        return self._by_process.get(process) or self._by_process.setdefault(process, Opened())


def let_go(by_process: dict[int, Opened]) -> None:
    """Wait for native calls to end, before the sessions are destroyed or the process ends."""
    for process, opened in [*by_process.items()]:
        if process == os.getpid():
            opened.native.end()
        else:
            # Destroying a session without its threads crashes the process: these are never destroyed.
            import ctypes

            for session in opened.sessions.values():
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def check_graph(session: Any, file: Snapshot, manifest: Manifest) -> list[str]:
    """Check that a graph is a text classifier with as many labels as its manifest; return the names of its inputs.

    The inputs are `input_ids`, and optionally `attention_mask` and `token_type_ids`, of int64. The one output, of any
    name, has a row per text and a column per label, of float32, float16 or float64.

    Raises:
        OnnxFileError: It is not.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [node.name for node in inputs]
    if "input_ids" not in names or not INPUTS.issuperset(names) or len(outputs) != 1:
        raise OnnxFileError(
            f"{file.path} is not a text classifier: inputs {', '.join(names)!s:.200}, {len(outputs)} outputs; "
            "expected input_ids, optionally attention_mask and token_type_ids, and one output, logits"
        )
    for node in inputs:
        if node.type != "tensor(int64)":
            raise OnnxFileError(f"{file.path} takes {node.name} as {node.type}, expected tensor(int64)")
    [output] = outputs
    if output.type not in OUTPUT_TYPES:
        raise OnnxFileError(
            f"{file.path} gives {output.name} as {output.type}, expected logits: {', '.join(OUTPUT_TYPES)}"
        )
    if output.shape and len(output.shape) != 2:
        raise OnnxFileError(
            f"{file.path} gives {output.name} of {len(output.shape)} dimensions, expected 2: a logit for each text and "
            "label"
        )
    columns = output.shape[-1] if output.shape else None
    if isinstance(columns, int) and columns != len(manifest.id2label):
        raise OnnxFileError(f"{file.path} gives {columns} logits for {len(manifest.id2label)} labels")
    return names
