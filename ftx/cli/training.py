"""`ftx train` and `ftx export`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from ftx.cli.measuring import metric_lines

__all__ = ["export", "train"]


@click.command(epilog="Example: ftx train --dataset reviews.csv --text-column review --output runs/reviews")
@click.option("--recipe", "recipe_name", default="starter", show_default=True, help="A recipe's name, or a TOML file.")
@click.option("--list", "listing", is_flag=True, help="List the recipes and exit.")
@click.option("--show", metavar="RECIPE", help="Print a recipe's file and exit.")
@click.option("--quick", is_flag=True, help="The recipe's quick look: fewer rows.")
@click.option("--output", type=click.Path(path_type=Path), help="The run folder.  [default: runs/RECIPE]")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of an unfinished run.")
@click.option("--model", help="'starter' (with the recipe's values for it), a hub id or NAME@REVISION, or a folder.")
@click.option("--dataset", help="'starter', a .csv .tsv .txt .jsonl .parquet, a folder of them, or a hub id.")
@click.option("--text-column", help="The column of the texts.")
@click.option("--text-pair-column", help="The column of the second texts, to judge two together.")
@click.option("--label-column", help="The column of the labels, or of lists of them.")
@click.option("--label-columns", help="For multi-label, instead: columns with 1 or 0, a column a label, by commas.")
@click.option("--problem-type", help="auto, single_label_classification, multi_label_classification or regression.")
@click.option("--labels", help="Label names by number, separated by commas; else found in the data.")
@click.option("--delimiter", help="What separates the cells of a .csv, .tsv or .txt file; else found out.")
@click.option("--skip-bad-rows", type=int, help="Rows that may be unusable; they go to RUN/bad_rows.jsonl.")
@click.option("--validation", help="What is held out: a share of the sentences of each label, or a file.")
@click.option("--train-rows", type=int, help="Rows to learn from, taken at random; 0: all.")
@click.option("--eval-rows", type=int, help="Rows to hold out, taken at random; 0: all.")
@click.option("--max-length", type=int, help="Tokens a text is cut to.")
@click.option("--epochs", type=float, help="Passes over the training rows.")
@click.option("--max-steps", type=int, help="Stop after so many steps; 0: as many as the epochs take.")
@click.option("--save-steps", type=int, help="Steps between two checkpoints to resume from; 0: none.")
@click.option("--batch-size", "train_batch_size", type=int, help="Texts a training step.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--weight-decay", type=float, help="Weight decay.")
@click.option("--warmup-ratio", type=float, help="Share of the steps over which the learning rate rises.")
@click.option("--schedule", help="How it falls: linear, cosine, constant, constant_with_warmup, polynomial.")
@click.option("--class-weights", help="none, or balanced: rare classes count as much as frequent ones.")
@click.option("--label-smoothing", type=float, help="Share of a row's weight spread over all labels.")
@click.option("--freeze-layers", type=int, help="Keep the embeddings and the first so many layers as they are.")
@click.option("--gradient-accumulation-steps", type=int, help="Batches whose gradients make one step.")
@click.option("--gradient-checkpointing/--no-gradient-checkpointing", default=None, help="Less memory, more time.")
@click.option("--eval-steps", type=int, help="Steps between two evaluations; 0: one at the end.")
@click.option("--best-metric", help="Keep the best checkpoint by loss, accuracy, f1_macro, mcc, map, mae, pearson, ...")
@click.option("--early-stopping", type=int, help="Stop after so many evaluations without a better one; 0: never.")
@click.option("--torch-compile/--no-torch-compile", default=None, help="Compile the model before training.")
@click.option(
    "--precision", help="auto (fp16 on CUDA; on a CPU bf16 where a trial is faster, else fp32), fp32, fp16 or bf16."
)
@click.option("--seed", type=int, help="Of the split, the new weights and the order of the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def train(
    recipe_name: str,
    listing: bool,
    show: str | None,
    quick: bool,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    labels: str | None,
    label_columns: str | None,
    validation: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Fine-tune BERT on labelled text.

    Writes a run folder: checkpoint, recipe.toml, metrics.json, history.jsonl, training.svg, and eval.jsonl, the
    held-out texts on which every later step is proven. Values not given come from the recipe.
    """
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the result
        from ftx import finetune

        known = finetune.recipes()
    if listing:
        click.echo("\n".join(f"{name:<10} {purpose}" for name, purpose in known.items()))
        return
    if show:
        click.echo(finetune.recipe_path(show).read_text(encoding="utf-8"), nl=False)
        return
    with contextlib.redirect_stdout(sys.stderr):
        overrides = {name: value for name, value in values.items() if value is not None}
        if validation is not None:
            overrides |= share_or_file(validation)
        for name, given in (("labels", labels), ("label_columns", label_columns)):
            if given is not None:
                overrides[name] = tuple(part.strip() for part in given.split(",") if part.strip())
        recipe = finetune.load_recipe(recipe_name, quick=quick, starter=values["model"] == "starter")
        recipe = recipe.override(overrides)
        output = output or Path("runs") / Path(recipe_name).stem
        report = finetune.train(recipe, output, overwrite=overwrite, resume=resume)
    if not finetune.is_first_process():
        return
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    click.echo(f"run        {report.run}")
    click.echo(f"rows       {report.train_rows} to learn from, {report.eval_rows} held out")
    click.echo(f"steps      {report.steps} in {report.train_sec:.0f} s ({report.train_samples_per_sec:.0f} rows/s)")
    click.echo(f"device     {report.device}, {report.precision} ({report.precision_reason})")
    for line in metric_lines(report.metrics, report.scores):
        click.echo(line)
    click.echo(f"next       ftx export {report.run}")


