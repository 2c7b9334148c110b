"""Where work on many patients runs: here, or somewhere larger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class Engine(Protocol):
    """Maps one function over many patients, in their order."""

    def map(self, function: Callable[[S], R], items: Iterable[S]) -> Iterator[R]:
        """Results in the order of the items."""


class LocalEngine:
    """One after the other, in this process."""

    def map(self, function: Callable[[S], R], items: Iterable[S]) -> Iterator[R]:
        """Results in the order of the items."""
        return (function(item) for item in items)
