"""Doses against the right ones, world by world: means with intervals, by group, differences on the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import GroupRow, Interval, MethodRow, Paired
from posologist.study.bootstrap import interval
from posologist.study.clinic import Flags, Floats
from posologist.study.experiment import plain
from posologist.study.nifedipine_world import Known, Window, average

MAIN = "deviation_percent"
RESAMPLES = 2000
_FEW = 30  # patients of all worlds together, below which a group is called small


@dataclass(frozen=True)
class World:
    """One simulated clinic after every method was asked: measures (n,) by method and metric, and its groups."""

    measures: Mapping[str, Mapping[str, Floats]]
    groups: Mapping[str, Flags]

    @property
    def n(self) -> int:
        return len(next(iter(self.groups.values())))


def measured(dose: Floats, *, clearance: Floats, right: Floats, window: Window) -> dict[str, Floats]:
    """Each patient's part in every metric, (n,).

    deviation_percent is |dose - right| / right; in_window_percent tells whether the average concentration under the
    nearest whole tablets lies in the window, right_tablets_percent whether these are the ones of the right dose.
    """
    away = 100.0 * np.abs(dose - right) / right
    given = window.tablet(dose)
    level = average(given, clearance)
    flags = {
        "within_20_percent": away <= 20.0,
        "in_window_percent": (level >= window.low) & (level <= window.high),
        "right_tablets_percent": given == window.tablet(right),
    }
    return {MAIN: away, **{name: np.where(flag, 100.0, 0.0) for name, flag in flags.items()}}


def groups_of(known: Known) -> dict[str, Flags]:
    """Groups of patients by what the record tells."""
    inhibited, induced = known.inhibitor > 0, known.phenytoin
    return {
        "everybody": np.ones(len(known), dtype=bool),
        "age < 65": known.age < 65,
        "age >= 65": known.age >= 65,
        "CYP3A=normal": ~inhibited & ~induced,
        "CYP3A=inhibited": inhibited,
        "CYP3A=induced": induced,
        "liver=healthy": ~known.cirrhosis,
        "liver=cirrhosis": known.cirrhosis,
    }


@dataclass(frozen=True)
class Clinics:
    """All worlds of one size; worlds are resampled, not patients, since those of a world share what was learned."""

    worlds: Sequence[World]
    seed: int

    def rows(self) -> tuple[MethodRow, ...]:
        """Every method on everybody."""
        n = self._n("everybody")
        return tuple(MethodRow(method=name, n=n, metrics=self._metrics(name)) for name in self.worlds[0].measures)

    def group_rows(self, methods: Sequence[str]) -> tuple[GroupRow, ...]:
        """Some methods on each group."""
        names = [group for group in self.worlds[0].groups if group != "everybody" and self._n(group)]
        return tuple(
            GroupRow(
                group=group, method=method, n=self._n(group), small=self._n(group) < _FEW,
                metrics=self._metrics(method, group),
            )
            for group in names
            for method in methods
        )  # fmt: skip

    def paired(self, pairs: Sequence[tuple[str, str]]) -> tuple[Paired, ...]:
        """Differences of the main metric: the first method minus the second."""
        return tuple(
            Paired(
                method=one, against=other, metric=MAIN,
                difference=self._interval(self._resampled(one, MAIN) - self._resampled(other, MAIN)),
            )
            for one, other in pairs
        )  # fmt: skip

    def mean(self, method: str, group: str = "everybody", metric: str = MAIN) -> float:
        """A metric of a method, over the patients of a group."""
        return float(self._resampled(method, metric, group)[0])

    def _n(self, group: str) -> int:
        return int(sum(world.groups[group].sum() for world in self.worlds))

    def _metrics(self, method: str, group: str = "everybody") -> dict[str, Interval]:
        names = self.worlds[0].measures[method]
        return {name: self._interval(self._resampled(method, name, group)) for name in names}

    def _interval(self, values: Floats) -> Interval:
        return interval(values) if len(self.worlds) > 1 else plain(float(values[0]))

    def _resampled(self, method: str, metric: str, group: str = "everybody") -> Floats:
        """The mean over patients in all worlds (first), and in resamples of the worlds."""
        total = np.array([world.measures[method][metric][world.groups[group]].sum() for world in self.worlds])
        number = np.array([world.groups[group].sum() for world in self.worlds], dtype=np.float64)
        drawn = np.random.default_rng(self.seed).integers(0, len(total), size=(RESAMPLES, len(total)))
        rows = np.concatenate([np.arange(len(total))[None, :], drawn])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total[rows].sum(axis=1) / number[rows].sum(axis=1))
