"""Try forms of a model until one passes the gate, then spend what is left of a budget on finding a faster one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ftx.errors import ModelError
from ftx.export.parity.gate import Gate
from ftx.export.parity.reduced import Reduced
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.saturation import portability
from ftx.export.parity.stress import StressSet, judge_kinds
from ftx.export.quantization.scheme import NAMES, Scheme
from ftx.export.quantization.sensitivity import Sensitivity
from ftx.export.search.budget import TRY_UNTIL, Budget
from ftx.export.search.candidate import Candidate, choose, mark_front
from ftx.export.search.forms import FIRST_SCHEME, Form, Worst, untried
from ftx.export.search.judging import judge, logits_of, run_on
from ftx.export.search.making import Maker
from ftx.export.search.ranking import Ranker
from ftx.export.search.timing import Run, race
from ftx.quantization import Quantization

__all__ = ["SEARCHED", "Search", "Searcher", "find_int8"]

log = logging.getLogger(__name__)

# What `--quantize` names that is no form.
SEARCHED = ("auto", "fast")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the quantised file was found.

    Attributes:
        candidates: All that was tried.
        ranking: The operators by what int8 does to each alone, the worst first; empty where they were not ranked.
        chosen: The name of the chosen one; None where no form is near the gate.
        choice: Why that one, for a person.
        baseline: What the speeds are relative to: Optimum's preset where it can be made, else the fp32 file; None where
            nothing was timed.
        rejected: Forms that were chosen before and failed on the texts to report on.
        texts: How many texts the choice was made on.
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

    @property
    def candidate(self) -> Candidate | None:
        """The chosen one."""
        return next((one for one in self.candidates if one.name == self.chosen), None)


class Searcher:
    """Tries the forms of one model, and chooses among them.

    Args:
        maker: Makes the forms.
        reference: The texts to choose on, with PyTorch's logits.
        gate: The limits.
        budget: Seconds that buy a faster form. Without any the first form that passes is taken.
        stress: Other kinds of text to choose on; None: none.
    """

    def __init__(
        self, maker: Maker, reference: ReferenceSet, gate: Gate, budget: Budget, stress: StressSet | None = None
    ) -> None:
        self.maker, self.reference, self.gate, self.budget, self.stress = maker, reference, gate, budget, stress
        self.stress_batches = maker.batches_of(stress.texts) if stress else None
        self.ranker = Ranker(maker, budget)
        self.candidates: list[Candidate] = []
        self.schemes: dict[str, Scheme] = {}
        self.tried: set[str] = set()
        self.rejected: list[str] = []
        self.runs: dict[str, Run] = {}
        self.baseline: str | None = None

    def search(self, quantize: str, *, compare: bool = False) -> Search:
        """Search as the user says.

        Args:
            quantize: `auto`: try forms until one passes the gate, and with what is left of the budget look for a
                faster one; `fast`: take the first that passes, whatever the budget; or a form by name, one of `NAMES`
                or `optimum`.
            compare: For `auto`: also measure other toolkits' models, whatever the budget.
        """
        with self.budget.shown():
            if quantize not in SEARCHED:
                if quantize in NAMES:
                    self.try_scheme(NAMES[quantize])
                else:
                    self.attempt(quantize, self.maker.optimum)
                return self.result("requested by name")
            self.find()
            if quantize == "fast":
                return self.result("the first candidate that keeps the limits")
            if self.one_passes() and (compare or self.budget.left()):
                self.improve(compare=compare)
        return self.result()

    def resume(self) -> Search:
        """Exclude the chosen form, which failed on the texts to report on, and continue the search."""
        chosen = choose(self.eligible())
        assert chosen
        self.rejected.append(chosen.name)
        with self.budget.shown():
            self.find()
        return self.result()

    def find(self) -> None:
        """Try forms until one passes, however long it takes. If none passes, all of them were tried."""
        forms = self.untried()
        while not self.one_passes() and (scheme := next(forms, None)):
            self.try_scheme(scheme)

    def improve(self, *, compare: bool) -> None:
        """Look for faster forms among those that may pass, and time all that pass beside fp32 and other toolkits."""
        for form in self.maker.peers(compare=compare):
            self.add(form)
        for form in self.maker.fp32():
            self.add(form)
        forms = self.untried()
        while self.budget.left(TRY_UNTIL) and (scheme := next(forms, None)):
            self.try_scheme(scheme)
        if compare or self.budget.left():
            self.race()

    def untried(self) -> Iterator[Scheme]:
        """Give the forms that were not tried yet, in their order."""

        def worst(one_passes: bool) -> Worst | None:
            return self.ranker.worst(needed=not one_passes) if FIRST_SCHEME.name in self.schemes else None

        return untried(self.tried, worst, self.one_passes)

    def try_scheme(self, scheme: Scheme) -> None:
        """Make and judge a form, unless this architecture has no operators for it."""
        self.tried.add(scheme.name)
        self.attempt(scheme.name, partial(self.maker.int8, scheme))

    def attempt(self, name: str, make: Callable[[], Form]) -> None:
        """Make and judge a form that may be impossible for this architecture."""
        try:
            self.add(make())
        except ModelError as error:
            log.warning(f"{name} is skipped: {error}")

    def add(self, form: Form) -> None:
        """Judge a form, and keep it open for the race if it may take part."""
        candidate = judge(form, *logits_of(form, self.maker.batches), self.reference, self.gate)
        worth = form.kind == "peer" or (form.kind == "int8" and candidate.verdict != "fails")
        if self.stress and self.stress_batches and worth:
            logits = run_on(form, self.stress_batches)
            candidate = candidate.stressed(judge_kinds(logits, self.stress, self.gate))
        self.candidates.append(candidate)
        if form.scheme:
            self.schemes[form.name] = form.scheme
        if form.kind != "int8" or candidate.verdict != "fails":  # an open session holds the model in memory
            self.runs[form.name] = form.run
        log.info(candidate.to_text())
        self.budget.tick()

    def race(self) -> None:
        """Time what passes, fp32 and other toolkits' models, in pairs with the baseline."""
        timed = [one for one in self.candidates if one.kind != "int8" or one.keeps_limits]
        self.baseline = next((one.name for one in timed if one.kind == "peer"), "fp32")
        names = [self.baseline, *(one.name for one in timed if one.name != self.baseline)]
        speeds = race({name: self.runs[name] for name in names}, self.maker.batches, self.budget)
        self.candidates = [replace(one, speed=speeds.get(one.name)) for one in self.candidates]

    def result(self, choice: str = "") -> Search:
        """Choose, and sum up."""
        self.candidates = mark_front(self.candidates)
        chosen = choose(self.eligible())
        return Search(
            candidates=self.candidates,
            ranking=self.ranker.ranking,
            chosen=chosen.name if chosen else None,
            choice=choice or explain(chosen, self.eligible(), len(self.schemes), self.baseline),
            baseline=self.baseline,
            rejected=self.rejected,
            texts=len(self.reference),
            sec=self.budget.spent(),
        )

    def eligible(self) -> list[Candidate]:
        """Give the candidates that may be chosen."""
        return [one for one in self.candidates if one.name not in self.rejected]

    def one_passes(self) -> bool:
        """Tell whether one of the forms passes the gate."""
        return any(one.kind == "int8" and one.keeps_limits for one in self.eligible())


