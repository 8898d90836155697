"""Training speed of ftx and of the tutorials' way, padding="max_length" to 128, on the same rows, threads and weights.

    .venv/bin/python benchmarks/training_speed.py --dataset train.tsv --text-column sentence

Both train in one process, taking turns, each time from the same weights; ratios are within a round. Tokenisation is
timed, too. Prints Markdown, or JSON.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import click

PADDED_LENGTH = 128


@click.command()
@click.option("--model", default="starter", show_default=True, help="'starter', a hub id or a folder.")
@click.option("--dataset", default="starter", show_default=True, help="'starter', a table or a hub id.")
@click.option("--text-column", default="text", show_default=True)
@click.option("--label-column", default="label", show_default=True)
@click.option("--rows", default=512, show_default=True, help="Rows to train on, taken at random.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Rounds of taking turns.")
@click.option("--json", "as_json", is_flag=True)
def main(
    model: str,
    dataset: str,
    text_column: str,
    label_column: str,
    rows: int,
    batch_size: int,
    rounds: int,
    as_json: bool,
) -> None:
    """Train one epoch both ways and compare rows per second."""
    with contextlib.redirect_stdout(sys.stderr):
        report = measure(model, dataset, text_column, label_column, rows, batch_size, rounds)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    tokens = f"mean {report['mean_tokens']:.0f} tokens"
    click.echo(f"{report['rows']} rows, {tokens}, batch {batch_size}, {report['threads']} threads\n")
    click.echo("| way | tokenising, rows/s | training, rows/s | mean loss |\n|---|---|---|---|")
    for name, way in report["ways"].items():
        told = f"{way['tokenise_rows_per_sec']:.0f} | {way['train_rows_per_sec']:.0f} | {way['loss']:.3f}"
        click.echo(f"| {name} | {told} |")
    each = ", ".join(f"{one:.1f}" for one in report["rounds"])
    click.echo(f"\nftx trains {report['speedup']:.1f} times as fast (rounds: {each})")


def measure(
    model: str, dataset: str, text_column: str, label_column: str, rows: int, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Time both, taking turns."""
    import torch
    import transformers

    from ftx.finetune import Recipe
    from ftx.finetune.data.labelled_text import load_labelled_text
    from ftx.finetune.model.hub import Pretrained, load_model, load_tokenizer
    from ftx.finetune.model.tokens import tokenise
    from ftx.finetune.trainer.setup import build_trainer
    from ftx.turns import announced, take_turns

    transformers.logging.set_verbosity_error()
    recipe = Recipe(
        model=model,
        dataset=dataset,
        text_column=text_column,
        label_column=label_column,
        train_rows=rows,
        eval_rows=1,
        train_batch_size=batch_size,
        max_length=PADDED_LENGTH,
        save_steps=0,
    )
    data = load_labelled_text(recipe)
    tokenizer, weights = load_tokenizer(model), load_model(model, data.head)

    def ftx_way(scratch: Path) -> tuple[Any, float]:
        began = time.perf_counter()
        train_set = tokenise(data.train, tokenizer, PADDED_LENGTH)
        seconds = time.perf_counter() - began
        trainer = build_trainer(
            recipe,
            Pretrained(model=deepcopy(weights), tokenizer=tokenizer, head=data.head),
            train_set,
            train_set.select([0]),
            precision="fp32",
            staging=scratch,
        )
        return trainer, seconds

    def tutorial_way(scratch: Path) -> tuple[Any, float]:
        import datasets

        began = time.perf_counter()
        rows_set = datasets.Dataset.from_dict(
            {"text": [text for text, _ in data.train], "labels": [target for _, target in data.train]}
        )
        train_set = rows_set.map(
            lambda batch: tokenizer(batch["text"], truncation=True, padding="max_length", max_length=PADDED_LENGTH),
            batched=True,
            remove_columns=["text"],
        )
        seconds = time.perf_counter() - began
        arguments = transformers.TrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=1,
            per_device_train_batch_size=batch_size,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            warmup_ratio=recipe.warmup_ratio,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        return transformers.Trainer(model=deepcopy(weights), args=arguments, train_dataset=train_set), seconds

    ways = {"padding to 128": tutorial_way, "ftx": ftx_way}
    turns = {name: lambda number, way=way: one_epoch(way) for name, way in ways.items()}
    times = take_turns(turns, announced(rounds))
    count = len(data.train)
    speedups = [slow[1] / fast[1] for slow, fast in zip(times["padding to 128"], times["ftx"], strict=True)]
    return {
        "rows": count,
        "mean_tokens": statistics.mean(tokenise(data.train, tokenizer, PADDED_LENGTH)["length"]),
        "threads": torch.get_num_threads(),
        "ways": {
            name: {
                "tokenise_rows_per_sec": count / statistics.median(one[0] for one in found),
                "train_rows_per_sec": count / statistics.median(one[1] for one in found),
                "loss": statistics.median(one[2] for one in found),
            }
            for name, found in times.items()
        },
        "speedup": statistics.median(speedups),
        "rounds": speedups,
    }


def one_epoch(way: Callable[[Path], tuple[Any, float]]) -> tuple[float, float, float]:
    """Train an epoch: seconds of tokenising, seconds of training, mean loss."""
    with tempfile.TemporaryDirectory() as scratch:
        trainer, tokenise_sec = way(Path(scratch))
        began = time.perf_counter()
        outcome = trainer.train()
        return tokenise_sec, time.perf_counter() - began, outcome.training_loss


if __name__ == "__main__":
    main()
