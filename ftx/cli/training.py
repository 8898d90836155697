"""`ftx train` and `ftx export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ftx.cli.answering import answer, working
from ftx.cli.measuring import metric_lines
from ftx.cli.options import (
    DATA_COLUMNS,
    as_json,
    delimiter,
    label_column,
    label_columns,
    output,
    overwrite,
    resume,
    skip_bad_rows,
    text_column,
    text_pair_column,
)
from ftx.cli.parameters import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    BATCH,
    BEST_METRIC,
    CLASS_WEIGHTS,
    COUNT,
    DATA_SET,
    DEVICE,
    FILES,
    HEAD,
    NAMES,
    PRECISION,
    PROBLEM_TYPE,
    QUANTIZE,
    SCHEDULE,
    SEED,
    SHARE,
    TARGET,
    Finite,
)

__all__ = ["export", "train"]


@click.command(epilog="Example: ftx train --dataset reviews.csv --text-column review --output runs/reviews")
@click.option(
    "--recipe",
    type=DATA_SET,
    default="starter",
    show_default=True,
    help="A recipe's name, or a TOML file.",
)
@click.option("--list", "listing", is_flag=True, help="List the recipes and exit.")
@click.option("--show", type=DATA_SET, metavar="RECIPE", help="Print a recipe's file and exit.")
@click.option("--quick", is_flag=True, help="The recipe's quick look: fewer rows.")
@output(help="The run folder.  [default: runs/RECIPE]")
@overwrite(help="Replace an existing run.")
@resume(help="Resume an unfinished run from its newest checkpoint.")
@click.option(
    "--model",
    type=DATA_SET,
    help="'starter' (with the recipe's values for it), a hub id or NAME@REVISION, or a folder.",
)
@click.option(
    "--dataset",
    type=DATA_SET,
    help="'starter', a .csv, .tsv, .txt, .jsonl (.gz) or .parquet file, a folder of them, or a hub id.",
)
@text_column(help="Column of the texts.  [default: the recipe's]")
@text_pair_column()
@label_column(help="Column of the labels, or of lists of them.  [default: the recipe's]")
@label_columns()
@click.option("--problem-type", type=PROBLEM_TYPE, help="What the labels are; auto: as the data shows.")
@click.option("--labels", type=NAMES, help="Label names in order, separated by commas; else found in the data.")
@delimiter()
@skip_bad_rows(default=None, help="Skip up to this many bad rows, listed in RUN/bad_rows.jsonl.")
@click.option(
    "--validation", type=DATA_SET, help="What is held out: a share of the sentences of each label, or a file."
)
@click.option("--train-rows", type=COUNT, help="Training rows, sampled at random; 0: all.")
@click.option("--eval-rows", type=COUNT, help="Held-out rows, sampled at random; 0: all.")
@click.option("--max-length", type=AT_LEAST_ONE, help="Truncate texts to this many tokens.")
@click.option("--epochs", type=Finite(0, 10**6, min_open=True), help="Passes over the training rows.")
@click.option("--max-steps", type=COUNT, help="Stop after this many steps; 0: as many as the epochs take.")
@click.option("--save-steps", type=COUNT, help="Steps between checkpoints to resume from; 0: none.")
@click.option("--batch-size", type=BATCH, help="Texts per training step.")
@click.option("--learning-rate", type=ABOVE_ZERO, help="Peak learning rate.")
@click.option("--weight-decay", type=Finite(0), help="Weight decay.")
@click.option("--warmup-ratio", type=SHARE, help="Share of the steps over which the learning rate warms up.")
@click.option("--schedule", type=SCHEDULE, help="How it decays after warmup.")
@click.option("--class-weights", type=CLASS_WEIGHTS, help="balanced: rare classes weigh as much as frequent ones.")
@click.option(
    "--label-smoothing", type=Finite(0, 1, max_open=True), help="Share of a row's target spread over all labels."
)
@click.option("--freeze-layers", type=COUNT, help="Freeze the embeddings and this many layers.")
@click.option("--gradient-accumulation-steps", type=BATCH, help="Batches per optimiser step.")
@click.option("--gradient-checkpointing/--no-gradient-checkpointing", default=None, help="Less memory, more time.")
@click.option("--eval-steps", type=COUNT, help="Steps between evaluations; 0: one at the end.")
@click.option("--best-metric", type=BEST_METRIC, help="Keep the checkpoint that is best by this metric.")
@click.option("--early-stopping", type=COUNT, help="Stop after this many evaluations without improvement; 0: never.")
@click.option("--torch-compile/--no-torch-compile", default=None, help="Compile the model before training.")
@click.option(
    "--precision",
    type=PRECISION,
    help="auto (fp16 on CUDA; on a CPU bf16 where a trial is faster, else fp32), fp32, fp16 or bf16.",
)
@click.option("--seed", type=SEED, help="Seed of the split, the new weights and the order of the rows.")
@as_json(help="Print the metrics as JSON.")
def train(
    recipe: str,
    listing: bool,
    show: str | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Fine-tune BERT on labelled text.

    Writes a run folder: checkpoint, recipe.toml, metrics.json, history.jsonl, training.svg, and eval.jsonl, the
    held-out texts on which every later step is verified. Options that are not given come from the recipe.
    """
    with working():  # libraries print; stdout is for the result
        from ftx import finetune

        known = finetune.recipes()
    if listing:
        answer("\n".join(f"{name:<10} {purpose}" for name, purpose in known.items()))
        return
    if show:
        answer(finetune.recipe_path(show).read_text(encoding="utf-8"), nl=False)
        return
    with working():
        import ftx

        report = ftx.train(recipe=recipe, output=output, overwrite=overwrite, resume=resume, **values)
    if not finetune.is_first_process():
        return
    if as_json:
        answer(json.dumps(report.to_dict()))
        return
    answer(f"run        {report.run}")
    answer(f"rows       {report.train_rows} to learn from, {report.eval_rows} held out")
    answer(f"steps      {report.steps} in {report.train_sec:.0f} s ({report.train_samples_per_sec:.0f} rows/s)")
    answer(f"device     {report.device}, {report.precision} ({report.precision_reason})")
    for line in metric_lines(report.metrics, report.scores):
        answer(line)
    answer(f"next       ftx export {report.run}")
    answer(f"page       {Path(report.run) / 'training.svg'}")


