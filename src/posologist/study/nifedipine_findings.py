"""What has to be said of the doses of nifedipine, with the numbers of the run."""

from __future__ import annotations

import numpy as np

from posologist.study.blocks import sub_seed
from posologist.study.facts import Facts, facts_of
from posologist.study.nifedipine_limits import cv_of, levels_for, six_men, spread_for
from posologist.study.nifedipine_scores import Clinics
from posologist.study.nifedipine_world import level_sd, sd_of, window_of, world

TASK = "nifedipine-dose"


def seed_of(seed: int, part: str, n: int, k: int) -> int:
    """Seed of the `k`-th world of `n` patients who teach ("train") or are asked ("test")."""
    return sub_seed(seed, TASK, part, n, k)


def findings(main: Clinics, seed: int) -> tuple[str, ...]:
    """Window and right dose, where the published figure is within reach, and what the rows cannot show."""
    facts = facts_of("nifedipine")
    in_cirrhosis = main.mean("oracle", "liver=cirrhosis", "in_window_percent")
    return (
        *_target(facts, main, seed),
        *_reach(facts, main),
        _level_counts(main),
        "pressures say little of exposure, even where no tablet is missed and they scatter least (two tables above): "
        "how far the pressure falls differs more between patients than with the concentration, which is beyond half of "
        "its effect already; where tablets are missed unseen, a pressure misleads. The product does not learn a dose "
        "from pressures; these rows show why",
        "going up by pressure aims at the pressure and not at this window, and many patients end above it",
        f"in cirrhosis whole tablets leave only {in_cirrhosis:.0f} % in the window even where the right dose is known: "
        "the smallest tablet is too strong for most of them",
        "a level counts as drawn on a day on which the tablet was taken; amlodipine shows what a level is worth where "
        "this is not known",
        "strong inducers, phenytoin among them, are a contraindication: the product refuses. Many right doses of "
        "that group are the label's largest, which makes them easy to name",
        "no figure outside pregnancy was found for CYP3A5, and none for CYP3A4*22: genes change nobody's dose here",
        "not published and set by us: the shares of patients on inhibitors, on phenytoin and with cirrhosis, the error "
        "of a level by its hour, how adherence differs, and that folds of exposure multiply",
    )


def _target(facts: Facts, main: Clinics, seed: int) -> tuple[str, ...]:
    window = window_of(facts)
    size = main.worlds[0].n
    right = np.concatenate([world(size, seed_of(seed, "test", size, k)).right for k in range(len(main.worlds))])
    capped = 100.0 * float(np.mean(right >= window.largest))
    below = 100.0 * float(np.mean(right < window.tablets[0] / np.sqrt(2.0)))
    return (
        f"the window is {window.low:.0f} to {window.high:.1f} ng/mL on average: from the least level that lowered "
        f"diastolic pressure to what {window.largest:.0f} mg a day gives in a healthy young adult. The right dose "
        f"leads to its middle, {window.middle:.1f} ng/mL, as many times above the one as below the other, and is at "
        f"most {window.largest:.0f} mg",
        f"{capped:.0f} % of the patients would need more than that, and {below:.0f} % need less than any tablet comes "
        "near to: deviations compare amounts, exposure in the window and right tablets are of whole tablets",
        "the engine's prior is the population that the patients were drawn from: its rows are a bound, and the table "
        "of other priors shows what a wrong one costs",
    )


def _reach(facts: Facts, main: Clinics) -> tuple[str, ...]:
    aim = facts.numbers("published_engine_rivals")[0]
    between, within, level = sd_of(facts.number("between_cv")), sd_of(facts.number("within_cv")), level_sd(facts)
    as_here, faultless = (levels_for(aim, between=between, level=one) for one in (level, within))
    needed, left, men = (100.0 * cv_of(spread) for spread in (spread_for(aim), between, six_men(facts)))
    return (
        f"without levels {aim:g} % is out of reach: the record would have to leave {needed:.1f} % unexplained, and "
        f"leaves {left:.0f} % (or {men:.0f} %, by six men); the engine's {main.mean('engine, a priori'):.0f} % a "
        "priori is what that allows",
        f"{aim:g} % is within reach after {as_here} levels as they are here, or after {faultless} without any error of "
        "assay or hour; one is not enough, since exposure differs from day to day in the same patient",
    )


def _level_counts(main: Clinics) -> str:
    apart = main.mean("linear regression, two levels") - main.mean("engine, two levels")
    return (
        "what counts is the level, not who reads it: after two levels a linear regression of logarithms, learned from "
        f"{main.worlds[0].n} patients, is {apart:.1f} points from the engine, which needs nobody to learn from; "
        "support vectors and forests are further away and come nearer with more patients"
    )
