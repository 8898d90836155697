"""From a checkpoint to a folder of ONNX files, each proven before it is kept."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx import typed
from ftx.environment import environment, versions
from ftx.errors import ModelError, ParityError
from ftx.export.graph.convert import export_graph, optimise
from ftx.export.graph.half_precision import write_half
from ftx.export.parity.flips import find_flips
from ftx.export.parity.gate import FP32_ATOL, Gate, check_labels, largest_prob_diff
from ftx.export.parity.measure import Proof, measure
from ftx.export.parity.probes import add_probes
from ftx.export.parity.reference import Reference
from ftx.export.parity.saturation import portability
from ftx.export.quantization.scheme import SCHEMES, TARGETS
from ftx.export.report import ExportReport, Reduced
from ftx.export.search.budget import Budget
from ftx.export.search.search import Search, Searcher
from ftx.heldout import HeldOut, find_held_out, read_held_out
from ftx.machine import instruction_sets, int8_can_saturate
from ftx.manifest import Manifest, write_manifest
from ftx.output import Kind, staged_folder
from ftx.run_folder import find_checkpoint
from ftx.runtime import verify

__all__ = ["QUANTIZE", "ChoiceError", "export"]

# What an export folder holds; a later export replaces these where they are as ftx left them.
OWNED = {
    "model.onnx", "model_quantized.onnx", "model_fp16.onnx", "config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt", "special_tokens_map.json", "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model",
    "added_tokens.json", "parity.json", "parity.html", "README.md",
}  # fmt: skip
KIND = Kind(what="export", owned=frozenset(OWNED), mark="parity.json")
# What the manifest tells of the checkpoint's metrics.json.
METRICS = (
    "accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "eval_rows",
)  # fmt: skip
NOT_QUANTIZED = {"scheme": "none: fp32", "safe_on": ["any"]}
QUANTIZE = ("auto", "fast", "none", *SCHEMES)
# More texts than this make the search slow and its choice hardly better.
MAX_CHOOSING = 1000


class ChoiceError(ValueError):
    """An option has a value that is no choice."""


def export(
    run: str | Path,
    output: str | Path | None = None,
    *,
    data: str | Path | None = None,
    overwrite: bool = False,
    quantize: str = "auto",
    search_budget_sec: float = 120.0,
    target: str | None = None,
    min_agreement: float = Gate.min_agreement,
    device: str = "cpu",
    compare: bool = False,
) -> ExportReport:
    """Export a checkpoint to fp32 ONNX, find its fastest faithful int8 form, and prove both against PyTorch.

    Args:
        run: A run folder, or a checkpoint folder.
        output: The export folder; default: `RUN/onnx`.
        data: Held-out texts as JSON lines; default: the run's `eval.jsonl`. One half of them chooses among int8 forms,
            the other reports on the chosen one.
        overwrite: Whether an export that is there may be replaced.
        quantize: `auto`: search; `fast`: the first form that passes, not timed, always the same one; `none`: fp32
            alone; or one of `SCHEMES`.
        search_budget_sec: Seconds that may go into finding a faster form. They do not decide whether one passes: until
            one does, the search goes on, and it fails only after all forms were tried.
        target: The kind of CPU the file is for, one of `TARGETS`; default: this one's.
        min_agreement: Share of the texts that must get PyTorch's label.
        device: `cpu`, or `cuda`: fp16 for a GPU in place of int8.
        compare: Whether the search measures other toolkits' models, too.

    Returns:
        What was measured. Its `failed` says why a smaller file is missing: then only the fp32 file is there.

    Raises:
        ParityError: The fp32 graph does not say what PyTorch says; nothing is left.
        ChoiceError: An option has a value that is no choice.
        ModelError, DataError, OutputError: See there.
    """
    check_choices(quantize, target, min_agreement, device)
    checkpoint = find_checkpoint(Path(run))
    folder = Path(output) if output else Path(run) / "onnx"
    held_out_file = Path(data) if data else find_held_out(checkpoint)
    held_out = read_held_out(held_out_file)
    target = target or target_here()
    gate = Gate(min_agreement=min_agreement)

    from ftx.export.pages.card import write_card
    from ftx.export.pages.page import write_page

    with staged_folder(folder, kind=KIND, overwrite=overwrite) as staging:
        say(f"Loading {checkpoint}")
        reference = Reference(checkpoint)
        manifest = describe(reference, checkpoint)
        check_labels(held_out, manifest, held_out_file)
        say(f"Asking PyTorch about {len(held_out)} held-out texts")
        logits = reference.logits(held_out.texts)
        say("Exporting to ONNX with Optimum")
        model = export_graph(reference, staging)
        choosing, reporting = halves(len(held_out))
        work = staging / "search"
        work.mkdir()
        optimised = work / "optimised.onnx"
        fusion = optimise(model, optimised, reference, held_out.take(choosing).texts, logits[choosing])
        fp32 = prove_fp32(model, logits, held_out)
        hold = partial(
            prove,
            manifest=manifest,
            reference_logits=logits[reporting],
            held_out=held_out.take(reporting),
            gate=gate,
        )
        search, reduced = None, None
        if device == "cuda":
            path = staging / "model_fp16.onnx"
            reduced = hold(path, write_half(optimised, path))
        elif quantize != "none":
            searcher = Searcher(
                model, optimised, work, held_out=held_out.take(choosing), reference_logits=logits[choosing],
                gate=gate, target=target, budget=Budget(search_budget_sec),
            )  # fmt: skip
            search, reduced = find_int8(searcher, staging / "model_quantized.onnx", quantize, hold, compare=compare)
        shutil.rmtree(work)
        if reduced and reduced.verdict == "fails":
            (staging / reduced.file).unlink()
        elif reduced:
            made = replace(manifest, parity=figures(reduced.proof, search), quantization=reduced.quantization)
            seal(staging / reduced.file, made, reference)
        seal(model, replace(manifest, parity=figures(fp32)), reference)
        report = ExportReport(
            folder=str(folder),
            checkpoint=str(checkpoint),
            held_out=str(held_out_file),
            device=device,
            gate=gate,
            fusion=fusion,
            fp32=fp32,
            search=search,
            int8=None if device == "cuda" else reduced,
            fp16=reduced if device == "cuda" else None,
            size_bytes={path.name: path.stat().st_size for path in sorted(staging.glob("*.onnx"))},
            environment=environment(),
        )
        (staging / "parity.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        write_page(staging / "parity.html", report)
        write_card(staging / "README.md", report, manifest)
    return report


def check_choices(quantize: str, target: str | None, min_agreement: float, device: str) -> None:
    """Refuse what is no choice.

    Raises:
        ChoiceError: One is not.
    """
    for name, value, known in (
        ("--quantize", quantize, QUANTIZE),
        ("--target", target or "any", tuple(TARGETS)),
        ("--device", device, ("cpu", "cuda")),
    ):
        if value not in known:
            raise ChoiceError(f"{name} {value}: expected one of {', '.join(known)}")
    if not 0.5 <= min_agreement <= 1:
        raise ChoiceError(f"--min-agreement {min_agreement:g}: expected a share from 0.5 to 1, like 0.995")


def target_here() -> str:
    """Name the kind of CPU that this machine has."""
    if "arm64" in instruction_sets():
        return "arm64"
    return "avx2" if int8_can_saturate() else "vnni"


def halves(texts: int) -> tuple[list[int], list[int]]:
    """Split rows into those that choose and those that report, in turn; a lone text does both."""
    choosing, reporting = list(range(0, texts, 2)), list(range(1, texts, 2))
    places = np.linspace(0, len(choosing) - 1, min(MAX_CHOOSING, len(choosing)))
    return [choosing[int(place)] for place in places], reporting or choosing


def find_int8(
    searcher: Searcher, path: Path, quantize: str, hold: Callable[[Path, dict[str, Any]], Reduced], *, compare: bool
) -> tuple[Search, Reduced | None]:
    """Search for an int8 form, and hold the chosen one against PyTorch on the texts that report.

    A form that fails there is out, and the search goes on without it: so whether some form passes does not depend on
    which of them had the time to be found first.

    Args:
        searcher: Makes the forms.
        path: Where the file goes.
        quantize: See `Searcher.search`; a scheme that is asked for by name is the only one tried.
        hold: Measures a file on the texts that report.
        compare: Whether other toolkits' models are measured, too.

    Returns:
        The search, and what the last form to be chosen did on the texts that report; None where none was chosen.
    """
    search, reduced = searcher.search(quantize, compare=compare), None
    while search.chosen in searcher.schemes:
        scheme = searcher.schemes[search.chosen]
        searcher.file(search.chosen).rename(path)
        reduced = hold(path, {**scheme.describe(), **portability(path), "target": searcher.target})
        if reduced.verdict != "fails" or quantize in SCHEMES:
            return search, reduced
        search = searcher.search_on()
    return search, None if search.chosen else reduced


def prove(
    path: Path,
    made: dict[str, Any],
    *,
    manifest: Manifest,
    reference_logits: NDArray[np.float32],
    held_out: HeldOut,
    gate: Gate,
) -> Reduced:
    """Measure the file that was chosen on texts that had no part in the choice."""
    proof, logits = measure(path, reference_logits, held_out)
    verdict = proof.verdict(gate)
    say(f"On {len(held_out)} other held-out texts: {proof.worst.to_text()}: {verdict}")
    return Reduced(
        file=path.name,
        quantization={**made, "gate": asdict(gate)},
        parity=proof.parity,
        batch_invariance=proof.batch_invariance,
        verdict=verdict,
        flips=find_flips(held_out, reference_logits, logits, manifest),
        prob_diffs=sorted(map(float, largest_prob_diff(logits, reference_logits, manifest))),
    )


def describe(reference: Reference, checkpoint: Path) -> Manifest:
    """Make the fp32 file's manifest, but for its parity and probes."""
    metrics_file = checkpoint.resolve().parent / "metrics.json"
    thresholds = getattr(reference.model.config, "thresholds", None) or {}
    try:
        metrics = typed.read_object(metrics_file.read_bytes()) if metrics_file.is_file() else {}
        return Manifest(
            problem_type=reference.problem_type,
            id2label=reference.id2label,
            max_length=reference.max_length,
            input_names=tuple(reference.tokenizer.model_input_names),
            text_pair=reference.text_pair,
            pad_token_id=reference.tokenizer.pad_token_id or 0,
            thresholds=thresholds,
            quantization=NOT_QUANTIZED,
            metrics={name: metrics[name] for name in METRICS if name in metrics},
            producer=versions(),
        )
    except ValueError as error:
        raise ModelError(f"Checkpoint {checkpoint} can't be exported: {error}") from error


