"""Rank the operators by how much int8 hurts them, once, and only if there is time or need."""

from __future__ import annotations

import onnx

from ftx.errors import ModelError
from ftx.export.quantization.linear import linears
from ftx.export.quantization.scheme import for_target
from ftx.export.quantization.sensitivity import Sensitivity, Switched
from ftx.export.quantization.write import write_quantized
from ftx.export.search.budget import TRY_UNTIL, Budget
from ftx.export.search.forms import FIRST_SCHEME, Worst
from ftx.export.search.making import Maker

__all__ = ["Ranker"]

# How many of the worst operators are chosen by their joint effect; the others follow by their own.
GREEDY = 4


class Ranker:
    """Ranks a model's operators.

    Args:
        maker: Makes the model's forms.
        budget: What a ranking may take where it is not needed.

    Attributes:
        ranking: The operators, the worst first; empty until they were ranked.
    """

    def __init__(self, maker: Maker, budget: Budget) -> None:
        self.maker, self.budget = maker, budget
        self.ranking: list[Sensitivity] = []
        self._worst: Worst | None = None
        self._takes_too_long = False

    def worst(self, *, needed: bool) -> Worst | None:
        """Give the operators that int8 hurts most, ranking them when first asked.

        Args:
            needed: Whether to rank them even if that takes longer than what is left of the budget.

        Returns:
            None where that would take too long.
        """
        if self._worst is None and (needed or not self._takes_too_long):
            self._worst = self._rank(needed=needed)
        return self._worst

    def _rank(self, *, needed: bool) -> Worst | None:
        """Rank, after estimating from one run how long that takes."""
        optimised, switchable = self.maker.graphs.optimised, self.maker.path("switchable")
        scheme = for_target(FIRST_SCHEME, self.maker.target)
        write_quantized(optimised, switchable, scheme, self.maker.fitted, rearrange=False)
        try:
            switched = Switched(optimised, switchable, self.maker.batches)
        except ModelError:  # only the embeddings are int8
            return Worst(operators=(), products=())
        before = self.budget.spent()
        switched.error(set())
        needed_sec = (self.budget.spent() - before) * switched.runs(GREEDY)
        self._takes_too_long = needed_sec > self.budget.left(TRY_UNTIL)
        if self._takes_too_long and not needed:
            return None
        self.ranking = switched.rank()
        kinds = {linear.node: linear.kind for linear in linears(onnx.load(str(optimised)).graph)}
        ranked = [entry for entry in self.ranking if entry.node in kinds]
        together = switched.worst_together(ranked, GREEDY)
        operators = (*together, *(entry.node for entry in ranked if entry.node not in together))
        return Worst(operators=operators, products=tuple(node for node in operators if kinds[node] == "MatMul"))
