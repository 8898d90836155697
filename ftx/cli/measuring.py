"""`ftx evaluate`, `ftx verify` and `ftx bench`."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

__all__ = ["bench", "evaluate", "metric_lines", "verify"]


@click.command(epilog="Example: ftx evaluate --run runs/starter --data test.csv")
@click.option("--run", type=click.Path(path_type=Path), help="A run or checkpoint folder.")
@click.option("--onnx", type=click.Path(path_type=Path), help="Or an .onnx file, or a folder with one.")
@click.option("--data", type=click.Path(path_type=Path), help="Labelled rows.  [default: the run's held-out ones]")
@click.option("--text-column", "text", help="The column of the texts.  [default: the run's]")
@click.option("--text-pair-column", "text_pair", help="The column of the second texts.")
@click.option("--label-column", "label", help="The column of the labels, or of lists of them.")
@click.option("--label-columns", "indicators", help="For multi-label, instead: columns with 1 or 0, by commas.")
@click.option("--delimiter", help="What separates the cells of a .csv, .tsv or .txt file; else found out.")
@click.option("--skip-bad-rows", type=click.IntRange(0), default=0, help="Rows that may be unusable.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, the confusion matrix too.")
def evaluate(
    run: Path | None,
    onnx: Path | None,
    data: Path | None,
    indicators: str | None,
    skip_bad_rows: int,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Score a checkpoint or an ONNX file on labelled rows, as training scores its held-out ones."""
    if (run is None) == (onnx is None):
        raise click.UsageError("give either --run or --onnx")
    given: dict[str, Any] = {name: value for name, value in columns.items() if value is not None}
    if indicators is not None:
        given["indicators"] = tuple(part.strip() for part in indicators.split(",") if part.strip())
    with contextlib.redirect_stdout(sys.stderr):
        from ftx import finetune
        from ftx.runtime import Predictor

        model = Predictor(onnx) if onnx else run
        report = finetune.evaluate(model, data, columns=given, skip_bad_rows=skip_bad_rows)  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    click.echo(f"model      {report.model}")
    skipped = f", {report.bad_rows} bad ones skipped" if report.bad_rows else ""
    click.echo(f"data       {report.data}, {report.rows} rows{skipped}")
    for line in metric_lines(report.metrics, report.scores):
        click.echo(line)
    classes = getattr(report.scores, "classes", {})
    if classes:
        width = max(map(len, (*classes, "label")))
        click.echo(f"\n{'label':<{width}}  precision  recall  F1      rows")
    for name, one in classes.items():
        click.echo(f"{name:<{width}}  {one.precision:<9.4f}  {one.recall:.4f}  {one.f1:.4f}  {one.support}")


def metric_lines(metrics: dict[str, float], scores: Any) -> list[str]:
    """Write metrics, a line each, the one that has an interval with it."""
    intervals = {name: getattr(scores, f"{name}_interval", None) for name in metrics}
    lines = []
    for name, value in metrics.items():
        interval = intervals[name]
        said = f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        lines.append(f"{name:<10} {value:.4f}{said}")
    return lines


@click.command(epilog="Example: ftx verify --onnx model.onnx")
@click.option("--onnx", type=click.Path(path_type=Path), required=True, help="The .onnx file, or a folder with one.")
@click.option(
    "--against", type=click.Path(path_type=Path), help="A run or checkpoint: compare full logits with PyTorch."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Labelled texts for that.  [default: the run's eval.jsonl]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def verify(onnx: Path, against: Path | None, data: Path | None, as_json: bool) -> None:
    """Check that an ONNX file says here what it said where it was exported, without PyTorch.

    Replays the golden probes that the file carries. With --against, compares its logits with a PyTorch checkpoint's.
    Exit status 1 when it does not pass.
    """
    if data and not against:
        raise click.UsageError("--data goes with --against")
    import ftx.runtime

    probes = ftx.runtime.verify(onnx)
    if probes.notice:
        click.echo(probes.notice, err=True)
    comparison = None
    if against:
        with contextlib.redirect_stdout(sys.stderr):
            import ftx.export

            comparison = ftx.export.compare(onnx, against, data=data)
    passed = probes.passed and (comparison is None or comparison.passed)
    if as_json:
        report = {"passed": passed, "probes": asdict(probes), "against": comparison and comparison.to_dict()}
        click.echo(json.dumps(report))
    else:
        click.echo(
            f"{said(probes.passed)}  {probes.probes} golden probes, max |Δlogit| {probes.max_abs_diff:.2g} "
            f"(at most {probes.atol:g})"
        )
        if probes.renamed:
            click.echo(
                f"FAILED  {probes.renamed} of them have another label now: the names are not those of the export"
            )
        if comparison:
            verdict = {"passes": "passed", "near": "near  ", "fails": "FAILED"}[comparison.verdict]
            for result in comparison.proof.parity:
                click.echo(f"{verdict}  PyTorch, {result.texts} texts, {result.to_text()}")
            click.echo(f"{verdict}  {comparison.proof.batch_invariance.to_text()}")
            near = " (near it, not through it)" if comparison.verdict == "near" else ""
            click.echo(f"asked for: {comparison.gate}{near}")
    if not passed:
        raise click.exceptions.Exit(1)


def said(passed: bool) -> str:
    """Say whether something passed."""
    return "passed" if passed else "FAILED"


@click.command(epilog="Example: ftx bench --onnx runs/starter/onnx --against runs/starter --output report")
@click.option("--onnx", type=click.Path(path_type=Path), required=True, help="The .onnx file, or an export folder.")
@click.option(
    "--against", type=click.Path(path_type=Path), required=True, help="The run or checkpoint it was made from."
)
@click.option("--data", type=click.Path(path_type=Path), help="Labelled texts.  [default: the run's eval.jsonl]")
@click.option("--threads", type=click.IntRange(1), help="Threads of each engine.  [default: the usable cores]")
@click.option("--texts", type=click.IntRange(1), default=512, show_default=True, help="Texts to time on.")
@click.option("--rounds", type=click.IntRange(1), default=4, show_default=True, help="Rounds of taking turns.")
@click.option("--output", type=click.Path(path_type=Path), help="Write bench.json and bench.md into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def bench(
    onnx: Path,
    against: Path,
    data: Path | None,
    threads: int | None,
    texts: int,
    rounds: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure int8, fp32 and PyTorch side by side: latency, throughput, memory, size, agreement."""
    with contextlib.redirect_stdout(sys.stderr):
        from ftx.export.bench import bench as measure

        if output:
            output.mkdir(parents=True, exist_ok=True)
        report = measure(onnx, against, data=data, threads=threads, texts=texts, rounds=rounds)
        as_text, markdown = json.dumps(report.to_dict(), indent=2) + "\n", report.to_markdown()
        if output:
            (output / "bench.json").write_text(as_text, encoding="utf-8")
            (output / "bench.md").write_text(markdown, encoding="utf-8")
    click.echo(as_text if as_json else markdown, nl=False)
