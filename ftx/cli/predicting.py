"""`ftx predict`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftx.cli.answering import answer, check_stdout
from ftx.cli.options import as_json, onnx, settings_options
from ftx.cli.parameters import TEXT
from ftx.cli.streaming import beyond_calibration, job_options, run_job, run_on_ray
from ftx.errors import DataError

if TYPE_CHECKING:
    from ftx.runtime import Prediction, Predictor, PredictSettings
    from ftx.runtime.stream import Job
    from ftx.text import Text

__all__ = ["predict"]

# Enough to fill batches, and few enough that predictions appear while the input is still coming.
LINES_AT_A_TIME = 256
SHOWN_CHARACTERS = 100
TRUNCATED = "truncated; --long-text window reads them whole"


@click.command(epilog='Example: ftx predict --onnx model.onnx "This movie was great!"')
@onnx()
@as_json(help="Print a JSON object for each text, with all probabilities.")
@settings_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs the job of --input: this process, or Ray (extra: ray), which writes a folder of Parquet files.",
)
@click.option("--ray-address", type=TEXT, help="A Ray cluster to join.  [default: one on this machine]")
@click.argument("texts", nargs=-1)
@job_options
def predict(
    onnx: Path,
    as_json: bool,
    settings: PredictSettings,
    engine: str,
    ray_address: str | None,
    texts: tuple[str, ...],
    job: Job | None,
) -> None:
    """Predict the label of each TEXT, or of each line of standard input when no TEXT is given.

    With --input, predict the rows of a file of any size: its columns are kept, and the predictions added.

    For a model that reads pairs of texts, the TEXTs are taken in pairs, and a line holds both, separated by a tab.
    """
    if not job and not texts and sys.stdin.isatty():
        raise click.UsageError("give one or more texts, or pipe them in, one a line")
    if engine == "ray" or ray_address:
        if not job or engine != "ray":
            raise click.UsageError("--engine ray is for a job: name its --input; --ray-address goes with it")
        if settings.provider != "cpu":
            raise click.UsageError(f"--provider {settings.provider} does not go with --engine ray, which uses the CPU")
    elif not job:
        check_stdout()
    try:
        if job and engine == "ray":
            run_on_ray(job, onnx, settings, address=ray_address)
            return
        predictor = opened(onnx, settings, job)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if job:
        run_job(predictor, job)
    else:
        predict_texts(predictor, texts, as_json=as_json)


def opened(onnx: Path, settings: PredictSettings, job: Job | None) -> Predictor:
    """Open the model, and say what the user should know about it."""
    from ftx.runtime import Predictor

    with contextlib.redirect_stdout(sys.stderr):  # onnxruntime prints when it falls back to another provider
        predictor = Predictor.from_settings(onnx, replace(settings, mode="throughput") if job else settings)
    pairs = predictor.manifest.text_pair or (job is not None and job.text_pair_column is not None)
    if pairs and settings.long_text == "window":
        raise click.UsageError("--long-text window reads one text at a time, and these are pairs")
    if predictor.notice:
        click.echo(predictor.notice, err=True)
    if settings.invariant:
        click.echo(cost_of_invariance(predictor), err=True)
    return predictor


def predict_texts(predictor: Predictor, texts: tuple[str, ...], *, as_json: bool) -> None:
    """Predict texts of the command line or of standard input, and print each prediction on a line."""
    if predictor.manifest.text_pair:
        if len(texts) % 2:
            raise click.UsageError("this model reads pairs of texts: give an even number of them")
        lines: Iterator[Text] = zip(texts[::2], texts[1::2], strict=True) if texts else map(pair, stdin_lines())
    else:
        lines = iter(texts) if texts else (line for _, line in stdin_lines())
    count = long = beyond = 0
    while some := list(islice(lines, LINES_AT_A_TIME)):
        for prediction in predictor(some):
            answer(json.dumps(prediction.to_dict()) if as_json else readable(prediction))
            count, long = count + 1, long + (prediction.truncated or prediction.windows > 1)
            beyond += prediction.beyond_calibration
    if long:
        windows = predictor.settings.long_text == "window"
        fate = f"read in windows ({predictor.settings.pooling})" if windows else TRUNCATED
        length = predictor.manifest.window_tokens if windows else predictor.manifest.max_length
        click.echo(
            f"{long} of {count} texts ({100 * long / count:.1f} %) are longer than {length} tokens and were {fate}",
            err=True,
        )
    if beyond:
        click.echo(beyond_calibration(beyond, predictor.manifest), err=True)


def cost_of_invariance(predictor: Predictor) -> str:
    """Say what batch invariance costs, if that was measured at export."""
    if not predictor.alone:
        return "--invariant: only texts of the same length share a batch"
    measured = predictor.manifest.parity.get("batch_invariance")
    speedup = measured.get("batched_speedup") if isinstance(measured, dict) else None
    cost = (
        f", batches would have {speedup:.1f} times the throughput (measured at export)"
        if isinstance(speedup, (int, float))
        else ""
    )
    return f"--invariant: each text runs alone{cost}"


def pair(numbered_line: tuple[int, str]) -> tuple[str, str]:
    """Read the two texts of a line of standard input."""
    number, line = numbered_line
    cells = line.split("\t")
    if len(cells) != 2:
        raise DataError(
            f"standard input, line {number}: {len(cells) - 1} tabs, expected one: this model reads two texts a line, "
            "separated by a tab"
        )
    return cells[0], cells[1]


def stdin_lines() -> Iterator[tuple[int, str]]:
    """Read standard input, a numbered text a line; only line feeds (and CR LF) end a line."""
    from ftx.tables.lines import STDIO, open_lines, without_end

    with open_lines(Path(STDIO)) as lines:
        for line in lines:
            if lines.take_undecodable():
                raise DataError(f"standard input, line {lines.number} is not UTF-8: convert it, with iconv for example")
            yield lines.number, without_end(line)


def readable(prediction: Prediction) -> str:
    """Format a prediction as label, score and the beginning of the text, separated by tabs."""
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
    """Replace unprintable characters, such as tabs and line breaks, with spaces."""
    return "".join(character if character.isprintable() else " " for character in text)