def explain(chosen: Candidate | None, eligible: list[Candidate], tried: int, baseline: str | None) -> str:
    """Say why a candidate is the choice."""
    if chosen is None:
        return "no candidate is near the gate"
    if not chosen.keeps_limits:
        return f"none of {tried} candidates keeps the limits; this one has the highest estimated agreement"
    if chosen.speed:
        return f"timed against {baseline}; trades up to 10 % of speed for estimated agreement"
    passing = sum(one.kind == "int8" and one.keeps_limits for one in eligible)
    if passing == 1:
        return "the first candidate that keeps the limits; the budget left no time to look for a faster one"
    return (
        f"the highest estimated agreement of {passing} candidates that keep the limits; the budget left no time "
        "to time them"
    )


def find_int8(
    searcher: Searcher, path: Path, quantize: str, verify: Callable[[Path, Quantization], Reduced], *, compare: bool
) -> tuple[Search, Reduced | None]:
    """Search for an int8 form, and verify the chosen one on the texts to report on.

    A form that fails there is excluded, and the search continues without it: so whether some form passes does not
    depend on which of them there was time to find first.

    Args:
        searcher: Searches.
        path: Where the file goes.
        quantize: See `Searcher.search`; a form requested by name is the only one tried.
        verify: Measures a file on the texts to report on.
        compare: Whether other toolkits' models are measured, too.

    Returns:
        The search, and the measurements of the last form that was chosen; None where none was chosen.
    """
    search, reduced = searcher.search(quantize, compare=compare), None
    while (chosen := search.candidate) and chosen.kind == "int8":
        searcher.maker.path(chosen.name).rename(path)
        made = {**chosen.scheme, **portability(path), "target": searcher.maker.target}
        if made["activations"] == "static":
            made["calibrated_tokens"] = searcher.maker.calibrated_tokens
        reduced = verify(path, Quantization.from_dict(made))
        if reduced.verdict != "fails" or quantize not in SEARCHED:
            return search, reduced
        search = searcher.resume()
    return search, None if search.chosen else reduced
