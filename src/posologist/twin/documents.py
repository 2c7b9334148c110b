"""The documents of `dose` and `simulate` by a drug's file: regimens and curves, with the evidence of every number."""

from __future__ import annotations

from collections.abc import Sequence

from posologist.core.drug import Drug
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import PhenotypeProfile, Versions
from posologist.core.recommendation import Finding, NotChecked, Reason, cited_keys
from posologist.core.regimen import DoseEvent, Limits, Regimen, Target
from posologist.core.settings import Settings
from posologist.core.simulation import (
    BindingConstraint,
    DoseDocument,
    Level,
    LevelDocument,
    RankedRegimen,
    SimulationDocument,
)
from posologist.core.situation import Situation
from posologist.core.values import Estimate, Quantity, Series
from posologist.twin.compartment import INTRAVENOUS, Array, short_route
from posologist.twin.dosing import MOST_RANKED, Ranking, best_regimens
from posologist.twin.exposure import Exposure, curve, curve_after, exposure, summary
from posologist.twin.parameters import MissingKinetics
from posologist.twin.population import Draws, Prior, prior_of
from posologist.twin.search import NoRegimen, regimens_for, starting_regimen, usual_route

DEFAULT_INFUSION_H = 1.0


def dose_document(
    drug: Drug,
    situation: Situation | None,
    profile: PhenotypeProfile | None,
    *,
    limits: Limits,
    settings: Settings,
    ledger: Ledger,
    versions: Versions,
    target: Target | None = None,
    route: str | None = None,
    infusion_h: float | None = None,
    alongside: Sequence[Drug] | None = None,
    levels: Sequence[Level] = (),
) -> DoseDocument:
    """The answer of `dose`: regimens for a target, or all that can be dispensed within the limits.

    Without a target regimens are listed from the smallest up, none preferred by the model; `start` is the one to start
    with. `route` None is the usual route of the limits; an intravenous dose without `infusion_h` is taken to run over
    1 h, which is said. `levels` are shown and not used: this version answers from the population; a finding says so.
    """
    way, over_h, assumed = _way(drug, limits, route, infusion_h, ledger)
    prior = prior_of(
        drug, situation, profile, settings=settings, ledger=ledger, route=way, release=limits.release or "immediate",
        alongside=alongside,
    )  # fmt: skip
    weight = _weight(situation)
    start = starting_regimen(drug, limits, route=way, weight_kg=weight, duration_h=over_h)
    candidates = regimens_for(drug, limits, route=way, weight_kg=weight, duration_h=over_h)
    ranking = _ranking(prior, candidates, target, drug=drug, settings=settings, ledger=ledger)
    found, shown = _levels(drug, levels, ledger)
    open_questions = [
        *(prior.not_checked if isinstance(prior, Prior) else (prior.not_checked(),)),
        *ranking.not_checked,
    ]
    if isinstance(start, NoRegimen):
        need = "a start dose and a product that makes it"
        open_questions.append(_not_checked(drug, "start dose", start.reason, need))
    document = DoseDocument(
        drug=drug.id, model=_model(prior), patient=_patient_id(situation), parameters=_parameters(prior, settings),
        target=target, start=None if isinstance(start, NoRegimen) else start.text, regimens=ranking.regimens,
        binding_constraint=ranking.binding_constraint, levels=shown, findings=found,
        not_checked=tuple({question.what: question for question in open_questions}.values()),
        assumptions=(*_assumptions(prior), *assumed), evidence={}, versions=versions,
    )  # fmt: skip
    return document.model_copy(update={"evidence": ledger.reachable(cited_keys(document))})


