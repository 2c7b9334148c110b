"""T1: who finds the right antihypertensive, in simulated patients whose right drug is known.

A hospital's training patients and the new patients have seeds of their own. Each method learns from what the hospital
would have recorded and chooses one drug for each new patient. What the choice is worth is the true fall of systolic
pressure less the symptoms, in mmHg; 100 % is what the Bayes rule on the same features gains over giving everybody the
drug that is best on average. Intervals are over trials, each with patients of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from posologist.core.evaluation import (
    ControlTable,
    Curve,
    EvaluationDocument,
    GroupRow,
    Interval,
    MethodRow,
    Paired,
    Sample,
)
from posologist.study.blocks import sub_seed
from posologist.study.bootstrap import interval
from posologist.study.clinic import Floats
from posologist.study.experiment import Experiment, Run, plain
from posologist.study.hypertension_trial import ABLATIONS, ENGINE, MEASURES, ORACLE, Tally, Trial, tried
from posologist.study.hypertension_words import conclusions
from posologist.study.pool import each
from posologist.study.simulator import Dials

TASK = "hypertension-simulator"
MAIN = "the record explains 0.6"
WORLDS: Mapping[str, Dials] = {
    "the record explains nothing": Dials(0.0),
    "the record explains 0.3": Dials(0.3),
    MAIN: Dials(0.6),
    "the record explains 0.98": Dials(0.98),
    "0.6, past treatment confounded, little overlap, half of the measures missing": Dials(0.6, 1.0, 0.3, 0.5),
}
SIZES = (5000, 500)
TRIALS = 20
_QUICK_TRIALS = 2
_NEW = 2000
_RESAMPLES = 1000
_ALL = "all"
_SLOW = ("founding stack",)  # left out of the quick variant


def evaluate_hypertension(run: Run) -> EvaluationDocument:
    """All worlds and sizes, with the ablations of the engine in the main one."""
    worlds = {name: WORLDS[name] for name in (MAIN, "the record explains nothing")} if run.quick else WORLDS
    sizes = (500,) if run.quick else SIZES
    number = _QUICK_TRIALS if run.quick else TRIALS
    jobs = [
        Trial(dials, size, 500 if run.quick else _NEW, run.seed, k, ablations=(name, size) == (MAIN, sizes[0]),
              left_out=_SLOW if run.quick else ())
        for name, dials in worlds.items() for size in sizes for k in range(number)
    ]  # fmt: skip
    keys = [(name, size) for name in worlds for size in sizes for _ in range(number)]
    order = sorted(range(len(jobs)), key=lambda k: -jobs[k].n_train)  # the longest first
    done = each(tried, [jobs[k] for k in order], run.processes, lambda n, of: run.told(TASK, n, of))
    tallies: dict[tuple[str, int], list[Tally]] = {key: [] for key in keys}
    for k, tally in sorted(zip(order, done, strict=True)):
        tallies[keys[k]].append(tally)
    return _document(run, tallies, sizes, number)


def _document(
    run: Run, tallies: Mapping[tuple[str, int], Sequence[Tally]], sizes: Sequence[int], number: int
) -> EvaluationDocument:
    main = tallies[MAIN, sizes[0]]
    n_new = int(sum(tally[ENGINE][_ALL][0] for tally in main))
    return EvaluationDocument(
        task=TASK, label="simulated patients", title="Which drug for whom: simulated patients with hypertension",
        licence="none needed", source=f"generated here from cited constants; {MAIN}, {sizes[0]} training patients",
        quick=run.quick, resamples=_RESAMPLES,
        split=f"{number} trials, each with {sizes[0]} training patients and {n_new // number} new ones of their own; "
        "trials are resampled, not patients",
        train=Sample(n=sizes[0] * number), test=Sample(n=n_new), seed=run.seed,
        rows=_rows(main, run.seed, leave=ABLATIONS), paired=_paired(main, run.seed, leave=ABLATIONS),
        groups=_groups(main, run.seed),
        controls=(
            ControlTable(
                name=f"parts of the engine taken away ({MAIN}, {sizes[0]} training patients)",
                note="The last row deals the genotypes out anew among patients: it must gain nothing over the row "
                "without genome.",
                rows=tuple(row for row in _rows(main, run.seed) if row.method in (ENGINE, *ABLATIONS)),
                paired=tuple(p for p in _paired(main, run.seed) if p.against in ABLATIONS),
            ),
            *(
                ControlTable(
                    name=f"{name}; {size} training patients", note=_NOTE,
                    rows=_rows(found, run.seed), paired=_paired(found, run.seed), groups=_groups(found, run.seed),
                )
                for (name, size), found in tallies.items() if (name, size) != (MAIN, sizes[0])
            ),
        ),
        curves=_curves({name: _rows(found, run.seed) for (name, size), found in tallies.items() if size == sizes[0]}),
        findings=conclusions({key: _rows(found, run.seed) for key, found in tallies.items()}, run.quick),
        versions=run.versions,
    )  # fmt: skip


def _curves(tables: Mapping[str, Sequence[MethodRow]]) -> tuple[Curve, ...]:
    """Gain and agreement of each method over what the record explains, in the worlds without confounding."""
    plain_worlds = {name: dials for name, dials in WORLDS.items() if name in tables and dials.overlap == 1.0}
    told = (("gain", "value_percent", "% of the Bayes rule's gain"), ("agreement", "top1_percent", "% right drug"))
    found = []
    for kind, metric, text in told:
        for method in (row.method for row in tables[MAIN] if row.method not in (*ABLATIONS, *_OFF_THE_PLOT)):
            points = [
                (dials.explained, row.metrics[metric])
                for name, dials in plain_worlds.items() for row in tables[name]
                if row.method == method and metric in row.metrics
            ]  # fmt: skip
            found.append(Curve(
                kind="gain" if kind == "gain" else "agreement", method=method, y_text=text,
                x_text="share of the individual effect that the record explains",
                x=tuple(x for x, _ in points), y=tuple(y.value for _, y in points),
            ))  # fmt: skip
    return tuple(found)


_OFF_THE_PLOT = (ORACLE, "guideline rule", "published effects")  # far from the others
_NOTE = "Where the record explains nothing there is no gain to share: loss_mmhg against the best single drug counts."


def _stacked(found: Sequence[Tally], method: str, group: str) -> dict[str, Floats]:
    """Sums of a method in a group, by measure, (trials,)."""
    sums = np.stack([tally[method][group] for tally in found])
    return dict(zip(MEASURES, sums.T, strict=True))


def _drawn(n_trials: int, seed: int) -> Floats:
    """How often each trial counts: once in the first row, as drawn in the others, (1 + resamples, trials)."""
    rng = np.random.default_rng(sub_seed(seed, TASK, "resamples"))
    drawn = rng.multinomial(n_trials, np.full(n_trials, 1.0 / n_trials), size=_RESAMPLES)
    return np.concatenate([np.ones((1, n_trials)), drawn.astype(np.float64)])


def _metrics(sums: Mapping[str, Floats], counts: Floats) -> dict[str, Floats]:
    """Each metric in the sample and its resamples, (1 + resamples,)."""
    total = {name: counts @ values for name, values in sums.items()}
    n, gained, best = total["n"], total["net"] - total["single"], total["bayes"] - total["single"]
    found = {
        "loss_mmhg": -gained / n, "regret_mmhg": (total["oracle"] - total["net"]) / n,
        "top1_percent": 100.0 * total["top1"] / n, "top2_percent": 100.0 * total["top2"] / n,
    }  # fmt: skip
    if best[0] / n[0] > 0.05:
        found = {"value_percent": 100.0 * gained / best, **found}
    return found


def _intervals(sums: Mapping[str, Floats], counts: Floats) -> dict[str, Interval]:
    found = {name: interval(values) for name, values in _metrics(sums, counts).items()}
    return {**found, "unsafe_picks": plain(float(sums["unsafe"].sum()))}


def _rows(found: Sequence[Tally], seed: int, leave: Mapping[str, object] | None = None) -> tuple[MethodRow, ...]:
    counts = _drawn(len(found), seed)
    rows = []
    for method in found[0]:
        if method not in (leave or {}):
            sums = _stacked(found, method, _ALL)
            rows.append(MethodRow(method=method, n=int(sums["n"].sum()), metrics=_intervals(sums, counts)))
    return tuple(rows)


def _groups(found: Sequence[Tally], seed: int) -> tuple[GroupRow, ...]:
    counts = _drawn(len(found), seed)
    rows = []
    for group in (name for name in found[0][ENGINE] if name != _ALL):
        for method in found[0]:
            if method not in ABLATIONS:
                sums = _stacked(found, method, group)
                n = int(sums["n"].sum())
                rows.append(GroupRow(method=method, group=group, n=n, metrics=_intervals(sums, counts)))
    return tuple(rows)


def _paired(found: Sequence[Tally], seed: int, leave: Mapping[str, object] | None = None) -> tuple[Paired, ...]:
    """The engine less each other method, in the same trials."""
    counts = _drawn(len(found), seed)
    own = _metrics(_stacked(found, ENGINE, _ALL), counts)
    rows = []
    for method in found[0]:
        if method in (ENGINE, ORACLE, *(leave or {})):
            continue
        theirs = _metrics(_stacked(found, method, _ALL), counts)
        rows += [
            Paired(method=ENGINE, against=method, metric=name, difference=interval(own[name] - theirs[name]))
            for name in ("value_percent", "regret_mmhg") if name in own and name in theirs
        ]  # fmt: skip
    return tuple(rows)


EXPERIMENT = Experiment(TASK, evaluate_hypertension, long=True)
