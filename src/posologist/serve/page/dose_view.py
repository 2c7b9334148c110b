"""The dose control: doses between start and maximum, the curve of the one that is chosen, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from posologist.core.errors import PosologistError
from posologist.core.evidence import Evidence
from posologist.core.recommendation import NotChecked, Option, Start
from posologist.core.regimen import Regimen, Target
from posologist.core.simulation import DoseDocument, SimulationDocument
from posologist.core.units import convert
from posologist.core.values import DrugId, Estimate, Quantity, Series
from posologist.serve.charts import Aim
from posologist.serve.words import unit
from posologist.twin.orders import parse_regimen

Levels = Literal["before", "after"]
_CONCENTRATIONS = ("trough", "peak", "average", "cmin", "cmax", "concentration")
_MEASURES = {
    "peak": "Highest",
    "trough": "Lowest",
    "average": "Average",
    "auc24": "Area under the curve in a day",
    "ratio_to_typical": "Exposure against a typical patient",
}


@dataclass(frozen=True, slots=True)
class DoseAsked:
    """What the control was set to: a drug of the plan, a regimen, before or after levels."""

    drug: str = ""
    regimen: str = ""
    levels: Levels = "before"


@dataclass(frozen=True, slots=True)
class DoseChoice:
    """A dose that may be chosen; `text` is the whole regimen, `label` what is shown."""

    text: str
    label: str
    chosen: bool
    is_plan: bool


@dataclass(frozen=True, slots=True)
class Measure:
    """An exposure at the dose that is chosen, and at the plan's."""

    name: str
    chosen: Estimate
    plan: Estimate | None


@dataclass(frozen=True, slots=True)
class DoseView:
    """The control for one drug of the plan in focus. `problem` says why no curve is there; it is never just empty."""

    rank: int
    drug: DrugId
    drugs: tuple[tuple[DrugId, str, bool], ...]
    start: Start
    choices: tuple[DoseChoice, ...]
    chosen: str
    amount_unit: str
    rest: str
    maximum: Quantity | None
    levels: Levels
    levels_held: int
    series: Series | None
    plan_series: Series | None
    measures: tuple[Measure, ...]
    target: Target | None
    aim: Aim | None
    problem: NotChecked | None
    evidence: Mapping[str, Evidence]

    @property
    def changed(self) -> bool:
        """Whether another dose than the plan's is chosen."""
        return self.chosen != self.start.regimen.text

    @property
    def compared(self) -> bool:
        """Whether the plan's own dose, before levels, stands beside what is shown."""
        return any(measure.plan for measure in self.measures)

    @property
    def order_text(self) -> str:
        """The order that is made when the dose is changed."""
        return f"{self.drug} {self.chosen}"


def dose_view(
    option: Option,
    asked: DoseAsked,
    *,
    known: DoseDocument | None,
    simulated: SimulationDocument | None = None,
    levels_held: int = 0,
    problem: NotChecked | None = None,
) -> DoseView | None:
    """The control of a plan; None where the plan starts nothing.

    Parameters
    ----------
    known
        Doses of the drug within this patient's limits; None where they cannot be told.
    simulated
        At the dose that is asked; None where it is the plan's own, before levels.
    """
    start = start_of(option, asked.drug)
    if start is None:
        return None
    plan = start.regimen.text
    choices = _choices(start, known, asked.regimen or plan)
    chosen = next((choice.text for choice in choices if choice.chosen), plan)
    bare = choices[0].label != choices[0].text
    series = start.exposure if simulated is None else simulated.outputs.get("concentration")
    exposure = start.exposure_measures if simulated is None else simulated.exposure
    target = known.target if known else None
    return DoseView(
        rank=option.rank,
        drug=start.drug,
        drugs=tuple(
            (each.drug, f"?{urlencode({'plan': option.rank, 'drug': each.drug})}#dose", each is start)
            for each in option.plan.start
        ),
        start=start,
        choices=choices,
        chosen=chosen,
        amount_unit=plan.split()[1] if bare else "",
        rest=" ".join(plan.split()[2:]) if bare else "",
        maximum=start.regimen.maximum,
        levels=asked.levels,
        levels_held=levels_held,
        series=None if problem else series,
        plan_series=start.exposure if simulated is not None and _alike(start.exposure, series) else None,
        measures=() if problem else _measures(exposure, start.exposure_measures if simulated is not None else {}),
        target=target,
        aim=_aim(target, series),
        problem=problem or _no_curve(start, simulated, series),
        evidence={**(known.evidence if known else {}), **(simulated.evidence if simulated else {})},
    )