def _way(
    drug: Drug, limits: Limits, route: str | None, infusion_h: float | None, ledger: Ledger
) -> tuple[str, float, tuple[Reason, ...]]:
    """Route, infusion time (h, 0 unless intravenous) and what was assumed of them."""
    way = short_route(route) if route is not None else usual_route(drug, limits)
    if way not in INTRAVENOUS:
        return way, 0.0, ()
    if infusion_h is not None:
        return way, infusion_h, ()
    setting = ledger.add("setting", f"infusion time {DEFAULT_INFUSION_H:g} h", source="default of posologist dose")
    text = f"Each intravenous dose is taken to run over {DEFAULT_INFUSION_H:g} h; the rate allowed is not checked."
    return way, DEFAULT_INFUSION_H, (Reason(text=text, because=(ledger.add("assumption", text, because=(setting,)),)),)


def _ranking(
    prior: Prior | MissingKinetics,
    candidates: Sequence[Regimen],
    target: Target | None,
    *,
    drug: Drug,
    settings: Settings,
    ledger: Ledger,
) -> Ranking:
    """Ranked for the target; without one, the candidates from the smallest up with what exposure can be told."""
    if isinstance(prior, MissingKinetics):
        if target is None:
            return Ranking(regimens=tuple(_listed(rank, r, None) for rank, r in _first(candidates)))
        what = f"no regimen can be held against the target: {prior.why}"
        return Ranking(regimens=(), binding_constraint=BindingConstraint(what=what, nearest_regimen=None))
    draws = prior.draw(settings.draws)
    if target is not None:
        return best_regimens(prior, candidates, target, drug=drug, settings=settings, ledger=ledger, draws=draws)
    rows: list[RankedRegimen] = []
    refusals: dict[str, NotChecked] = {}
    for rank, regimen in _first(candidates):
        answer = exposure(prior, regimen, drug=drug, settings=settings, ledger=ledger, draws=draws)
        told = None if isinstance(answer, MissingKinetics) else answer
        open_questions = (answer.not_checked(),) if isinstance(answer, MissingKinetics) else answer.not_checked
        refusals |= {question.what: question for question in open_questions}
        rows.append(_listed(rank, regimen, told))
    return Ranking(regimens=tuple(rows), not_checked=tuple(refusals.values()))


def _first(candidates: Sequence[Regimen]) -> list[tuple[int, Regimen]]:
    return list(enumerate(candidates[:MOST_RANKED], start=1))


def _listed(rank: int, regimen: Regimen, told: Exposure | None) -> RankedRegimen:
    return RankedRegimen(
        rank=rank,
        text=regimen.text,
        target_attainment=None,
        toxic_probability=None if told is None else told.toxic_probability,
        exposure={} if told is None else told.measures(),
    )


def simulate_document(
    drug: Drug,
    regimen: Regimen | None,
    situation: Situation | None,
    profile: PhenotypeProfile | None,
    *,
    settings: Settings,
    ledger: Ledger,
    versions: Versions,
    times: Sequence[float] = (),
    events: Sequence[DoseEvent] = (),
    alongside: Sequence[Drug] | None = None,
    levels: Sequence[Level] = (),
) -> SimulationDocument:
    """The answer of `simulate`: curves of one regimen (first doses and steady state), or of given doses.

    Raises
    ------
    InputError
        If there is neither a regimen nor events, or events come without times.
    """
    if (regimen is None) == (not events) or (events and not times):
        hint = "give --regimen, or --events and --times"
        raise InputError("one regimen, or doses with times, is needed", where="simulate", hint=hint)
    route = regimen.route if regimen is not None else events[0].route
    release = (regimen.release if regimen is not None else "") or "immediate"
    prior = prior_of(
        drug, situation, profile, settings=settings, ledger=ledger, route=route, release=release, alongside=alongside
    )
    told: Exposure | None = None
    outputs: dict[str, Series] = {}
    refused: list[NotChecked] = []
    if isinstance(prior, MissingKinetics):
        refused.append(prior.not_checked())
    else:
        draws = prior.draw(settings.draws)
        refused += prior.not_checked
        if regimen is not None:
            answer = exposure(prior, regimen, drug=drug, settings=settings, ledger=ledger, draws=draws)
            refused += (answer.not_checked(),) if isinstance(answer, MissingKinetics) else answer.not_checked
            told = None if isinstance(answer, MissingKinetics) else answer
        curves = _curves(prior, regimen, events, times, settings=settings, ledger=ledger, draws=draws)
        refused += [c.not_checked() for c in curves.values() if isinstance(c, MissingKinetics)]
        outputs = {name: c for name, c in curves.items() if not isinstance(c, MissingKinetics)}
    document = SimulationDocument(
        drug=drug.id, model=_model(prior), patient=_patient_id(situation), outputs=outputs,
        regimen="" if regimen is None else regimen.text, parameters=_parameters(prior, settings),
        exposure={} if told is None else told.measures(), findings=_levels(drug, levels, ledger)[0],
        not_checked=tuple({question.what: question for question in refused}.values()),
        assumptions=_assumptions(prior), evidence={}, versions=versions,
    )  # fmt: skip
    return document.model_copy(update={"evidence": ledger.reachable(cited_keys(document))})


