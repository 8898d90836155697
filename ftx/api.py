"""The commands as functions: `ftx.evaluate`, `ftx.verify` and `ftx.serve`, with the options as arguments.

Each imports what it needs when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftx.errors import require

if TYPE_CHECKING:
    from ftx.export import Comparison
    from ftx.finetune import Evaluation
    from ftx.runtime import ProbeReport

__all__ = ["Verification", "evaluate", "serve", "verify"]


def evaluate(
    *,
    run: str | Path | None = None,
    onnx: str | Path | None = None,
    data: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    skip_bad_rows: int = 0,
) -> Evaluation:
    """Score a checkpoint or an ONNX file on labelled rows, as training scores its held-out ones.

    Example:
        >>> evaluation = ftx.evaluate(onnx="model.onnx", data="reviews.csv")
        >>> sorted(evaluation.metrics)
        ['accuracy', 'f1_macro', 'mcc']

    Args:
        run: A run or checkpoint folder.
        onnx: Or an .onnx file, or a folder with one, for which PyTorch is not needed.
        data: Labelled rows: a table, or a folder of tables; default: the run's held-out ones.
        text_column: The column of the texts; default: the run's, else `text`.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels, or of lists of them; default: the run's, else `label`.
        label_columns: For multi-label, instead: a 1-or-0 column for each label.
        delimiter: The delimiter of the cells; default: a tab in .tsv, else detected.
        skip_bad_rows: How many bad rows may be skipped.

    Raises:
        ModelError, DataError, OnnxFileError: See there.
        MissingExtraError: scikit-learn is not installed, or for a checkpoint another package of training.
        ValueError: Not exactly one of `run` and `onnx` is given.
    """
    if (run is None) == (onnx is None):
        raise ValueError("give either run or onnx")
    from ftx import finetune
    from ftx.runtime import Predictor

    columns: dict[str, Any] = {
        "text": text_column,
        "text_pair": text_pair_column,
        "label": label_column,
        "indicators": label_columns if label_columns is None else tuple(label_columns),
        "delimiter": delimiter,
    }
    given = {name: value for name, value in columns.items() if value is not None}
    if run is not None:
        return finetune.evaluate(run, data, columns=given, skip_bad_rows=skip_bad_rows)
    with Predictor(str(onnx)) as predictor:
        return finetune.evaluate(predictor, data, columns=given, skip_bad_rows=skip_bad_rows)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether an ONNX file still gives the logits that it gave where it was exported.

    Attributes:
        probes: The result of replaying its golden probes.
        against: The comparison with a checkpoint, if one was given.
        resealed: Whether the file, which another tool had changed, was sealed anew.
    """

    probes: ProbeReport
    against: Comparison | None = None
    resealed: bool = False

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return self.probes.passed and (self.against is None or self.against.passed)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values, as `ftx verify --json` prints them."""
        return {
            "passed": self.passed,
            "probes": asdict(self.probes),
            "against": self.against and self.against.to_dict(),
            "resealed": self.resealed,
        }


def verify(
    onnx: str | Path,
    *,
    against: str | Path | None = None,
    data: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    stress: bool | str | Path | None = None,
    reseal: bool = False,
) -> Verification:
    """Check that an ONNX file gives the same logits here as where it was exported.

    Example:
        >>> ftx.verify("model.onnx").passed
        True

    Args:
        onnx: The file, or a folder with one.
        against: A run or checkpoint: compare full logits with PyTorch, too.
        data: Texts for that, a table or one a line, labelled or not; default: the run's held-out ones.
        text_column: The column of the texts in `data`; default: `text`.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels; default: `label`, if there is one.
        label_columns: Columns of 0 and 1, one a label, in place of a column of labels.
        delimiter: What separates the columns of `data`; default: found out.
        stress: Whether to compare on longer, shorter, misspelt text and so on, too, made from the held-out text; or a
            file of texts, on which it is compared besides.
        reseal: Whether a file that another tool has changed since the export is sealed anew, with new probes and
            figures, if it passes the comparison. Otherwise it stays as it was. One that is int8 now is compared on
            other kinds of text, too, as in an export.

    Raises:
        OnnxFileError: The file can't be used, was changed after export (without `reseal`), or has no probes.
        OutputError: It can't be replaced by the one that was sealed anew.
        ParityError: It does not have the checkpoint's labels in the same order.
        ModelError, DataError: See there.
        MissingExtraError: A package of export is not installed, which `against` needs.
        ValueError: There is `data`, `stress` or `reseal`, and nothing to compare with.
    """
    for name, given in (("data", data is not None), ("stress", stress), ("reseal", reseal)):
        if given and against is None:
            raise ValueError(f"{name} goes with against")
    from ftx import runtime

    if against is None:
        return Verification(probes=runtime.verify(onnx))
    from ftx.export import compare
    from ftx.export import reseal as seal_anew
    from ftx.heldout import data_columns

    columns = data_columns(
        text_column, label_column, text_pair_column, indicators=tuple(label_columns or ()), delimiter=delimiter or ""
    )
    if reseal:
        made = seal_anew(onnx, against, data=data, columns=columns, stress=stress)
        return Verification(probes=made.probes, against=made.comparison, resealed=made.resealed)
    probes = runtime.verify(onnx)
    return Verification(probes=probes, against=compare(onnx, against, data=data, columns=columns, stress=stress))


def serve(
    onnx: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    uds: str | Path | None = None,
    threads: int | None = None,
    max_queue_sec: float = 1.0,
    max_body: int = 2**22,
    max_text_chars: int = 100_000,
    max_texts: int = 1024,
    drain_grace_sec: float = 0.0,
    drain_sec: float = 30.0,
    token: str | None = None,
    allowed_host: Sequence[str] = (),
    long_text: str = "truncate",
    invariant: bool = False,
    fallback: str | Path | None = None,
    allow_label_change: bool = False,
    log_format: str = "text",
    log_texts: bool = False,
) -> int:
    """Serve a model over HTTP until SIGTERM or SIGINT.

    Example:
        >>> ftx.serve("model.onnx", port=0)  # doctest: +SKIP
        0

    Args:
        onnx: An .onnx file, a folder with one, or a folder of several such.
        host: Address to listen on.
        port: Port; 0: any free one.
        uds: A Unix socket to listen on instead.
        threads: Cores for each model's batches; default: those of this process.
        max_queue_sec: Requests whose predicted wait is longer are refused (429).
        max_body: Bytes of a request.
        max_text_chars: Characters of a text.
        max_texts: Texts of a request.
        drain_grace_sec: Seconds after SIGTERM in which requests are still accepted, until load balancers know.
        drain_sec: Seconds after that within which what was accepted is finished.
        token: What clients must send as `Authorization: Bearer TOKEN`; default: the environment's `FTX_TOKEN`, if set.
        allowed_host: Hosts that the header `Host` may name: names, `*.NAME`, addresses, networks; default: any, or on
            the loopback without a token its own names.
        long_text: `truncate` or `window`, as for `Predictor`.
        invariant: As for `Predictor`.
        fallback: The fp32 file of the same export, which answers the texts that int8 or fp16 may change.
        allow_label_change: Whether a file with other labels may replace the one that is served.
        log_format: `text` or `json`, a line each on stderr.
        log_texts: Whether texts that fail are logged.

    Returns:
        How many accepted requests could not be finished.

    Raises:
        FtxError: A model can't be served, or the address can't be listened on.
        ValueError: A value is out of range, or a host can't be one.
        MissingExtraError: A package of serving is not installed.
    """
    require("serve", "starlette", "uvicorn", "httptools", "prometheus_client", "msgspec")
    from ftx.runtime import server

    settings = server.ServeSettings(
        threads=threads,
        max_queue_sec=max_queue_sec,
        max_body_bytes=max_body,
        max_text_chars=max_text_chars,
        max_texts=max_texts,
        drain_grace_sec=drain_grace_sec,
        drain_sec=drain_sec,
        token=token or os.environ.get("FTX_TOKEN") or None,
        allowed_hosts=tuple(allowed_host),
        long_text=long_text,
        invariant=invariant,
        fallback=None if fallback is None else Path(fallback),
        allow_label_change=allow_label_change,
        log_texts=log_texts,
    )
    place = None if uds is None else Path(uds)
    return server.serve(onnx, host=host, port=port, uds=place, log_format=log_format, settings=settings)
