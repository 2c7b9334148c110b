"""Which drug for whom, learned from randomised trials: the value of a policy beside the best single drug for all.

The value of a policy is the mean doubly robust score of the arms it picks, with the known probabilities of the draw,
for patients that it was not learned from. The row `engine` leaves the best single arm only where a gain was shown
inside the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posologist.learn.tasks.policy import ACTG175, GUSTO1, IST, TRIALS, Trial
from posologist.study.blocks import Array, Block, Cohort, Control, IntArray, Part, Scored
from posologist.study.policy_data import (
    ARM,
    GROUPS,
    HIDDEN,
    SCORE,
    SECOND_SCORE,
    columns_of,
    read_actg175,
    read_gusto1,
    read_ist,
    strata,
)

if TYPE_CHECKING:
    from posologist.learn.fit.policy import Policy

METHODS = ("best-single", "t-learner", "dr-learner", "engine")
_THIRDS = ("low", "middle", "high")


@dataclass(frozen=True)
class PolicyMethod:
    """A policy learned from a trial; `trial` is its name, so that another process can be given it."""

    name: str
    trial: str

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        from posologist.learn.fit import policy as fit

        trial = next(t for t in TRIALS if t.name == self.trial)
        fits = {
            "best-single": fit.fit_single,
            "t-learner": fit.fit_plain,
            "dr-learner": fit.fit_doubly_robust,
            "engine": fit.fit_held_back,
        }
        arm = train.extra[ARM].astype(np.int64)
        drawn = fit.Drawn(trial.matrix(train.rows), arm, train.target, np.array(trial.probability))
        policy = fits[self.name](drawn, seed=seed, quick=quick)
        return scored_by(policy, trial.matrix(test.rows))


def scored_by(policy: Policy, features: Array) -> Scored:
    """The arm of each patient, its learned gain over the best single arm, and the most promising other arm.

    `value` is the gain that the policy claims for its choice, 0 where it keeps to the best single arm. `other` and
    `other gain` are the arm that promises most besides the best single one, and how much (nan: nothing was learned).
    """
    gain = policy.gain(features)
    chosen = policy.choose(features)
    each = np.arange(len(features))
    others = np.where(np.arange(policy.n_arms) == policy.best, -np.inf, gain)
    other = others.argmax(axis=1)
    other_gain = others[each, other] if policy.gains is not None else np.full(len(features), np.nan)
    return Scored(
        value=gain[each, chosen],
        chosen=chosen,
        extra={
            "best": np.full(len(features), float(policy.best)),
            "other": other.astype(float),
            "other gain": other_gain,
        },
    )


def metrics(target: Array, scored: Scored, cohort: Cohort) -> Mapping[str, Part]:
    """What each patient adds: worth of the arm chosen, its gain over the best single arm, claimed against seen gains.

    `..._third` take the patients by the gain that the most promising other arm claims: where claims hold, claimed
    and seen agree.
    """
    if scored.chosen is None:
        return {}
    each = np.arange(len(target))
    score = cohort.extra[SCORE]
    best = scored.extra["best"].astype(np.int64)
    parts: dict[str, Part] = {
        "value": score[each, scored.chosen],
        "difference_to_best_single": score[each, scored.chosen] - score[each, best],
        "treated_differently_percent": 100.0 * (scored.chosen != best),
    }
    if SECOND_SCORE in cohort.extra:
        second = cohort.extra[SECOND_SCORE]
        parts["second_outcome_value"] = second[each, scored.chosen]
        parts["second_outcome_difference_to_best_single"] = second[each, scored.chosen] - second[each, best]
    return parts | _claimed_and_seen(scored, score, best)


def _claimed_and_seen(scored: Scored, score: Array, best: IntArray) -> dict[str, Part]:
    claimed = scored.extra["other gain"]
    known = np.isfinite(claimed)
    if not known.any():
        return {}
    each = np.arange(len(claimed))
    seen = score[each, scored.extra["other"].astype(np.int64)] - score[each, best]
    third = np.searchsorted(np.nanquantile(claimed, (1 / 3, 2 / 3)), claimed, side="right")
    parts: dict[str, Part] = {}
    for place, name in enumerate(_THIRDS):
        own = known & (third == place)
        parts[f"gain_claimed_{name}_third"] = np.where(own, claimed, np.nan)
        parts[f"gain_seen_{name}_third"] = np.where(own, seen, np.nan)
    return parts


def exchanged(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    """Each patient with the arm and outcome of another: the arms differ as before, but for everyone alike."""
    order = rng.permutation(len(cohort))
    return replace(
        cohort,
        rows=tuple(cohort.rows[i] for i in order),
        groups={name: tuple(labels[i] for i in order) for name, labels in cohort.groups.items()},
    )


_NO_SIGNAL = Control(
    "exchanged patients",
    ("best-single", "t-learner", "engine"),
    alter=exchanged,
    note="arms and outcomes of other patients: no drug suits one patient better, so leaving the best arm can only lose",
    quick=False,
)

_SOURCES = {
    "actg175": "AIDS Clinical Trials Group 175; table of the R package speff2trial",
    "ist": "International Stroke Trial, Sandercock 2011, doi 10.7488/ds/104; table of the R package RESIDE",
    "gusto1": "GUSTO Investigators 1993, N Engl J Med 329:673; table of the R package predtools",
}
_LICENCES = {
    "actg175": "package GPL-2; also UCI id 890 (CC BY 4.0, believed)",
    "ist": "data ODC-By; package GPL (>= 3)",
    "gusto1": "package GPL; provenance of the data thin: benchmark only, not redistributed",
}
_FILES = {
    "actg175": "actg175_rct/actg175.csv.gz",
    "ist": "ist_stroke_rct/ist.csv.gz",
    "gusto1": "gusto1_rct/gusto1.csv.gz",
}
_REMARKS = {
    "actg175": ("the CD4 count is a surrogate; the second outcome is told for the same policies, not learned from",),
    "ist": (
        "H of the pilot is the medium dose of heparin (the trial's own list of variables)",
        "bleeding is not in this outcome: the trial saw more of it under heparin and advised against the medium dose",
    ),
    "gusto1": (
        "the two arms of streptokinase alone are one arm here",
        "`ttr` (relief of pain) differs between the arms, so it came after the drug and is no feature",
        "stroke is not in this outcome: the trial saw more haemorrhagic strokes under tPA",
    ),
}


def block_of(trial: Trial, read: Callable[[Path], Cohort]) -> Block:
    """The block of one trial."""
    arms = "; ".join(f"{arm} ({share:g})" for arm, share in zip(trial.arms, trial.probability, strict=True))
    return Block(
        task="policy",
        part=trial.name,
        title=f"treatment policy on {trial.name}: {trial.outcome_text}",
        label="real patients",
        licence=_LICENCES[trial.name],
        source=_SOURCES[trial.name],
        file=_FILES[trial.name],
        columns=columns_of(trial),
        read=read,
        id_column="pidnum" if trial is ACTG175 else "",
        methods=tuple(PolicyMethod(name, trial.name) for name in METHODS),
        metrics=metrics,
        main="difference_to_best_single",
        paired=tuple((name, "best-single", "value") for name in METHODS[1:]),
        strata=strata,
        hidden=HIDDEN,
        controls=(_NO_SIGNAL,),
        fairness=tuple(name for name in ("race", "sex", "age") if name in GROUPS[trial.name]),
        kind="policy",
        notes=(
            f"value: {trial.outcome_text}, in {trial.unit}, more is better",
            f"arms, with the probability of the draw: {arms}",
            *((f"second outcome: {trial.second_text}",) if trial.second_text else ()),
            *_REMARKS[trial.name],
        ),
        quick_rows=6000,
    )


BLOCKS: tuple[Block, ...] = (block_of(ACTG175, read_actg175), block_of(IST, read_ist), block_of(GUSTO1, read_gusto1))