def _curves(
    prior: Prior,
    regimen: Regimen | None,
    events: Sequence[DoseEvent],
    times: Sequence[float],
    *,
    settings: Settings,
    ledger: Ledger,
    draws: Draws,
) -> dict[str, Series | MissingKinetics]:
    if regimen is None:
        return {"concentration": curve_after(prior, events, times, settings=settings, ledger=ledger, draws=draws)}
    first = curve(prior, regimen, settings=settings, ledger=ledger, times=times, draws=draws)
    steady = curve(prior, regimen, settings=settings, ledger=ledger, times=times, when="steady state", draws=draws)
    return {"concentration": first, "concentration_at_steady_state": steady}


def _model(prior: Prior | MissingKinetics) -> str:
    return f"{prior.model.compartments} compartment from the drug's file" if isinstance(prior, Prior) else "none"


def _assumptions(prior: Prior | MissingKinetics) -> tuple[Reason, ...]:
    return prior.assumptions if isinstance(prior, Prior) else ()


def _patient_id(situation: Situation | None) -> str:
    return "" if situation is None else situation.patient_id


def _weight(situation: Situation | None) -> float | None:
    known = None if situation is None else situation.facts.get("weight")
    return None if known is None or isinstance(known.value, bool | str) else float(known.value)


def _parameters(prior: Prior | MissingKinetics, settings: Settings) -> dict[str, Estimate]:
    """The parameters with the interval between patients like this one."""
    if isinstance(prior, MissingKinetics):
        return {}
    draws = prior.draw(settings.draws)
    arrays: dict[str, Array | None] = {"CL": draws.cl, "V": draws.v, "ka": draws.ka, "F": draws.f}
    return {
        name: summary(
            values, prior.parameters[name].unit, level=settings.interval_level, because=prior.parameters[name].because
        )
        for name, values in arrays.items()
        if values is not None
    }


def _levels(
    drug: Drug, levels: Sequence[Level], ledger: Ledger
) -> tuple[tuple[Finding, ...], tuple[LevelDocument, ...]]:
    """Levels as they were given, and the finding that they were not used."""
    if not levels:
        return (), ()
    shown = []
    for level in levels:
        text = f"level of {level.analyte or drug.name}: {level.value:g} {level.unit} at {level.time_h:g} h"
        key = ledger.add("patient", text, source="levels given with the request")
        shown.append(
            LevelDocument(
                time=Quantity(value=level.time_h, unit="h", because=(key,)),
                observed=Quantity(value=level.value, unit=level.unit, because=(key,)),
            )
        )
    keys = tuple(key for row in shown for key in row.observed.because)
    finding = Finding(
        severity="serious",
        title=f"Levels of {drug.name} are not used",
        detail=f"{len(shown)} measured levels were given. This version answers from the population and does not yet "
        "learn from levels: judge the dose by them yourself.",
        drugs=(str(drug.id),),
        because=keys,
    )
    return (finding,), tuple(shown)


def _not_checked(drug: Drug, what: str, why: str, would_need: str) -> NotChecked:
    return NotChecked(what=f"{what} of {drug.name}", why=why, would_need=would_need, drugs=(str(drug.id),))
