"""The errors that ftx raises when it can explain what went wrong.

    FtxError
    ├── MissingExtraError   a package of an extra is not installed
    ├── RecipeError         a recipe, or one of its values, is unusable
    ├── DataError           labelled text can't be read or used
    ├── ModelError          a checkpoint or a tokenizer can't be loaded
    ├── FetchError          the starter's weights or text can't be fetched
    ├── OutputError         an output can't or must not be written
    ├── OnnxFileError       a file is not an ONNX file that ftx can run
    ├── ProviderError       a provider is not available
    └── ParityError         the result does not agree with PyTorch

Each message is one line: what happened, what was found, what was expected, what to do. The command line prints it
after `Error: ` and exits with status 1.
"""

from __future__ import annotations

import errno
import importlib.util
import re
import warnings
from collections.abc import Iterator

__all__ = [
    "DataError",
    "FetchError",
    "FtxError",
    "MissingExtraError",
    "ModelError",
    "OnnxFileError",
    "OutputError",
    "ParityError",
    "ProviderError",
    "RecipeError",
    "out_of_memory",
    "require",
    "write_failed",
]

# As C++ (torch, onnxruntime), CUDA, Rust (safetensors, tokenizers) and the loader of shared libraries report it.
# A thread that can't be started lacks memory for its stack.
NO_MEMORY = re.compile(
    r"bad[_ ]alloc|can(?:no|')t allocate|not enough memory|out of memory|(?:unable|failed) to allocate|ALLOC_FAILED"
    r"|os error 12\b|can't start new thread|ThreadPoolBuildError|failed to map segment",
    re.IGNORECASE,
)
# As C++ (torch, onnxruntime, protobuf) and Rust (safetensors, tokenizers) report a file that could not be written.
UNWRITTEN = re.compile(
    r"no space left|quota exceeded|file too large|read-only file system|file write failed|\bunexpected pos \d"
    r"|parent directory .+ does not exist"
    r"|Protobuf serialization failed|\b(?:os error|system error number) (?:5|27|28|30|122)\b",
    re.IGNORECASE,
)
UNWRITTEN_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class FtxError(Exception):
    """Any failure that ftx can explain."""


class MissingExtraError(FtxError):
    """A package of one of ftx's extras is not installed."""


class RecipeError(FtxError):
    """A recipe does not exist, or one of its values is unusable."""


class DataError(FtxError):
    """Labelled text can't be read, or is no use for training."""


class ModelError(FtxError):
    """A checkpoint or a tokenizer can't be loaded."""


class FetchError(FtxError):
    """The starter's weights or text could not be fetched from the package index."""


class OutputError(FtxError):
    """An output exists already, or can't be written."""


class OnnxFileError(FtxError):
    """A file is not ONNX, is damaged, or lacks what a prediction needs."""


class ProviderError(FtxError):
    """The requested provider is not installed, or does not start."""


class ParityError(FtxError):
    """The exported or quantised model does not agree with PyTorch."""


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one of its causes, means that memory ran out.

    Python and numpy raise `MemoryError`; torch, onnxruntime and others report it in the message of their own errors.
    """
    return any(
        isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM or says(one, NO_MEMORY)
        for one in chain(error)
    )


def write_failed(error: BaseException) -> bool:
    """Tell whether an error, or one of its causes, means that a file could not be written, as on a full disk."""
    return any(getattr(one, "errno", None) in UNWRITTEN_ERRNO or says(one, UNWRITTEN) for one in chain(error))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, and so on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def says(error: BaseException, words: re.Pattern[str]) -> bool:
    """Tell whether a library's message matches; types of errors that quote the user's input never do."""
    return not isinstance(error, (FtxError, ValueError, LookupError, TypeError)) and bool(words.search(str(error)))


def require(extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: The extra, or extras joined by commas, to name in the message.
        modules: The modules that it installs.

    Raises:
        MissingExtraError: One of them is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools warns about pip if distutils was imported
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"This needs {', '.join(missing)}, not installed here: install it with pip install 'ftx-toolkit[{extra}]'"
        )
