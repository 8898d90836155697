"""Make candidates, hold each against PyTorch on the texts that choose, time those that pass, take the fastest."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from ftx.errors import ModelError
from ftx.export.batches import BATCH_SIZE, Batches
from ftx.export.margins import expected_agreement
from ftx.export.parity import Gate, Parity, compare_logits
from ftx.export.peers import Peer, peers
from ftx.export.quantization.calibration import Calibration
from ftx.export.quantization.candidate import Candidate, choose, judge, mark_front
from ftx.export.quantization.linear import linears
from ftx.export.quantization.observed import calibrate
from ftx.export.quantization.race import Run, race
from ftx.export.quantization.scheme import SCHEMES, Scheme, for_target
from ftx.export.quantization.sensitivity import Sensitivity, Switched
from ftx.export.quantization.write import write_quantized
from ftx.heldout import HeldOut
from ftx.machine import usable_cores
from ftx.manifest import Manifest
from ftx.runtime.model_file import describe
from ftx.runtime.session import open_session

__all__ = ["Search", "Searcher"]

# How much of the budget may be gone before nothing more is tried; the race has the rest. Until something passes, it is
# better to try on than to time well.
TRY_UNTIL, TRY_UNTIL_ONE_PASSES = 0.6, 0.85
# How much of it may go into finding the worst operators.
RANK_SHARE = 0.15
# How many of the worst operators are rescued at once, in each way. What costs more is tried where nothing passes yet:
# it is slower, and blocks are not quite the same from batch to batch. Fused attention can only be left in fp32.
RESCUED = {"outliers": (1, 2, 4, 8), "blockwise": (4, 8), "fp32": (4, 8)}
# How many of these are chosen by what they do together; the others follow by what they do alone.
GREEDY = 4
# Tried first: the best of them is the one to rescue.
FIRST = list(SCHEMES)[:1]
CALIBRATION_BATCHES = 300


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the quantised file was found.

    Attributes:
        candidates: All that was tried.
        ranking: The operators by what int8 does to each alone, the worst first.
        chosen: The name of the one taken; None where none is near the gate.
        texts: Texts that chose.
        sec: Seconds it took.
    """

    candidates: list[Candidate]
    ranking: list[Sensitivity]
    chosen: str | None
    texts: int
    sec: float


