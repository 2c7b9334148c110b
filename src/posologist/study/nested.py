"""Runs a block: every method on every outer fold, in one process or several, with the same numbers either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass

import numpy as np

from posologist.core.errors import ModelError
from posologist.study.blocks import (
    Block,
    Cohort,
    Control,
    IntArray,
    Method,
    Scored,
    assembled,
    bins,
    kept_together,
    outer_folds,
    sub_seed,
)
from posologist.study.pool import one_thread, pool

Told = Callable[[str, int, int], None]
"""Progress: what is being done, how many jobs are finished, and of how many."""


@dataclass(frozen=True)
class Settings:
    """How a run is made: seed, whether quick, how many processes, and who hears of its progress."""

    seed: int = 0
    quick: bool = False
    processes: int = 1
    n_resamples: int = 2000
    told: Told = lambda what, done, of: None


@dataclass(frozen=True)
class Job:
    """One method on one split of a cohort."""

    method: Method
    train: IntArray
    test: IntArray
    seed: int


def out_of_fold(block: Block, cohort: Cohort, settings: Settings) -> dict[str, Scored]:
    """What each method says of each row, learned from the other folds only."""
    fold = folds_of(block, cohort, settings.seed)
    return _run(block, cohort, {method.name: method for method in block.methods}, fold, settings, what="folds")


def on_test(block: Block, train: Cohort, test: Cohort, settings: Settings) -> dict[str, Scored]:
    """What each method says of the test cohort, learned from the training cohort."""
    both = joined(train, test)
    first, second = np.arange(len(train)), np.arange(len(train), len(both))
    jobs = [Job(m, first, second, sub_seed(settings.seed, "test")) for m in block.methods]
    found = {job.method.name: scored for job, scored in _results(both, jobs, block, settings, what="methods")}
    return {method.name: found[method.name] for method in block.methods}  # processes end in any order


def under_control(
    block: Block, cohort: Cohort, control: Control, settings: Settings
) -> tuple[Cohort, dict[str, Scored]]:
    """The altered cohort, and what the control's methods say of its rows."""
    rng = np.random.default_rng(sub_seed(settings.seed, control.name))
    altered = control.alter(cohort, rng) if control.alter is not None else cohort
    fold = altered.site if control.leave_out == "site" else folds_of(block, altered, settings.seed)
    methods = {method.name: method for method in block.methods if method.name in control.methods}
    return altered, _run(block, altered, methods, fold, settings, what=control.name)


def folds_of(block: Block, cohort: Cohort, seed: int) -> IntArray:
    """The outer fold of each row, (n,), balanced by the block's strata, else by site and outcome."""
    strata = block.strata(cohort) if block.strata is not None else bins(cohort.target, 5)
    return outer_folds(kept_together(cohort, block), strata, seed=seed)


def joined(first: Cohort, second: Cohort) -> Cohort:
    """Both cohorts as one; patients and sites of the second keep their own numbers."""
    beyond = int(first.patient.max(initial=-1)) + 1
    return Cohort(
        rows=first.rows + second.rows,
        target=np.concatenate([first.target, second.target]),
        patient=np.concatenate([first.patient, second.patient + beyond]),
        site=np.concatenate([first.site, second.site]),
        groups={name: labels + second.groups[name] for name, labels in first.groups.items()},
        extra={name: np.concatenate([values, second.extra[name]]) for name, values in first.extra.items()},
        notes=first.notes + second.notes,
    )


def _run(
    block: Block, cohort: Cohort, methods: Mapping[str, Method], fold: IntArray, settings: Settings, *, what: str
) -> dict[str, Scored]:
    together = kept_together(cohort, block)
    splits = [
        (np.flatnonzero((fold != k) & ~np.isin(together, together[fold == k])), np.flatnonzero(fold == k), k)
        for k in np.unique(fold).tolist()
    ]
    jobs = [
        Job(method, train, test, sub_seed(settings.seed, "fold", k))
        for train, test, k in splits
        for method in methods.values()
    ]
    parts: dict[str, dict[int, tuple[IntArray, Scored]]] = {name: {} for name in methods}
    for job, scored in _results(cohort, jobs, block, settings, what=what):
        parts[job.method.name][int(job.test[0])] = (job.test, scored)
    return {name: assembled([own[place] for place in sorted(own)], len(cohort)) for name, own in parts.items() if own}


def _results(
    cohort: Cohort, jobs: Sequence[Job], block: Block, settings: Settings, *, what: str
) -> Iterator[tuple[Job, Scored]]:
    settings.told(what, 0, len(jobs))
    if settings.processes == 1:
        with one_thread():
            for done, job in enumerate(jobs, start=1):
                yield job, _scored(cohort, job, block.hidden, settings.quick)
                settings.told(what, done, len(jobs))
        return
    with pool(settings.processes, _begin, (cohort, block.hidden, settings.quick)) as workers:
        waiting = {workers.submit(_scored_elsewhere, job): job for job in jobs}
        for done, future in enumerate(as_completed(waiting), start=1):
            yield waiting[future], future.result()
            settings.told(what, done, len(jobs))


def _scored(cohort: Cohort, job: Job, hidden: tuple[str, ...], quick: bool) -> Scored:
    train, test = cohort.take(job.train), cohort.take(job.test)
    scored = job.method(train, test.blinded(hidden), seed=job.seed, quick=quick)
    if scored.value.shape[:1] != (len(test),):
        raise ModelError(
            f"the method '{job.method.name}' answered for {scored.value.shape[:1]} of {len(test)} rows",
            where="evaluate",
            hint="a method answers for each row, with nan where it cannot",
        )
    return scored


_held: dict[str, tuple[Cohort, tuple[str, ...], bool]] = {}  # of a worker process: what its jobs are cut from


def _begin(cohort: Cohort, hidden: tuple[str, ...], quick: bool) -> None:
    _held["cohort"] = (cohort, hidden, quick)


def _scored_elsewhere(job: Job) -> Scored:
    cohort, hidden, quick = _held["cohort"]
    with one_thread():
        return _scored(cohort, job, hidden, quick)
