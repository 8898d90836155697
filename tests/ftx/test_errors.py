from __future__ import annotations

import subprocess
import sys

import pytest

from ftx.errors import DataError, out_of_memory

SAID = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: bad allocation"),
    RuntimeError("Failed to allocate memory for requested buffer of size 4096"),
    RuntimeError("unable to mmap 4096 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
    RuntimeError("can't start new thread"),
    RuntimeError("The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError }"),
    ImportError("libtorch_cpu.so: cannot allocate memory in static TLS block"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    OSError("Cannot allocate memory (os error 12)"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SAID, ids=str)
def test_lack_of_memory_is_recognised_however_a_library_says_it(error: BaseException) -> None:
    assert out_of_memory(error)
    wrapped = OSError("the model can't be loaded")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("label 'out of memory' is unknown"),
        KeyError("out of memory"),
        DataError("line 3: label 'bad alloc' ..."),
        OSError(28, "No space left on device"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
    ids=str,
)
def test_other_failures_are_not_taken_for_it(error: BaseException) -> None:
    assert not out_of_memory(error)


def test_a_chain_that_is_a_ring_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert not out_of_memory(one)


REALLY = """
import resource
import {module}
from ftx.errors import out_of_memory
resource.setrlimit(resource.RLIMIT_AS, ({limit},) * 2)
try:
    {call}
except Exception as error:
    print(out_of_memory(error))
"""


@pytest.mark.parametrize(
    ("module", "call"),
    [("numpy", "numpy.ones(10**12)"), ("torch", "torch.ones(10**12)"), ("json", "bytearray(10**13)")],
)
def test_a_process_that_may_take_no_more_memory_says_so(module: str, call: str) -> None:
    program = REALLY.format(module=module, call=call, limit=16 << 30)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "True\n", done.stderr