def share_or_file(validation: str) -> dict[str, Any]:
    """Read `--validation`: a number is a share, anything else a file or folder."""
    try:
        return {"validation": float(validation), "validation_file": ""}
    except ValueError:
        return {"validation_file": validation}


@click.command(epilog="Example: ftx export runs/starter")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The export folder.  [default: RUN/onnx]")
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@click.option("--data", type=click.Path(path_type=Path), help="Held-out text to prove on.  [default: RUN/eval.jsonl]")
@click.option(
    "--quantize",
    default="auto",
    show_default=True,
    help="auto: the fastest int8 that passes the gate; fast: the first, not timed; none: fp32; or a scheme's name.",
)
@click.option(
    "--search-budget", type=click.FloatRange(0), default=120, show_default=True, help="Seconds the search may take."
)
@click.option("--min-agreement", type=float, default=0.995, show_default=True, help="Share of labels to keep.")
@click.option("--target", help="The CPU it is for: vnni, avx2, avx512, arm64 or any.  [default: like this one]")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda: fp16 for a GPU in place of int8.")
@click.option("--compare", is_flag=True, help="Race Optimum's presets and OpenVINO, too (extra: peers).")
@click.option("--json", "as_json", is_flag=True, help="Print parity.json.")
def export(
    run: Path,
    output: Path | None,
    overwrite: bool,
    data: Path | None,
    quantize: str,
    search_budget: float,
    min_agreement: float,
    target: str | None,
    device: str,
    compare: bool,
    as_json: bool,
) -> None:
    """Export a checkpoint to ONNX, find its fastest faithful int8 form, and prove both on held-out text.

    RUN is a run folder of ftx train, or a checkpoint folder (with --data). One half of the held-out text chooses among
    the forms, the other reports on the chosen one. Exit status 1 when a proof fails: when only int8 fails, the proven
    fp32 file is left.
    """
    with contextlib.redirect_stdout(sys.stderr):
        import ftx.export

        try:
            report = ftx.export.export(
                run,
                output,
                data=data,
                overwrite=overwrite,
                quantize=quantize,
                search_budget_sec=search_budget,
                min_agreement=min_agreement,
                target=target,
                device=device,
                compare=compare,
            )
        except ftx.export.ChoiceError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        click.echo(report.to_text())
    if report.failed:
        raise click.exceptions.Exit(1)
