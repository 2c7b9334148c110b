"""How near to the right dose anybody can come: by what is left unexplained, and by how many levels are drawn.

Where ln(clearance) of a patient is known up to a normal error of standard deviation s, the dose at its middle is off by
a factor exp(Z), Z ~ N(0, s^2), and the mean of |exp(Z) - 1| is exp(s^2 / 2) (2 Phi(s) - 1). Before any level s is the
spread that the record does not explain; k levels with error of standard deviation e leave 1 / s^2 = 1 / spread^2 + k /
e^2. The label's largest dose, which cuts some errors off, is left out here.
"""

from __future__ import annotations

import math

from posologist.core.evaluation import ControlTable, Curve, MethodRow
from posologist.study.experiment import plain
from posologist.study.facts import Facts, facts_of
from posologist.study.nifedipine_world import level_sd, sd_of

_MOST_CV, _MOST_LEVELS = 80, 8
_SHOWN_LEVELS = (0, 1, 2, 4)


def mean_deviation(spread: float) -> float:
    """Mean deviation of the dose, %, where ln(clearance) is known up to this standard deviation."""
    return 100.0 * math.exp(spread * spread / 2.0) * math.erf(spread / math.sqrt(2.0))


def smallest_mean_deviation(spread: float) -> float:
    """The same where each dose is chosen for this very measure: exp(-s^2) of the dose at the middle, in the mean."""
    return 100.0 * math.erf(spread / math.sqrt(2.0))


def spread_after(n_levels: int, *, between: float, level: float) -> float:
    """Standard deviation of ln(clearance) that is left after levels; all are standard deviations of logarithms."""
    return 1.0 / math.sqrt(1.0 / between**2 + n_levels / level**2)


def spread_for(deviation: float) -> float:
    """The standard deviation at which the mean deviation (%) is this one."""
    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if mean_deviation(middle) < deviation else (low, middle)
    return low


def cv_of(spread: float) -> float:
    """Coefficient of variation of what varies log-normally with this standard deviation of its logarithm."""
    return math.sqrt(math.expm1(spread * spread))


def levels_for(deviation: float, *, between: float, level: float) -> int:
    """How many levels bring the mean deviation (%) down to this one."""
    wanted = 1.0 / spread_for(deviation) ** 2 - 1.0 / between**2
    return max(0, math.ceil(wanted * level**2))


def six_men(facts: Facts) -> float:
    """Spread of ln(oral clearance) that clearance and bioavailability of six men give, taken as independent."""
    clearance, share = facts.numbers("clearance_and_bioavailability_sd")
    parts = (clearance / facts.number("clearance"), share / facts.number("bioavailability"))
    return math.hypot(*(sd_of(part) for part in parts))


def _spreads(facts: Facts) -> dict[str, float]:
    known = {"12 people": sd_of(facts.number("between_cv")), "six men": six_men(facts)}
    return {f"spread of {who}, {100.0 * cv_of(spread):.0f} %": spread for who, spread in known.items()}


def limits_table() -> ControlTable:
    """What the published 8.3 % takes."""
    facts = facts_of("nifedipine")
    aim = facts.numbers("published_engine_rivals")[0]
    within = sd_of(facts.number("within_cv"))
    levels = {"one level as here": level_sd(facts), "one level without any error of assay or hour": within}
    rows = []
    for people, between in _spreads(facts).items():
        for drawn, level in levels.items():
            counted = {
                f"deviation_percent_after_{n}": plain(mean_deviation(spread_after(n, between=between, level=level)))
                for n in (*_SHOWN_LEVELS[:3], 3)
            }
            needed = {f"levels_for_{aim:g}_percent": plain(float(levels_for(aim, between=between, level=level)))}
            least = {"smallest_deviation_percent_after_0": plain(smallest_mean_deviation(between))}
            rows.append(MethodRow(method=f"{people}; {drawn}", n=0, metrics={**counted, **least, **needed}))
    return ControlTable(
        name="what 8.3 % takes", rows=tuple(rows),
        note=f"Computed, not simulated. Without a level {aim:g} % needs that the record leaves a coefficient of "
        f"variation of at most {100.0 * cv_of(spread_for(aim)):.1f} % unexplained. 'smallest' is of doses chosen for "
        "this measure, which are lower than those for the middle of the window: too much counts more than too little.",
    )  # fmt: skip


def limit_curves() -> tuple[Curve, ...]:
    """Mean deviation over the unexplained variation, and over the number of levels."""
    facts = facts_of("nifedipine")
    aim, level = facts.numbers("published_engine_rivals")[0], level_sd(facts)
    published = f"{aim:g} %, published, not reproduced here"
    percents = tuple(float(percent) for percent in range(2, _MOST_CV + 1, 2))
    over_cv = {
        ("no level" if n == 0 else f"{n} level{'s' * (n > 1)}"): tuple(
            mean_deviation(spread_after(n, between=sd_of(percent / 100.0), level=level)) for percent in percents
        )
        for n in _SHOWN_LEVELS
    }
    over_cv[published] = (aim,) * len(percents)
    counts = tuple(float(n) for n in range(_MOST_LEVELS + 1))
    over_levels = {
        name: tuple(mean_deviation(spread_after(int(n), between=between, level=level)) for n in counts)
        for name, between in _spreads(facts).items()
    }
    over_levels[published] = (aim,) * len(counts)
    y_text = "mean deviation of the dose, %"
    return (
        *(
            Curve(kind="deviation", method=name, x_text="unexplained variation, CV %", y_text=y_text, x=percents, y=y)
            for name, y in over_cv.items()
        ),
        *(
            Curve(kind="levels", method=name, x_text="levels of the patient", y_text=y_text, x=counts, y=y)
            for name, y in over_levels.items()
        ),
    )  # fmt: skip
