"""What ftx raises when it can say what went wrong.

    FtxError
    ├── MissingExtraError   a package that an extra installs is not there
    ├── RecipeError         a recipe or one of its values
    ├── DataError           labelled text that can't be read or used
    ├── ModelError          a checkpoint or a tokenizer that can't be loaded
    ├── FetchError          the starter's weights or text could not be had
    ├── OutputError         a place that can't or must not be written
    ├── OnnxFileError       a file that is not an ONNX file ftx can run
    ├── ProviderError       what should compute is not there
    └── ParityError         the result does not say what PyTorch says

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

# How C++ (torch, onnxruntime), CUDA, Rust (safetensors, tokenizers) and the loader of shared libraries say it.
# A thread that can't be started lacks room for its stack.
NO_MEMORY = re.compile(
    r"bad[_ ]alloc|can(?:no|')t allocate|not enough memory|out of memory|(?:unable|failed) to allocate|ALLOC_FAILED"
    r"|os error 12\b|can't start new thread|ThreadPoolBuildError|failed to map segment",
    re.IGNORECASE,
)
# How C++ (torch, onnxruntime, protobuf) and Rust (safetensors, tokenizers) say that a file could not be written.
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
    """A package that one of ftx's extras installs is not there."""


class RecipeError(FtxError):
    """A recipe does not exist, or one of its values is not usable."""


class DataError(FtxError):
    """Labelled text can't be read, or nothing can be learnt from it."""


class ModelError(FtxError):
    """A checkpoint or a tokenizer can't be loaded."""


class FetchError(FtxError):
    """The starter's weights or text could not be fetched from the package index."""


class OutputError(FtxError):
    """An output place holds something already, or can't be written."""


class OnnxFileError(FtxError):
    """A file is not ONNX, is damaged, or lacks what a prediction needs."""


class ProviderError(FtxError):
    """The provider that was asked for is not installed, or does not start."""


class ParityError(FtxError):
    """The exported or quantised model does not say what PyTorch says."""


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, says that memory ran out.

    Python and numpy raise `MemoryError`; torch, onnxruntime and others report it as the text of an error of their own.
    """
    return any(
        isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM or says(one, NO_MEMORY)
        for one in chain(error)
    )


def write_failed(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, says that a disk takes nothing more: it is full, say."""
    return any(getattr(one, "errno", None) in UNWRITTEN_ERRNO or says(one, UNWRITTEN) for one in chain(error))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error, the one that it was raised from, and so on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def says(error: BaseException, words: re.Pattern[str]) -> bool:
    """Tell whether a library's error has such words; those of a kind that quotes what a user wrote are not asked."""
    return not isinstance(error, (FtxError, ValueError, LookupError, TypeError)) and bool(words.search(str(error)))


def require(extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: The extra, or extras joined by commas, to name in the message.
        modules: The modules that it brings.

    Raises:
        MissingExtraError: One of them is not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools warns when pip is looked for where distutils was imported
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"This needs {', '.join(missing)}, not installed here: install it with pip install 'ftx-toolkit[{extra}]'"
        )
