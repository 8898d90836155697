"""Try forms of a model until one passes the gate, then spend what is left of a budget on finding a faster one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from ftx.errors import ModelError
from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.parity.expected import expected_agreement
from ftx.export.parity.gate import Gate, Parity, compare_logits
from ftx.export.quantization.calibration import calibrate
from ftx.export.quantization.fitted import Calibration
from ftx.export.quantization.linear import linears
from ftx.export.quantization.scheme import SCHEMES, Scheme, for_target
from ftx.export.quantization.sensitivity import Sensitivity, Switched
from ftx.export.quantization.write import write_quantized
from ftx.export.search.budget import Budget
from ftx.export.search.candidate import Candidate, choose, judge, mark_front
from ftx.export.search.forms import FIRST, Worst, order
from ftx.export.search.peers import Peer, optimum_peers, peers
from ftx.export.search.timing import Run, race
from ftx.heldout import HeldOut
from ftx.machine import usable_cores
from ftx.manifest import Manifest
from ftx.runtime.model_file import describe
from ftx.runtime.session import open_session

__all__ = ["Search", "Searcher"]

# How much of the budget may be gone before no other form is tried; the race has the rest.
TRY_UNTIL = 0.6
# How many of the worst operators are chosen by what they do together; the others follow by what they do alone.
GREEDY = 4
CALIBRATION_BATCHES = 300


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the quantised file was found.

    Attributes:
        candidates: All that was tried.
        ranking: The operators by what int8 does to each alone, the worst first; empty where nothing was rescued.
        chosen: The name of the one taken; None where no form is near the gate.
        choice: Why that one, for a person.
        baseline: What the speeds are relative to: Optimum's preset where it can be made, else the fp32 file; None where
            nothing was timed.
        rejected: Forms that were chosen before and failed on the texts that report.
        texts: Texts that chose.
        sec: Seconds it took.
    """

    candidates: list[Candidate]
    ranking: list[Sensitivity]
    chosen: str | None
    choice: str
    baseline: str | None
    rejected: list[str]
    texts: int
    sec: float

    @property
    def forms(self) -> list[Candidate]:
        """The int8 forms that were tried, without fp32 and other toolkits' models."""
        return [one for one in self.candidates if one.kind == "int8"]


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
        budget: Seconds that buy a faster form. Without any the first form that passes is taken.
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
        budget: Budget,
    ) -> None:
        self.plain, self.optimised, self.work = plain, optimised, work
        self.held_out, self.reference_logits, self.gate, self.target = held_out, reference_logits, gate, target
        self.budget = budget
        self.manifest: Manifest = describe(plain)[0]
        self.batches = Batches(held_out.texts, plain, [node.name for node in open_session(optimised).get_inputs()])
        self.calibration = Calibration(calibrate(optimised, self.batches))
        self.candidates: list[Candidate] = []
        self.schemes: dict[str, Scheme] = {}
        self.impossible: set[str] = set()
        self.rejected: list[str] = []
        self.runs: dict[str, Run] = {}
        self.ranking: list[Sensitivity] = []
        self.worst: Worst | None = None
        self.ranking_takes_too_long = False
        self.baseline: str | None = None
        self.bar: tqdm[Any] | None = None

    def search(self, quantize: str, *, compare: bool = False) -> Search:
        """Search as the user says.

        Args:
            quantize: `auto`: try forms until one passes the gate, and with what is left of the budget look for a
                faster one; `fast`: take the first that passes, whatever the budget; or one of `SCHEMES` by name.
            compare: For `auto`: measure other toolkits' models, too, whatever the budget.
        """
        with self.progress():
            if quantize in SCHEMES:
                self.try_form(SCHEMES[quantize])
                return self.result("asked for by name")
            self.find()
            if quantize == "fast":
                return self.result("the first that passes")
            if self.one_passes() and (compare or self.budget.left()):
                self.improve(compare=compare)
        return self.result()

    def search_on(self) -> Search:
        """Search on after the form that was chosen failed on the texts that report: it is out of the choice."""
        chosen = choose(self.open_candidates())
        assert chosen
        self.rejected.append(chosen.name)
        with self.progress():
            self.find()
        return self.result()

    def find(self) -> None:
        """Try forms until one passes, however long it takes. If none passes, all of them were tried."""
        while not self.one_passes() and (scheme := self.next_form()):
            self.try_form(scheme)

    def improve(self, *, compare: bool) -> None:
        """Look for faster forms among those that may pass, and time all that pass beside fp32 and other toolkits."""
        for peer in self.others(compare=compare):
            self.try_peer(peer)
        self.try_fp32("fp32", self.plain)
        self.try_fp32("fp32, optimised graph", self.optimised)
        while self.budget.left(TRY_UNTIL) and (scheme := self.next_form()):
            self.try_form(scheme)
        if compare or self.budget.left():
            self.race()

    def next_form(self) -> Scheme | None:
        """Give the form to try next; None where all were tried."""
        done, one_passes = {*self.schemes, *self.impossible}, self.one_passes()
        if self.worst is None and FIRST.name in self.schemes and not (one_passes and self.ranking_takes_too_long):
            self.worst = self.rank(may_take_long=not one_passes)
        return next((scheme for scheme in order(self.worst, one_passes=one_passes) if scheme.name not in done), None)

    def rank(self, *, may_take_long: bool) -> Worst | None:
        """Find out which operators int8 hurts most; None where that would take what is left of the budget."""
        switchable = self.file("switchable")
        write_quantized(self.optimised, switchable, self.schemes[FIRST.name], self.calibration, rearrange=False)
        try:
            switched = Switched(self.optimised, switchable, self.batches)
        except ModelError:  # embeddings alone are int8
            return Worst(operators=(), products=())
        before = self.budget.spent()
        switched.error(set())
        needed_sec = (self.budget.spent() - before) * switched.runs(GREEDY)
        self.ranking_takes_too_long = needed_sec > self.budget.left(TRY_UNTIL)
        if self.ranking_takes_too_long and not may_take_long:
            return None
        self.ranking = switched.rank()
        kinds = {linear.node: linear.kind for linear in linears(onnx.load(str(self.optimised)).graph)}
        ranked = [entry for entry in self.ranking if entry.node in kinds]
        together = switched.worst_together(ranked, GREEDY)
        operators = (*together, *(entry.node for entry in ranked if entry.node not in together))
        return Worst(operators=operators, products=tuple(node for node in operators if kinds[node] == "MatMul"))

    def others(self, *, compare: bool) -> Iterator[Peer]:
        """Make other toolkits' models: Optimum's preset, which speeds are relative to; or all of them."""
        calibration = self.batches.of(1, self.batches.spread(CALIBRATION_BATCHES))
        if compare:
            return peers(self.plain.parent, self.work, calibration, usable_cores())
        return islice(optimum_peers(self.plain.parent, self.work, usable_cores()), 1)

    def try_form(self, scheme: Scheme) -> None:
        """Make and measure a form, unless this architecture has no operators for it."""
        try:
            self.try_scheme(scheme)
        except ModelError as error:
            self.impossible.add(scheme.name)
            tqdm.write(f"{scheme.name} is left out: {error}", file=sys.stderr)

    def result(self, choice: str = "") -> Search:
        """Choose, and sum up."""
        self.candidates = mark_front(self.candidates)
        chosen = choose(self.open_candidates())
        return Search(
            candidates=self.candidates,
            ranking=self.ranking,
            chosen=chosen.name if chosen else None,
            choice=choice or self.reason(chosen),
            baseline=self.baseline,
            rejected=self.rejected,
            texts=len(self.held_out),
            sec=self.budget.spent(),
        )

    def reason(self, chosen: Candidate | None) -> str:
        """Say why a candidate is the choice."""
        if chosen is None:
            return "no form is near the gate"
        if chosen.verdict != "passes":
            return f"none of {len(self.schemes)} forms passes; this one has the highest expected agreement"
        if chosen.speed:
            return f"timed beside {self.baseline}; up to 10 % of the fastest one's speed was traded for agreement"
        passing = sum(one.kind == "int8" and one.verdict == "passes" for one in self.open_candidates())
        if passing == 1:
            return "the first form that passes; the budget left no time to look for a faster one"
        surest = f"the one with the highest expected agreement of {passing} that pass"
        return f"{surest}; the budget left no time to time them"

    def open_candidates(self) -> list[Candidate]:
        """Give the candidates that may be chosen."""
        return [one for one in self.candidates if one.name not in self.rejected]

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
        tqdm.write(candidate.to_text(), file=sys.stderr)
        self.tick()
        return candidate

    def compare(self, logits: NDArray[np.float32], reference_logits: NDArray[np.float32]) -> Parity:
        """Compare two sets of logits of all texts."""
        return compare_logits(logits, reference_logits, self.held_out, self.manifest, BATCH_SIZE)

    def race(self) -> None:
        """Time what passes, fp32 and other toolkits' models, in pairs with the baseline."""
        timed = [one for one in self.candidates if one.kind != "int8" or one.verdict == "passes"]
        self.baseline = next((one.name for one in timed if one.kind == "peer"), "fp32")
        names = [self.baseline, *(one.name for one in timed if one.name != self.baseline)]
        speeds = race({name: self.runs[name] for name in names}, self.batches, self.budget, after_turn=self.tick)
        self.candidates = [replace(one, speed=speeds.get(one.name)) for one in self.candidates]

    def one_passes(self) -> bool:
        """Tell whether one of the forms passes the gate."""
        return any(one.kind == "int8" and one.verdict == "passes" for one in self.open_candidates())

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show a bar over the seconds of the budget, on a terminal only."""
        with tqdm(
            total=round(self.budget.sec), desc="Searching", unit=" s", disable=None, leave=False, file=sys.stderr
        ) as self.bar:
            yield
        self.bar = None

    def tick(self) -> None:
        """Move the progress bar to where the clock is."""
        if self.bar is not None:
            self.bar.update(min(round(self.budget.spent()), self.bar.total) - self.bar.n)
