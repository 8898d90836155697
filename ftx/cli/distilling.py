"""`ftx distill`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ftx.cli.answering import answer, working
from ftx.cli.options import (
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
    COUNT,
    COUNTS,
    DATA_SET,
    FILES,
    NAMES,
    PRECISION,
    SEED,
    SHARE,
    SHARES,
    TEXT,
    Finite,
)

__all__ = ["distill"]

NO_MORE_TEXT = Path("-")


@click.command(epilog="Example: ftx distill runs/starter --layers 3")
@click.argument("teacher", type=DATA_SET)
@click.option(
    "--layers", type=COUNTS, help="How many of the teacher's layers the student has; with --search several, by commas."
)
@click.option(
    "--search",
    is_flag=True,
    help="Try several depths and widths, export each student, time them beside the teacher, and name the fastest that "
    "is accurate enough.  [default: fewer layers, five depths at most, and half the heads with 0.375 of the neurons]",
)
@click.option(
    "--keep",
    type=COUNTS,
    help="Or which ones, by commas, counted from 0.  [default: the best of several choices]",
)
@click.option(
    "--ffn-share",
    type=SHARES,
    help="Share of each layer's feed-forward neurons to keep, the most important ones on training text; with --search "
    "several, by commas.  [default: 1]",
)
@click.option(
    "--heads", type=COUNTS, help="How many of each layer's attention heads to keep, likewise.  [default: all]"
)
@click.option(
    "--unlabelled",
    type=FILES,
    help="More text to learn from: a table, a folder of tables, a text on each line, or a hub data set.",
)
@click.option(
    "--unlabelled-column",
    type=TEXT,
    help="Column of its texts, and of those of --trim-vocab.  [default: text, else the only one]",
)
@click.option(
    "--trim-vocab",
    type=FILES,
    is_flag=False,
    flag_value=NO_MORE_TEXT,
    metavar="[FILE]",
    help="Make the file smaller: drop the tokens that neither the training text nor single characters need, nor the "
    "texts of FILE.",
)
@click.option(
    "--max-loss",
    type=Finite(0, 100),
    help="Points of accuracy (macro F1, Pearson) that may be lost.  [default: 1]",
)
@click.option(
    "--temperature", type=Finite(0.1, 100), help="What both models' logits are divided by in the loss.  [default: 2]"
)
@click.option("--hard-weight", type=SHARE, help="Share of the labels in the loss.  [default: 0.1]")
@click.option(
    "--candidate-steps",
    type=COUNT,
    help="Steps to try each choice of layers for; 0: take the evenly spread ones.  [default: 40]",
)
@output(
    help="The student's run folder; with --search a folder for theirs.  [default: runs/TEACHER-N-layers, "
    "for a narrower one runs/TEACHER-N-layers-narrow; runs/TEACHER-students]"
)
@overwrite(help="Replace an existing run.")
@resume(help="Resume an unfinished run from its newest checkpoint; with --search that is always done.")
@click.option("--dataset", type=DATA_SET, help="Labelled text.  [default: that of the teacher's run]")
@text_column(help="Column of the texts.  [default: the run's, else text]")
@text_pair_column()
@label_column(help="Column of the labels, or of lists of them.  [default: the run's, else label]")
@label_columns()
@click.option("--labels", type=NAMES, help="Names of the teacher's labels, by commas.  [default: its own]")
@delimiter()
@skip_bad_rows(default=None, help="Skip up to this many bad rows, listed in RUN/bad_rows.jsonl.")
@click.option(
    "--validation",
    type=FILES,
    help="What is held out.  [default: what the teacher's run held out, else a tenth of the sentences]",
)
@click.option("--train-rows", type=COUNT, help="Training rows, sampled at random; 0: all.")
@click.option("--max-length", type=AT_LEAST_ONE, help="Truncate texts to this many tokens.")
@click.option("--epochs", type=Finite(0, 10**6, min_open=True), help="Passes over the training rows.  [default: 3]")
@click.option("--max-steps", type=COUNT, help="Stop after this many steps; 0: as many as the epochs take.")
@click.option("--save-steps", type=COUNT, help="Steps between checkpoints to resume from; 0: none.")
@click.option("--batch-size", type=BATCH, help="Texts per training step.")
@click.option("--learning-rate", type=ABOVE_ZERO, help="Peak learning rate.  [default: the run's, else 1e-4]")
@click.option("--precision", type=PRECISION, help="auto (as ftx train chooses), fp32, fp16 or bf16.")
@click.option("--seed", type=SEED, help="Seed of the order of the rows and of dropout.")
@as_json(help="Print distillation.json; with --search students.json.")
def distill(
    teacher: str,
    layers: tuple[int, ...] | None,
    search: bool,
    keep: tuple[int, ...] | None,
    ffn_share: tuple[float, ...] | None,
    heads: tuple[int, ...] | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    trim_vocab: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Distil a classifier into one of fewer or narrower layers, and compare both on held-out text.

    TEACHER is a run folder of ftx train; or, with --dataset, a checkpoint folder of any maker or a hub id, either with
    @REVISION. The student is a run folder, too: export it, time it and serve it as any other. Exit status 1 if it loses
    more than --max-loss on the held-out text; it is kept all the same.
    """
    trimmed = True if trim_vocab == NO_MORE_TEXT else trim_vocab
    if search:
        if keep is not None:
            raise click.UsageError("--search chooses the layers of each student: omit --keep")
        shapes = {"layers": layers or (), "ffn_share": ffn_share or (), "heads": heads or ()}
        find(teacher, output, trimmed, overwrite=overwrite, as_json=as_json, values={**shapes, **values})
        return
    if layers is None and keep is None:
        raise click.UsageError("give --layers, how many the student has, or --keep, which ones")
    for option, several in (("--layers", layers), ("--ffn-share", ffn_share), ("--heads", heads)):
        if several is not None and len(several) != 1:
            raise click.UsageError(f"{option}: several go with --search")
    with working():  # libraries print; stdout is for the result
        import ftx
        from ftx import finetune

        report = ftx.distill(
            teacher,
            layers=layers[0] if layers else None,
            keep=keep,
            ffn_share=ffn_share[0] if ffn_share else None,
            heads=heads[0] if heads else None,
            trim_vocab=trimmed,
            output=output,
            overwrite=overwrite,
            resume=resume,
            **values,
        )
    if not finetune.is_first_process():
        return
    if as_json:
        answer(json.dumps(report.to_dict()))
    else:
        answer(f"run        {report.run}")
        answer(report.to_text())
        answer(f"next       ftx export {report.run}")
        answer(f"page       {Path(report.run) / 'training.svg'}")
    if report.failed:
        raise click.exceptions.Exit(1)


def find(
    teacher: str,
    output: Path | None,
    trimmed: Path | bool | None,
    *,
    overwrite: bool,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    """Search among students, and tell what was found."""
    with working():
        import ftx

        found = ftx.search_students(
            teacher,
            output=output,
            overwrite=overwrite,
            trim_vocab=trimmed,
            **values,
        )
    if as_json:
        answer(json.dumps(found.to_dict()))
    else:
        answer(found.to_text())
        if found.chosen:
            answer(f'next     ftx predict --onnx {Path(found.chosen) / "onnx"} "your text"')
        answer(f"page     {Path(found.folder) / 'students.html'}")
    if found.failed:
        raise click.exceptions.Exit(1)