class Searcher:
    """Makes and measures candidates for one model.

    Args:
        plain: The fp32 graph, its tokenizer.json and config.json beside it.
        optimised: The same graph with fused operators, which is what is quantised.
        work: An empty folder for the candidates' files.
        held_out: The texts that choose. They calibrate the activations, too.
        reference_logits: PyTorch's on them. *Shape:* `(len(held_out), num_labels)`.
        gate: What is asked.
        target: The kind of CPU that the file is for.
    """

    def __init__(
        self,
        plain: Path,
        optimised: Path,
        work: Path,
        *,
        held_out: HeldOut,
        reference_logits: NDArray[np.float32],
        gate: Gate,
        target: str,
    ) -> None:
        self.plain, self.optimised, self.work = plain, optimised, work
        self.held_out, self.reference_logits, self.gate, self.target = held_out, reference_logits, gate, target
        self.manifest: Manifest = describe(plain)[0]
        self.batches = Batches(held_out.texts, plain, [node.name for node in open_session(optimised).get_inputs()])
        self.calibration = Calibration(calibrate(optimised, self.batches))
        self.candidates: list[Candidate] = []
        self.schemes: dict[str, Scheme] = {}
        self.runs: dict[str, Run] = {}
        self.ranking: list[Sensitivity] = []
        self.began = time.perf_counter()
        # Over the seconds of the budget; on a terminal only.
        self.bar = tqdm(desc="Searching", unit=" s", disable=None, leave=False, file=sys.stderr)

    def search(self, quantize: str, budget_sec: float, *, compare: bool) -> Search:
        """Search as the user says: `auto`, `fast`, or one of `SCHEMES` by name."""
        if quantize == "auto":
            return self.auto(budget_sec, compare=compare)
        return self.fast() if quantize == "fast" else self.only(SCHEMES[quantize])

    def auto(self, budget_sec: float, *, compare: bool) -> Search:
        """Search for the fastest form that passes the gate.

        Args:
            budget_sec: Seconds to spend, calibration not counted.
            compare: Whether other toolkits' models are measured, too.
        """
        self.bar.total = round(budget_sec)
        others = islice(
            peers(self.plain.parent, self.work, self.calibration_batches(), usable_cores()), None if compare else 1
        )
        for peer in others:
            self.try_peer(peer)
        self.try_fp32("fp32", self.plain)
        self.try_fp32("fp32, optimised graph", self.optimised)
        for name in FIRST:
            if self.time_to_try(budget_sec):
                self.try_scheme(SCHEMES[name])
        for scheme in self.rescues(RANK_SHARE * budget_sec):
            if self.time_to_try(budget_sec):
                self.try_scheme(scheme)
        for scheme in list(SCHEMES.values())[len(FIRST) :]:
            if self.time_to_try(budget_sec):
                with suppress(ModelError):  # not every layout has operators for it
                    self.try_scheme(scheme)
        self.race(budget_sec)
        self.bar.close()
        self.candidates = mark_front(self.candidates)
        chosen = choose(self.candidates)
        return self.result(chosen.name if chosen else None)

    def fast(self) -> Search:
        """Take the first scheme that passes, the worst operators rescued where need be; nothing is timed."""
        for name in FIRST:
            if self.try_scheme(SCHEMES[name]).verdict == "passes":
                return self.result(name)
        for scheme in self.rescues():
            if self.try_scheme(scheme).verdict == "passes":
                return self.result(scheme.name)
        near = [one for one in self.candidates if one.verdict == "near"]
        return self.result(max(near, key=lambda one: one.expected_agreement).name if near else None)

    def only(self, scheme: Scheme) -> Search:
        """Take one scheme, if it is near the gate."""
        return self.result(scheme.name if self.try_scheme(scheme).verdict != "fails" else None)

    def result(self, chosen: str | None) -> Search:
        """Sum up."""
        return Search(
            candidates=self.candidates,
            ranking=self.ranking,
            chosen=chosen,
            texts=len(self.held_out),
            sec=self.spent(),
        )

    def file(self, name: str) -> Path:
        """Name a candidate's file."""
        return self.work / f"{name}.onnx"

    def try_scheme(self, scheme: Scheme) -> Candidate:
        """Write one int8 graph and measure it.

        Raises:
            ModelError: The architecture has no operator for it.
        """
        scheme = for_target(scheme, self.target)
        path = self.file(scheme.name)
        write_quantized(self.optimised, path, scheme, self.calibration)
        session = open_session(path)
        alone = None
        logits = self.batches.logits(session, BATCH_SIZE)
        if scheme.activations == "dynamic":
            alone = self.batches.logits(session, 1)
        return self.add(scheme.name, "int8", scheme.describe(), path.stat().st_size, session, logits, alone, scheme)

    def try_fp32(self, name: str, path: Path) -> None:
        """Measure an fp32 graph."""
        session = open_session(path)
        self.add(name, "fp32", {"scheme": name}, path.stat().st_size, session, self.batches.logits(session, BATCH_SIZE))

    def try_peer(self, peer: Peer) -> None:
        """Measure another toolkit's model."""
        together, alone = (
            self.batches.in_order([peer.run(batch) for batch in self.batches.of(size)]) for size in (BATCH_SIZE, 1)
        )
        self.add(peer.name, "peer", {"scheme": peer.name}, peer.size_bytes, peer.run, together, alone)

    def add(
        self,
        name: str,
        kind: str,
        scheme: dict[str, Any],
        size_bytes: int,
        runner: Any,
        logits: NDArray[np.float32],
        alone: NDArray[np.float32] | None = None,
        made_by: Scheme | None = None,
    ) -> Candidate:
        """Judge a candidate by its logits, and keep what answers for the race."""
        parity = self.compare(logits, self.reference_logits)
        expected = expected_agreement(logits, self.reference_logits, self.manifest)
        parity_alone = None if alone is None else self.compare(alone, self.reference_logits)
        batch_flips = None if alone is None else self.compare(logits, alone).flips
        candidate = Candidate(
            name=name,
            kind=kind,
            scheme=scheme,
            size_bytes=size_bytes,
            parity=parity,
            expected_agreement=expected,
            batch_flips=batch_flips,
            verdict=judge(parity, parity_alone, expected, batch_flips, self.gate),
        )
        self.candidates.append(candidate)
        if made_by:
            self.schemes[name] = made_by
        if kind != "int8" or candidate.verdict != "fails":  # an open session holds the model in memory
            self.runs[name] = runner if callable(runner) else lambda batch: np.asarray(runner.run(None, batch)[0])
        self.bar.write(candidate.to_text(), file=sys.stderr)
        self.tick()
        return candidate

    def compare(self, logits: NDArray[np.float32], reference_logits: NDArray[np.float32]) -> Parity:
        """Compare two sets of logits of all texts."""
        return compare_logits(logits, reference_logits, self.held_out, self.manifest, BATCH_SIZE)

    def rescues(self, rank_sec: float = math.inf) -> Iterator[Scheme]:
        """Improve the best scheme so far: ever more of its worst operators rescued, in one way after the other.

        Args:
            rank_sec: Seconds to find out which these are, about.
        """
        tried = [one for one in self.candidates if one.name in self.schemes]
        if not tried:
            return
        best = max(tried, key=lambda one: one.expected_agreement)
        scheme = self.schemes[best.name]
        switchable = self.file("switchable")
        write_quantized(self.optimised, switchable, scheme, self.calibration, rearrange=False)
        switched = Switched(self.optimised, switchable, self.batches, count=GREEDY, budget_sec=rank_sec)
        self.ranking = switched.rank()
        kinds = {linear.node: linear.kind for linear in linears(onnx.load(str(self.optimised)).graph)}
        ranked = [entry for entry in self.ranking if entry.node in kinds]
        together = switched.worst_together(ranked, GREEDY)
        worst = together + [entry.node for entry in ranked if entry.node not in together]
        products = [node for node in worst if kinds[node] == "MatMul"]
        for place, (rescue, counts) in enumerate(RESCUED.items()):
            if place and self.one_passes():
                return  # what costs more is not needed
            nodes = worst if rescue == "fp32" else products
            for count in counts:
                if count <= len(nodes) and (rescue != "fp32" or count < len(kinds)):  # else it would be no int8 file
                    name = f"{scheme.name}-{rescue}-x{count}"
                    yield replace(scheme, name=name, rescue=rescue, rescued_nodes=tuple(nodes[:count]))

    def race(self, budget_sec: float) -> None:
        """Time what passes (what is near, if nothing does), fp32 and the peers, in pairs with the first peer."""
        verdicts = {one.verdict for one in self.candidates if one.kind == "int8"}
        fit = "passes" if "passes" in verdicts else "near"
        timed = [one for one in self.candidates if one.kind != "int8" or one.verdict == fit]
        runs = {one.name: self.runs[one.name] for one in timed}
        speeds = race(runs, self.batches, max(0.0, budget_sec - self.spent()), after_turn=self.tick)
        self.candidates = [replace(one, speed=speeds.get(one.name)) for one in self.candidates]

    def time_to_try(self, budget_sec: float) -> bool:
        """Tell whether there is time to try another; the first one is tried in any case."""
        until = TRY_UNTIL if self.one_passes() else TRY_UNTIL_ONE_PASSES
        return not self.schemes or self.spent() < until * budget_sec

    def one_passes(self) -> bool:
        """Tell whether one of the forms passes the gate."""
        return any(one.kind == "int8" and one.verdict == "passes" for one in self.candidates)

    def calibration_batches(self) -> list[Any]:
        """Give batches of one text for peers that calibrate."""
        return self.batches.of(1, self.batches.spread(CALIBRATION_BATCHES))

    def tick(self) -> None:
        """Move the progress bar to where the clock is."""
        self.bar.update(min(round(self.spent()), self.bar.total or 0) - self.bar.n)

    def spent(self) -> float:
        """Tell how many seconds are gone."""
        return time.perf_counter() - self.began