def start_of(option: Option, drug: str) -> Start | None:
    """The drug that is asked for, else the first that the plan starts."""
    starts = option.plan.start
    return next((start for start in starts if start.drug == drug), starts[0] if starts else None)


def _choices(start: Start, known: DoseDocument | None, chosen: str) -> tuple[DoseChoice, ...]:
    """The plan's dose and those above it within the maximum, from the smallest up, in products that exist."""
    plan = start.regimen.text
    texts = [plan, *(regimen.text for regimen in (known.regimens or known.unranked if known else ()))]
    read = {text: regimen for text in dict.fromkeys(texts) if (regimen := _read(text, start.drug)) is not None}
    own = read.get(plan)
    if own is None:
        return (DoseChoice(plan, plan, True, True),)
    within = [text for text, regimen in read.items() if text == plan or _is_within(regimen, own, start)]
    within.sort(key=lambda text: (read[text].per_day, text))
    if chosen not in within:
        chosen = plan
    bare = _one_unit(start, tuple(read[text] for text in within))
    return tuple(DoseChoice(text, text.split()[0] if bare else text, text == chosen, text == plan) for text in within)


def _one_unit(start: Start, regimens: Sequence[Regimen]) -> bool:
    """Whether the doses differ in nothing but their number, so that unit and rhythm can stand once above them."""
    words = start.regimen.text.split()
    return len(words) > 2 and all(regimen.text.split()[1:] == words[1:] for regimen in regimens)


def _read(text: str, drug: DrugId) -> Regimen | None:
    try:
        return parse_regimen(text, drug=drug)
    except PosologistError:  # not offered: its place between start and maximum cannot be told
        return None


def _is_within(regimen: Regimen, plan: Regimen, start: Start) -> bool:
    """Whether a dose is at least the plan's and at most the maximum, per day."""
    top = start.regimen.maximum
    if top is None or not regimen.unit == plan.unit == top.unit.removesuffix("/day"):
        return False
    return plan.per_day <= regimen.per_day <= top.value * (1 + 1e-9)


def _alike(one: Series | None, other: Series | None) -> bool:
    return one is not None and other is not None and one.x == other.x and _is_same(one.unit, other.unit)


def _measures(chosen: Mapping[str, Estimate], plan: Mapping[str, Estimate]) -> tuple[Measure, ...]:
    return tuple(
        Measure(name, chosen[key], plan.get(key) if _same_unit(chosen[key], plan.get(key)) else None)
        for key, name in _MEASURES.items()
        if key in chosen
    )


def _same_unit(one: Estimate, other: Estimate | None) -> bool:
    return other is not None and _is_same(one.unit, other.unit)


def _is_same(one: str, other: str) -> bool:
    """Whether two units are one, as ug/L and ng/mL are."""
    try:
        return one == other or convert(1.0, one, other) == 1.0
    except PosologistError:
        return False


def _aim(target: Target | None, series: Series | None) -> Aim | None:
    """The target as a band of the plot, where it is one of concentrations in the plot's unit."""
    if target is None or series is None or target.measure not in _CONCENTRATIONS:
        return None
    return Aim(target.low, target.high) if unit(target.unit) == unit(series.unit) else None


def _no_curve(start: Start, simulated: SimulationDocument | None, series: Series | None) -> NotChecked | None:
    if series is not None:
        return None
    if simulated is not None and simulated.not_checked:
        return simulated.not_checked[0]
    return NotChecked(
        what=f"concentration of {start.drug}", why=start.exposure_note or "no curve is held",
        would_need="kinetics of the drug on file", drugs=(str(start.drug),),
    )  # fmt: skip