@click.command(epilog="Example: ftx export runs/starter")
@click.argument("source", type=DATA_SET)
@output(help="The export folder.  [default: SOURCE/onnx, or exports/NAME for a hub id]")
@overwrite(help="Replace an existing export.")
@click.option(
    "--data",
    type=FILES,
    help="Held-out text to verify on: a table, or one a line; labels are optional.  [default: RUN/eval.jsonl]",
)
@DATA_COLUMNS["text_column"]
@DATA_COLUMNS["text_pair_column"]
@DATA_COLUMNS["label_column"]
@DATA_COLUMNS["label_columns"]
@DATA_COLUMNS["delimiter"]
@click.option("--few", is_flag=True, help="Accept fewer than 20 held-out texts.")
@click.option("--labels", type=NAMES, help="Names of the model's labels, by commas.  [default: its own]")
@click.option("--problem-type", type=HEAD, help="Its head.  [default: as its config.json says]")
@click.option("--max-length", type=AT_LEAST_ONE, help="Tokens to truncate a text to.  [default: the model's limit]")
@click.option(
    "--quantize",
    type=QUANTIZE,
    default="auto",
    show_default=True,
    help="auto: the fastest int8 that passes the gate; fast: the first, not timed; none: fp32; optimum: Optimum's "
    "dynamic preset; or a scheme's name.",
)
@click.option(
    "--search-budget",
    type=Finite(0, 10**6),
    default=120,
    show_default=True,
    help="Seconds to spend on finding a faster form; whether a form passes does not depend on them.",
)
@click.option(
    "--min-agreement", type=Finite(0.5, 1), default=0.995, show_default=True, help="Minimum share of unchanged labels."
)
@click.option(
    "--stress",
    type=FILES,
    help="Texts of another kind to agree on as well, a table or one a line; longer, shorter, misspelt text and so on "
    "is made from the held-out text in any case.",
)
@click.option(
    "--min-stress-agreement",
    type=Finite(0, 1),
    help="Minimum estimated share of unchanged labels on each other kind of text; 0: not judged.  [default: 0.99, or "
    "--min-agreement if that is lower]",
)
@click.option("--target", type=TARGET, help="The CPU to export for.  [default: like this one]")
@click.option(
    "--device", type=DEVICE, default="cpu", show_default=True, help="cpu, or cuda: fp16 for a GPU instead of int8."
)
@click.option("--compare", is_flag=True, help="Also time Optimum's presets and OpenVINO (extra: peers).")
@as_json(help="Print parity.json.")
def export(
    source: str,
    output: Path | None,
    overwrite: bool,
    data: Path | None,
    text_column: str | None,
    text_pair_column: str | None,
    label_column: str | None,
    label_columns: tuple[str, ...] | None,
    delimiter: str | None,
    few: bool,
    labels: tuple[str, ...] | None,
    problem_type: str | None,
    max_length: int | None,
    quantize: str,
    search_budget: float,
    min_agreement: float,
    stress: Path | None,
    min_stress_agreement: float | None,
    target: str | None,
    device: str,
    compare: bool,
    as_json: bool,
) -> None:
    """Export a checkpoint to ONNX, find its fastest faithful int8 form, and verify both on held-out text.

    SOURCE is a run folder of ftx train; or, with --data, a checkpoint folder of any maker or a hub id, NAME or
    ORG/NAME, either with @REVISION. Give 200 texts or more. One half of the held-out text
    selects among the forms, the other is for reporting on the selected one. Exit status 1 if verification fails; if
    only int8 fails, the verified fp32 file is kept.
    """
    with working():
        from ftx.export import ChoiceError
        from ftx.export import export as run

        try:
            report = run(
                source,
                output,
                data=data,
                text_column=text_column,
                text_pair_column=text_pair_column,
                label_column=label_column,
                label_columns=label_columns,
                delimiter=delimiter,
                few=few,
                labels=labels,
                problem_type=problem_type,
                max_length=max_length,
                overwrite=overwrite,
                quantize=quantize,
                search_budget=search_budget,
                min_agreement=min_agreement,
                stress=stress,
                min_stress_agreement=min_stress_agreement,
                target=target,
                device=device,
                compare=compare,
            )
        except ChoiceError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        answer(json.dumps(report.to_dict()))
    else:
        answer(report.to_text())
        answer(f"page       {Path(report.folder) / 'parity.html'}")
    if report.failed:
        raise click.exceptions.Exit(1)
