"""A study that makes its own patients, so that the truth is known and no table is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import EvaluationDocument, Interval
from posologist.core.genotype import Versions
from posologist.study.blocks import Array
from posologist.study.bootstrap import interval

Told = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Used:
    """What the process has used so far: seconds on the clock and of the processor, and its peak memory in MiB.

    The memory is None where the system does not count it.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float | None


@dataclass(frozen=True)
class Run:
    """How an experiment is run, on so many `processes`; `used` reads the clocks, which only the outside may."""

    seed: int
    quick: bool
    versions: Versions
    used: Callable[[], Used]
    told: Told
    processes: int = 1


@dataclass(frozen=True)
class Experiment:
    """`evaluate TASK` without data; one that is `long` is a part of `all` in its quick variant only."""

    task: str
    run: Callable[[Run], EvaluationDocument]
    long: bool = False


def plain(value: float) -> Interval:
    """A number that has no interval: it was measured once."""
    return Interval(value=value, low=None, high=None)


def mean_interval(values: Array, *, seed: int, n_resamples: int) -> Interval:
    """Mean over worlds (or patients), each counting as one, with its bootstrap interval."""
    drawn = np.random.default_rng(seed).integers(0, len(values), size=(n_resamples, len(values)))
    return interval(np.concatenate([[values.mean()], values[drawn].mean(axis=1)]))
