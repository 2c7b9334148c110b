"""Metrics with intervals, and differences of methods on the same patients and the same resamples."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import Interval
from posologist.study.blocks import Array, IntArray, Part, Resampled, sub_seed
from posologist.study.bootstrap import interval

_CELLS = 4_000_000  # weights held at a time: resamples by rows


@dataclass(frozen=True)
class Asked:
    """A set of metrics over some rows; `patient` is each row's patient, (n,)."""

    key: Hashable
    parts: Mapping[str, Part]
    patient: IntArray


Found = dict[Hashable, dict[str, Array]]
"""For each key and metric: its value in the sample (first) and in each resample."""


def resampled(asked: Sequence[Asked], *, n_resamples: int, seed: int) -> Found:
    """Each metric in the sample and in resamples of patients that all the metrics share.

    Parameters
    ----------
    asked
        The rows of a patient that is not among a set's rows add nothing to it, so a group is measured on the part of
        each resample that belongs to it.
    """
    n_patients = 1 + max((int(one.patient.max(initial=-1)) for one in asked), default=-1)
    rows = max((len(one.patient) for one in asked), default=1)
    means, functions = _means(asked, n_patients), list(_functions(asked))
    collected: dict[tuple[Hashable, str], list[Array]] = {}
    for counts in _counts(n_patients, n_resamples, seed, size=max(1, _CELLS // max(rows, n_patients, 1))):
        for key, name, values in means.values(counts):
            collected.setdefault((key, name), []).append(values)
        for key, name, function, patient in functions:
            collected.setdefault((key, name), []).append(function(counts[:, patient]))
    found: Found = {one.key: {} for one in asked}
    for one in asked:
        found[one.key] = {name: np.concatenate(collected[one.key, name]) for name in one.parts}
    return found


def intervals(values: Mapping[str, Array]) -> dict[str, Interval]:
    """The metrics that have a value in the sample, with their intervals."""
    return {name: interval(own) for name, own in values.items() if np.isfinite(own[0])}


def difference(values: Mapping[str, Array], against: Mapping[str, Array], metric: str) -> Interval | None:
    """Interval of the difference of a metric, None where the sample has none."""
    if metric not in values or metric not in against:
        return None
    apart = values[metric] - against[metric]
    return interval(apart) if np.isfinite(apart[0]) else None


def _counts(n_patients: int, n_resamples: int, seed: int, *, size: int) -> Iterator[Array]:
    """How often each patient is in each resample; the first row of all is the sample itself."""
    rng = np.random.default_rng(sub_seed(seed, "bootstrap"))
    yield np.ones((1, n_patients))
    share = np.full(n_patients, 1.0 / max(n_patients, 1))
    for start in range(0, n_resamples, size):
        yield rng.multinomial(n_patients, share, size=min(size, n_resamples - start)).astype(np.float64)


@dataclass(frozen=True)
class _Means:
    """Metrics that are means: each patient's sum of parts and number of counted rows, (n_patients, n_metrics)."""

    names: tuple[tuple[Hashable, str], ...]
    sums: Array
    counted: Array

    def values(self, counts: Array) -> Iterator[tuple[Hashable, str, Array]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (counts @ self.sums) / (counts @ self.counted)
        for place, (key, name) in enumerate(self.names):
            yield key, name, found[:, place]


def _means(asked: Sequence[Asked], n_patients: int) -> _Means:
    names, sums, counted = [], [], []
    for one in asked:
        for name, part in one.parts.items():
            if callable(part):
                continue
            known = np.isfinite(part)
            names.append((one.key, name))
            sums.append(np.bincount(one.patient, weights=np.where(known, part, 0.0), minlength=n_patients))
            counted.append(np.bincount(one.patient, weights=known.astype(float), minlength=n_patients))
    empty = np.zeros((n_patients, 0))
    return _Means(
        tuple(names), np.stack(sums, axis=1) if sums else empty, np.stack(counted, axis=1) if counted else empty
    )


def _functions(asked: Sequence[Asked]) -> Iterator[tuple[Hashable, str, Resampled, IntArray]]:
    for one in asked:
        for name, part in one.parts.items():
            if callable(part):
                yield one.key, name, part, one.patient
