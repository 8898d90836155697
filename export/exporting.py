"""Export a checkpoint to a folder of ONNX files, each of them verified against PyTorch before it is kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ftx.baseline import weakness, weakness_of_values
from ftx.environment import environment
from ftx.export.choices import ChoiceError, check_choices, gate_of, target_here
from ftx.export.data import read_data, read_stress
from ftx.export.graph.convert import convert
from ftx.export.graph.half_precision import write_half
from ftx.export.pages.card import write_card
from ftx.export.pages.page import write_page
from ftx.export.parity.gate import Gate, predictions
from ftx.export.parity.measure import verify_fp32
from ftx.export.parity.reduced import verify_reduced
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.stress import stress_set
from ftx.export.report import ExportReport
from ftx.export.sealing import describe_fp32, figures, seal
from ftx.export.search.budget import Budget
from ftx.export.search.making import Maker
from ftx.export.search.search import SEARCHED, Searcher, find_int8
from ftx.export.source import check_enough, check_files, config_head, default_output, find_source
from ftx.heldout import data_columns
from ftx.lineage import read_teacher
from ftx.output import Kind, staged_folder

__all__ = ["export"]

log = logging.getLogger(__name__)

# What an export folder holds; a later export replaces these if they are unchanged since ftx wrote them.
OWNED = {
    "model.onnx", "model_quantized.onnx", "model_fp16.onnx", "config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt", "special_tokens_map.json", "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model",
    "added_tokens.json", "parity.json", "parity.html", "README.md",
}  # fmt: skip
KIND = Kind(what="export", owned=frozenset(OWNED), mark="parity.json")


def export(
    source: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    data: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    few: bool = False,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    max_length: int | None = None,
    quantize: str = "auto",
    search_budget: float = 120,
    min_agreement: float = Gate.min_agreement,
    stress: str | Path | None = None,
    min_stress_agreement: float | None = None,
    target: str | None = None,
    device: str = "cpu",
    compare: bool = False,
) -> ExportReport:
    """Export a checkpoint to fp32 ONNX, find its fastest faithful int8 form, and verify both against PyTorch.

    Example:
        >>> report = ftx.export("runs/reviews", quantize="fast")
        >>> sorted(report.size_bytes)
        ['model.onnx', 'model_quantized.onnx']

    Args:
        source: A run folder, a checkpoint folder, or a hub id, `ORG/NAME@REVISION`.
        output: The export folder; default: `RUN/onnx`, or `exports/NAME` for a hub id.
        overwrite: Whether an existing export may be replaced.
        data: Held-out texts, a table, one a line or a hub data set (`NAME[:CONFIG][:SPLIT]`), labelled or not; default:
            the run's `eval.jsonl`. One half of them chooses among int8 forms, the other reports on the chosen one.
        text_column: The column of the texts in `data`; default: `text`.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels in `data`; default: `label`, if there is one.
        label_columns: Columns of 0 and 1, one a label, in place of a column of labels.
        delimiter: What separates the columns of `data`; default: found out.
        few: Whether fewer than 20 texts are accepted. On fewer than 200 no smaller file passes: 100 must report.
        labels: Names of the model's labels, in place of those in its configuration.
        problem_type: Its head, likewise.
        max_length: Tokens to truncate a text to, likewise.
        quantize: `auto`: search; `fast`: the first form that passes, untimed and always the same one; `none`: fp32
            only; one of `NAMES` of scheme.py; or `optimum`: the preset of Optimum's dynamic int8 that fits `target`.
        search_budget: Seconds to spend on finding a faster form. They do not decide whether one passes: until one
            does the search continues, and it fails only after all forms were tried.
        min_agreement: Share of the texts that must get PyTorch's label.
        stress: Texts of another kind, a table or one a line, that the smaller file must agree on, too, beside those
            that are made from the held-out ones: joined, cut, in upper case, misspelt and so on.
        min_stress_agreement: Estimated share of the texts of each such kind that must get PyTorch's label; 0: not
            judged; default: 0.99, or `min_agreement` if that is lower.
        target: The kind of CPU the file is for, one of `TARGETS`; default: this one's.
        device: `cpu`, or `cuda`: fp16 for a GPU instead of int8.
        compare: Whether the search also measures other toolkits' models.

    Returns:
        What was measured. Its `failed` says why a smaller file is missing: then only the fp32 file is there.

    Raises:
        ParityError: The fp32 graph differs from PyTorch; nothing is left.
        ChoiceError: An option has an invalid value.
        ModelError, DataError, OutputError: See there.
    """
    check_choices(quantize, target, min_agreement, device)
    gate = gate_of(min_agreement, min_stress_agreement)
    if stress and quantize == "none" and device == "cpu":
        raise ChoiceError("--stress goes with a smaller file: with --quantize none there is none")
    checkpoint = find_source(str(source))
    folder = Path(output) if output else default_output(str(source))
    own_labels, own_type = config_head(checkpoint)
    check_files(checkpoint)
    from_teacher = read_teacher(checkpoint)
    named = tuple(labels or ())
    names = dict(enumerate(named)) or own_labels
    columns = data_columns(
        text_column, label_column, text_pair_column, indicators=tuple(label_columns or ()), delimiter=delimiter or ""
    )
    held_out, held_out_file = read_data(data, checkpoint, columns, names, problem_type or own_type)
    check_enough(held_out, held_out_file, few=few)
    given = read_stress(stress, columns, held_out) if stress else []

    with staged_folder(folder, kind=KIND, overwrite=overwrite) as staging:
        log.info(f"Loading {checkpoint}")
        reference = Reference(checkpoint, labels=named, problem_type=problem_type, max_length=max_length)
        manifest = describe_fp32(reference, checkpoint)
        log.info(f"Running PyTorch on {len(held_out)} held-out texts")
        every = ReferenceSet(held_out=held_out, logits=reference.logits(held_out.texts), manifest=manifest)
        choosing, reporting = every.split()
        search, reduced = None, None
        with TemporaryDirectory(dir=staging, suffix=".search") as work:
            reduces = device == "cuda" or quantize != "none"
            graphs = convert(reference, staging, Path(work), choosing if reduces else None)
            fp32, fp32_on_reporting, fp32_logits = verify_fp32(graphs.plain, every)
            verify = partial(verify_reduced, choosing=choosing, reporting=reporting, gate=gate, fp32_logits=fp32_logits)
            if reduces:
                log.info("Running PyTorch on other kinds of text")
                verify = partial(verify, stress=stress_set(reference, reporting, given[1::2] or given))
            if device == "cuda":
                path = staging / "model_fp16.onnx"
                reduced = verify(path, write_half(graphs.optimised, path))
            elif quantize != "none":
                maker = Maker(graphs, Path(work), choosing, target or target_here())
                chosen_on = stress_set(reference, choosing, given[::2]) if quantize in SEARCHED else None
                searcher = Searcher(maker, choosing, gate, Budget(search_budget), chosen_on)
                path = staging / "model_quantized.onnx"
                search, reduced = find_int8(searcher, path, quantize, verify, compare=compare)
        if reduced and reduced.verdict == "fails":
            (staging / reduced.file).unlink()
        elif reduced:
            found = figures(
                reduced.proof,
                search.candidate if search else None,
                stress=reduced.stress,
                near_boundary=reduced.near_boundary,
            )
            seal(
                staging / reduced.file,
                replace(manifest, parity=found, quantization=reduced.quantization),
                reference,
            )
        seal(graphs.plain, replace(manifest, parity=figures(fp32)), reference)
        report = ExportReport(
            folder=str(folder),
            checkpoint=str(checkpoint),
            held_out=str(held_out_file),
            device=device,
            gate=gate,
            fusion=graphs.fusion,
            fp32=fp32,
            search=search,
            int8=None if device == "cuda" else reduced,
            fp16=reduced if device == "cuda" else None,
            size_bytes={path.name: path.stat().st_size for path in sorted(staging.glob("*.onnx"))},
            environment=environment(),
            labelled=held_out.labels is not None,
            fp32_on_reporting=fp32_on_reporting if reduced else None,
            weakness=name_weakness(every),
            from_teacher=from_teacher,
        )
        report.write(staging / "parity.json")
        write_page(staging / "parity.html", report)
        write_card(staging / "README.md", report, manifest)
    return report


def name_weakness(every: ReferenceSet) -> str:
    """Say how PyTorch's predictions are no better than a constant; empty where they are better."""
    labels = every.held_out.labels
    if every.manifest.problem_type == "regression":
        true = None if labels is None else [float(one) for one in labels if isinstance(one, int | float)]
        return weakness_of_values(true, every.logits.reshape(-1).tolist())
    known = (
        [None] * len(every) if labels is None else [frozenset(one) if isinstance(one, list) else one for one in labels]
    )
    return weakness(Counter(zip(known, predictions(every.logits, every.manifest), strict=True)))