def prove_fp32(model: Path, reference_logits: NDArray[np.float32], held_out: HeldOut) -> Proof:
    """Hold the exported graph against PyTorch on every held-out text.

    Raises:
        ParityError: A logit differs by more than `FP32_ATOL`.
    """
    proof, _ = measure(model, reference_logits, held_out)
    worst = max(proof.parity, key=lambda result: result.max_abs_logit_diff)
    if not proof.same_numbers():
        raise ParityError(
            f"The ONNX graph does not say what PyTorch says: max |Δlogit| {worst.max_abs_logit_diff:.3g} on "
            f"{worst.texts} held-out texts, expected at most {FP32_ATOL:g}; nothing was exported"
        )
    say(f"fp32: max |Δlogit| {worst.max_abs_logit_diff:.2g} on {worst.texts} held-out texts: passes")
    return proof


def figures(proof: Proof, search: Search | None = None) -> dict[str, Any]:
    """Arrange a proof's figures for the manifest."""
    found: dict[str, Any] = {f"batch_{result.batch_size}": asdict(result) for result in proof.parity}
    found["batch_invariance"] = asdict(proof.batch_invariance)
    chosen = [one for one in search.candidates if one.name == search.chosen] if search else []
    if chosen and chosen[0].speed:
        speed = chosen[0].speed
        found["batch_invariance"]["batched_speedup"] = speed.texts_per_sec * speed.latency_ms / 1000
    return found


def seal(path: Path, manifest: Manifest, reference: Reference) -> None:
    """Put the manifest, the tokenizer and golden probes into a proven file, and check that it still says the same.

    Raises:
        ParityError: The finished file does not answer its own probes.
    """
    tokenizer_json = (path.parent / "tokenizer.json").read_text(encoding="utf-8")
    write_manifest(path, add_probes(manifest, path, reference), tokenizer_json)
    report = verify(path)
    if not report.passed:
        raise ParityError(
            f"{path.name} does not answer its golden probes: max |Δlogit| {report.max_abs_diff:.3g}, "
            f"expected at most {report.atol:g}; nothing was exported"
        )


def say(line: str) -> None:
    """Tell the user on stderr."""
    print(line, file=sys.stderr)
