"""Packages that have the name of a public function: `ftx.export(...)` calls `ftx.export.export(...)`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["CallableRoom"]


class CallableRoom(ModuleType):
    """A package that can be called: as the function in it that has its name."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """Give that function, which is called then."""
        function: Callable[..., Any] = getattr(self, self.__name__.rpartition(".")[2])
        return function
