"""`ftx predict`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftx.cli.answering import answer, check_stdout
from ftx.cli.parameters import BATCH, COUNT, FILES, TEXT, THREADS
from ftx.cli.streaming import job_options, run_job, run_on_ray
from ftx.errors import DataError

if TYPE_CHECKING:
    from ftx.runtime import Prediction, Predictor
    from ftx.runtime.stream import Job
    from ftx.text import Text

__all__ = ["predict"]

# Enough for well-filled batches, few enough that answers come while the input still flows.
LINES_AT_A_TIME = 256
SHOWN_CHARACTERS = 100
CUT = "cut; --long-text window reads them whole"


@click.command(epilog='Example: ftx predict --onnx model.onnx "This movie was great!"')
@click.option("--onnx", type=FILES, required=True, help="The .onnx file, or a folder with one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a text, with all probabilities.")
@click.option("--threads", type=THREADS, help="Threads.  [default: the cores this process may use]")
@click.option("--batch-size", type=BATCH, default=32, show_default=True, help="Texts that run together.")
@click.option("--invariant", is_flag=True, help="Answer each text as if it were alone, whatever else is asked.")
@click.option(
    "--long-text",
    type=click.Choice(["truncate", "window"]),
    default="truncate",
    show_default=True,
    help="Cut a text that is longer than the model reads, or read it in windows.",
)
@click.option("--stride", type=COUNT, help="Tokens that windows share.  [default: a quarter of one]")
@click.option(
    "--pooling",
    type=click.Choice(["mean", "max"]),
    default="mean",
    show_default=True,
    help="How the windows' probabilities become one.",
)
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda", "openvino", "coreml", "xnnpack"]),
    default="cpu",
    show_default=True,
    help="What computes, where its package is installed.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs the job of --input: this process, or Ray (the extra ray), which writes a folder of Parquet.",
)
@click.option("--ray-address", type=TEXT, help="A Ray cluster to join.  [default: one on this machine]")
@click.argument("texts", nargs=-1)
@job_options
def predict(
    onnx: Path,
    as_json: bool,
    threads: int | None,
    batch_size: int,
    invariant: bool,
    long_text: str,
    stride: int | None,
    pooling: str,
    provider: str,
    engine: str,
    ray_address: str | None,
    texts: tuple[str, ...],
    job: Job | None,
) -> None:
    """Predict the label of each TEXT, or of each line of standard input when no TEXT is given.

    With --input, predict the rows of a file, of any number: its columns are kept and the predictions added.

    For a model that judges two texts together, the TEXTs come two by two, and a line holds both, with a tab between.
    """
    if not job and not texts and sys.stdin.isatty():
        raise click.UsageError("give one or more texts, or pipe them in, one a line")
    if engine == "ray" or ray_address:
        if not job or engine != "ray":
            raise click.UsageError("--engine ray is for a job: name its --input; --ray-address goes with it")
        if provider != "cpu":
            raise click.UsageError(f"--provider {provider} does not go with --engine ray, whose workers take the CPU")
        try:
            run_on_ray(
                job, onnx, address=ray_address, workers=threads, batch_size=batch_size, invariant=invariant,
                long_text=long_text, stride=stride, pooling=pooling,
            )  # fmt: skip
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        return
    if not job:
        check_stdout()
    from ftx.runtime import Predictor

    try:
        with contextlib.redirect_stdout(sys.stderr):  # onnxruntime prints that it fell back to another provider
            predictor = Predictor(
                onnx, intra_op_num_threads=threads, batch_size=batch_size, invariant=invariant, long_text=long_text,
                stride=stride, pooling=pooling, provider=provider, mode="throughput" if job else "auto",
            )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    pairs = predictor.manifest.text_pair or (job is not None and job.text_pair_column is not None)
    if pairs and long_text == "window":
        raise click.UsageError("--long-text window reads one text at a time, and here two are judged together")
    if predictor.notice:
        click.echo(predictor.notice, err=True)
    if invariant:
        click.echo(cost_of_invariance(predictor), err=True)
    if job:
        run_job(predictor, job)
        return
    if predictor.manifest.text_pair:
        if len(texts) % 2:
            raise click.UsageError("this model judges two texts together: give them two by two")
        lines: Iterator[Text] = zip(texts[::2], texts[1::2], strict=True) if texts else map(pair, stdin_lines())
    else:
        lines = iter(texts) if texts else (line for _, line in stdin_lines())
    asked = long = 0
    while some := list(islice(lines, LINES_AT_A_TIME)):
        for prediction in predictor(some):
            answer(json.dumps(prediction.to_dict()) if as_json else readable(prediction))
            asked, long = asked + 1, long + (prediction.truncated or prediction.windows > 1)
    if long:
        fate = f"read in windows ({pooling})" if long_text == "window" else CUT
        length = predictor.manifest.max_length
        click.echo(
            f"{long} of {asked} texts ({100 * long / asked:.1f} %) are longer than {length} tokens and were {fate}",
            err=True,
        )


def cost_of_invariance(predictor: Predictor) -> str:
    """Say what it costs that no answer depends on batch-mates, as far as that was measured at export."""
    if not predictor.alone:
        return "--invariant: this file's answers do not depend on batch-mates; it costs nothing"
    measured = predictor.manifest.parity.get("batch_invariance")
    speedup = measured.get("batched_speedup") if isinstance(measured, dict) else None
    cost = (
        f", batches would answer {speedup:.1f} times as many texts a second (measured at export)"
        if isinstance(speedup, (int, float))
        else ""
    )
    return f"--invariant: every text runs alone{cost}"


def pair(numbered_line: tuple[int, str]) -> tuple[str, str]:
    """Read the two texts of a line of standard input."""
    number, line = numbered_line
    cells = line.split("\t")
    if len(cells) != 2:
        raise DataError(
            f"standard input, line {number}: {len(cells) - 1} tabs, expected one, between the two texts that this "
            "model judges together"
        )
    return cells[0], cells[1]


def stdin_lines() -> Iterator[tuple[int, str]]:
    """Read standard input, one numbered text a line; only line feeds (and CR LF) end a line."""
    from ftx.tables.lines import STDIO, open_lines, without_end

    with open_lines(Path(STDIO)) as lines:
        for line in lines:
            if lines.take_undecodable():
                raise DataError(f"standard input, line {lines.number} is not UTF-8: convert it, with iconv for example")
            yield lines.number, without_end(line)


def readable(prediction: Prediction) -> str:
    """Write a prediction as label, score and the beginning of the text, separated by tabs."""
    if prediction.value is not None:
        said = f"{prediction.value:.4f}"
    elif prediction.labels is not None:
        labels = (f"{on_a_line(label)} {prediction.scores[label]:.4f}" for label in prediction.labels)
        said = ", ".join(labels) or "-"
    else:
        said = f"{on_a_line(str(prediction.label))}\t{prediction.score:.4f}"
    text = prediction.text if isinstance(prediction.text, str) else " | ".join(prediction.text)
    return f"{said}\t{on_a_line(text[:SHOWN_CHARACTERS])}{'…' if len(text) > SHOWN_CHARACTERS else ''}"


def on_a_line(text: str) -> str:
    """Show a space for what is no printable character, such as a tab or a line break."""
    return "".join(character if character.isprintable() else " " for character in text)
