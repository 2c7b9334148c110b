"""The document of `dose --model`: a patient's own kinetics from the doses given and the levels measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from posologist.core.drug import Drug
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.regimen import Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import (
    BindingConstraint,
    DoseDocument,
    Individual,
    LevelDocument,
    NextSample,
    RankedRegimen,
)
from posologist.core.values import Because, DrugId, Estimate, EvidenceKey, Quantity, rounded
from posologist.knowledge.models import PkModel
from posologist.twin.events import DOSE, Record
from posologist.twin.exposure import share_estimate
from posologist.twin.goals import Goal, area_unit, goal_of, levels_after
from posologist.twin.individual import Array, factor_of, individual, typical_values
from posologist.twin.levels import levels_at
from posologist.twin.modelled import UNITS, predict
from posologist.twin.offers import Exposures, Habit, Judged, binding, judged, offers_of, ordered
from posologist.twin.patient_model import History, Told, carried
from posologist.twin.posterior import ENOUGH, Posterior, posterior, resampled_rows
from posologist.twin.randomness import generator_for, normal_draws
from posologist.twin.residual import error_model

MOST_RANKED = 20
MISFIT = 3.0  # weighted residual from which a level is said not to fit
_POSTERIOR_DRAWS = 2000
_SAMPLE_TIMES = 24
_FIRST_INTERVAL_H, _FIRST_INFUSION_H = 12.0, 1.0


@dataclass(frozen=True)
class People:
    """Equally likely possible patients: `etas` (n_draws, n_eta); the posterior they come from, if there were levels."""

    etas: Array
    parameters: dict[str, Array]
    found: Posterior | None


@dataclass(frozen=True)
class _Case:
    model: PkModel
    drug: Drug
    settings: Settings
    ledger: Ledger
    told: Told
    history: History
    people: People
    because: Because

    def finding(self, severity: str, title: str, detail: str, because: Sequence[EvidenceKey] = ()) -> Finding:
        key = self.ledger.add("derived", detail, because=because or self.because)
        return Finding.model_validate(
            {"severity": severity, "title": title, "detail": detail, "drugs": (str(self.drug.id),), "because": (key,)}
        )

    def estimate(self, values: Array, unit: str, value: float | None = None) -> Estimate:
        tail = (1.0 - self.settings.interval_level) / 2.0
        low, mid, high = (rounded(float(v)) for v in np.quantile(values, (tail, 0.5, 1.0 - tail)))
        shown = mid if value is None else rounded(value)
        return Estimate(
            value=shown, unit=unit, low=min(low, shown), high=max(high, shown), level=self.settings.interval_level,
            because=self.because,
        )  # fmt: skip


def people_of(model: PkModel, history: History, covariates: dict[str, float], settings: Settings) -> People:
    """Possible patients: drawn from the posterior of the levels, or from the population where there are none."""
    typical = typical_values(model, (Record(0.0, covariates=carried(model, covariates)),))[0]
    chance = generator_for("dose", model.id, history.table.subject, str(settings.draws))
    if not levels_at(history.table):
        draws = normal_draws(settings.draws, len(model.random), chance).T if model.random else None
        factor = factor_of(model.omega)
        etas = np.zeros((settings.draws, 0)) if draws is None else draws[:, : factor.shape[1]] @ factor.T
        return People(etas, individual(model, typical, etas), None)
    found = posterior(
        model, history.table, n_draws=max(settings.draws, _POSTERIOR_DRAWS), rng=chance,
        predict=None if model.elimination == "linear" else predict,
    )  # fmt: skip
    rows = resampled_rows(found.weights, settings.draws, chance)
    values = {name: values[rows] for name, values in found.parameters.items()}
    return People(np.asarray(found.eta[rows]), values, found)


def individual_dose_document(
    model: PkModel,
    drug: Drug,
    told: Told,
    history: History,
    *,
    limits: Limits | None,
    target: Target | None,
    weight_kg: float | None,
    settings: Settings,
    ledger: Ledger,
    versions: Versions,
    patient: str,
) -> DoseDocument:
    """Regimens of one drug for one patient, from a population model and what was given and measured.

    The evidence of the document is left to the caller, who knows what else it names.

    Raises
    ------
    InputError
        If the target asked for cannot be told by the model.
    NumericsError
        If no estimate was found from the levels.
    """
    people = people_of(model, history, told.values, settings)
    known = ledger.add(
        "model", f"model {model.id}: {model.title}", source=str(model.about.source), version=model.about.version,
        status=model.status,
    )  # fmt: skip
    rests = (known, *told.keys, *history.keys, *history.level_keys)
    text = f"{model.id}: parameters and exposure of this patient"
    case = _Case(
        model, drug, settings, ledger, told, history, people, (ledger.add("derived", text, because=rests),)
    )  # fmt: skip
    goal, aimed, open_goal = _goal(case, target)
    toxic, open_toxic = _toxic(case)
    route = _route(case)
    exposures = Exposures(model, people.parameters)
    habit = _habit(drug, limits, history)
    tried = offers_of(model, drug, limits, goal, exposures, habit=habit, route=route, weight_kg=weight_kg)
    candidates = judged(tried.offers, exposures, goal, toxic)
    best = ordered(candidates, settings, habit=habit, aimed=goal is not None)
    bound, nearest, why = _bound(case, candidates, best, goal, habit)
    levels, misfits = _levels(case)
    shown = best[0] if best else nearest
    return DoseDocument(
        drug=DrugId(drug.id), model=model.id, patient=patient,
        parameters={name: case.estimate(values, unit_of(model, name)) for name, values in people.parameters.items()},
        individual=_individual(case), target=aimed,
        regimens=tuple(_ranked(case, rank, row, goal, toxic) for rank, row in enumerate(best[:MOST_RANKED], start=1)),
        binding_constraint=bound,
        next_sample=None if shown is None else _next_sample(case, shown, goal, habit),
        levels=levels,
        findings=(
            *told.findings, *history.findings, *_about_model(case), *_about_draws(case), *misfits, *why,
            *(case.finding("monitor", "Not limited by a label", sentence) for sentence in tried.warned),
        ),
        not_checked=(*open_goal, *open_toxic, *_rate_unknown(case, best[:MOST_RANKED] or [nearest])),
        assumptions=(*told.assumptions, *history.assumptions, *(_said(case, sentence) for sentence in tried.said)),
        evidence={}, versions=versions,
    )  # fmt: skip


def unit_of(model: PkModel, name: str) -> str:
    """Unit of a structural parameter."""
    own = {"VMAX": f"{model.dose_unit}/h", "KM": model.concentration_unit, "F": "1"}
    return own.get(name) or UNITS.get(name, "")


def _said(case: _Case, text: str) -> Reason:
    return Reason(text=text, because=(case.ledger.add("assumption", text, because=case.because),))


def _goal(case: _Case, target: Target | None) -> tuple[Goal | None, Target | None, tuple[NotChecked, ...]]:
    """What is aimed at: as asked, else the model's first target that can be told."""
    model = case.model
    if target is not None:
        asked = goal_of(model, target.measure, target.low, target.high, target.unit, target.text)
        if asked is None:
            raise InputError(
                f"'{target.measure}' is no target of a concentration",
                where="--target",
                hint="use auc24, average, trough, peak, level_12h or time_above_2 (the bound in the model's unit)",
            )
        return asked, target, ()
    for row in model.targets:
        found = goal_of(model, row.metric, row.low, row.high, row.unit)
        if found is not None:
            bounds = "-".join(f"{b:g}" for b in (row.low, row.high) if b is not None)
            one = " at a MIC of 1 mg/L" if row.metric.lower().endswith("/mic") else ""
            text = f"{row.metric} {bounds} {row.unit}{one} (of the model file, {row.status})"
            key = case.ledger.add("knowledge", text, source=str(row.source), status=row.status)
            aim = Target(
                measure=found.metric, low=found.low, high=found.high, unit=found.unit, text=text, reasons=(str(key),)
            )
            return found, aim, ()
    listed = ", ".join(row.metric for row in model.targets) or "none"
    return None, None, (
        NotChecked(
            what=f"target of {case.drug.name}", why=f"the model file's targets ({listed}) are not of a total exposure",
            would_need="a target with --target", drugs=(str(case.drug.id),),
        ),
    )  # fmt: skip


def _toxic(case: _Case) -> tuple[Goal | None, tuple[NotChecked, ...]]:
    for row in case.model.toxicity:
        found = goal_of(case.model, row.metric, row.low, row.high, row.unit)
        if found is not None and found.high is not None:
            return found, ()
    unknown = NotChecked(
        what=f"probability of toxicity of {case.drug.name}",
        why=f"{case.model.id} has no toxic bound of a concentration",
        would_need="a bound in the model file", drugs=(str(case.drug.id),),
    )  # fmt: skip
    return None, (unknown,)


def _rate_unknown(case: _Case, listed: Sequence[Judged | None]) -> tuple[NotChecked, ...]:
    """Drug files hold no maximum rate of infusion: the fastest infusion listed is named."""
    infused = [row.offer for row in listed if row is not None and row.offer.shape.infusion]
    if not infused:
        return ()
    fastest = max(infused, key=lambda offer: offer.dose / offer.shape.infusion)
    return (
        NotChecked(
            what=f"rate of infusion of {case.drug.name}",
            why=f"no maximum rate is on file; the fastest infusion listed is {fastest.text}",
            would_need="the maximum rate of the label: infuse no faster than it", drugs=(str(case.drug.id),),
        ),
    )  # fmt: skip


def _route(case: _Case) -> str:
    doses = case.history.doses
    if case.model.absorption == "none" or (doses and doses[-1].cmt):
        return "iv"
    return "oral"


def _habit(drug: Drug, limits: Limits | None, history: History) -> Habit:
    """Interval and infusion time in use, else the longest usual interval of the drug's file."""
    doses = history.doses
    gaps = [b.time - a.time for a, b in pairwise(doses) if b.time > a.time]
    infusions = [dose.amt / dose.rate for dose in doses if dose.rate > 0]
    per_day = (limits.doses_per_day if limits is not None else ()) or (
        drug.doses[0].doses_per_day if drug.doses else ()
    )
    usual = 24.0 / min(per_day) if per_day and min(per_day) > 0 else _FIRST_INTERVAL_H
    return Habit(float(np.median(gaps)) if gaps else usual, infusions[-1] if infusions else _FIRST_INFUSION_H)


def _individual(case: _Case) -> Individual | None:
    found = case.people.found
    if found is None:
        return None
    etas = {
        effect.eta: case.estimate(case.people.etas[:, n], "1", float(found.estimate.eta[n]))
        for n, effect in enumerate(case.model.random)
    }
    return Individual(
        eta=etas, converged=bool(found.estimate.converged), effective_sample_size=int(found.effective)
    )  # fmt: skip


def _levels(case: _Case) -> tuple[tuple[LevelDocument, ...], tuple[Finding, ...]]:
    """Each level with its prediction, and those that do not fit."""
    found, table = case.people.found, case.history.table
    if found is None:
        return (), ()
    at = levels_at(table)
    values = np.real(predict(case.model, [case.people.parameters] * len(table.records), table))[:, at]
    expected = np.asarray(found.estimate.predictions)
    error = error_model(case.model.residual, ["concentration"] * len(at))
    measured = np.array([float(table.records[i].dv or 0.0) for i in at])
    away = error.on_scale(measured) - error.on_scale(expected)
    weighted = away / np.sqrt(error.variance(error.on_scale(expected)))
    rows, misfits = [], []
    for n, (i, row, key) in enumerate(zip(at, case.history.level_rows, case.history.level_keys, strict=True)):
        record = table.records[i]
        observed = Quantity(value=rounded(measured[n]), unit=case.model.concentration_unit, because=(key,))
        predicted = case.estimate(values[:, n], case.model.concentration_unit, float(expected[n]))
        rows.append(
            LevelDocument(
                time=Quantity(value=rounded(record.time), unit="h", because=(key,)),
                observed=observed,
                predicted=predicted,
            )
        )
        if abs(weighted[n]) > MISFIT:
            detail = (
                f"The level of {row.value:g} {row.unit} at {record.time:g} h lies {abs(weighted[n]):.1f} standard "
                f"deviations from the model's {expected[n]:.3g} {case.model.concentration_unit}: check the time of the "
                "sample, the doses and the assay before the answer is used."
            )
            misfits.append(case.finding("serious", "A level does not fit", detail, (key, *case.because)))
    return tuple(rows), tuple(misfits)


def _about_draws(case: _Case) -> tuple[Finding, ...]:
    found = case.people.found
    if found is None:
        detail = "No levels were given: the answer is that of the studied population with this patient's covariates."
        return (case.finding("information", "Population answer", detail),)
    if found.effective >= ENOUGH:
        return ()
    detail = (
        f"The posterior is worth {int(found.effective)} equal draws, fewer than {ENOUGH}: the intervals and "
        "probabilities are rough."
    )
    return (case.finding("serious", "The posterior is poorly sampled", detail),)


def _about_model(case: _Case) -> tuple[Finding, ...]:
    model = case.model
    said = [
        ("parameters", {str(p.source) for p in model.parameters if p.status == "to verify"}),
        ("residual error", {str(r.source) for r in model.residual if r.status == "to verify"}),
        ("targets", {str(t.source) for t in model.targets if t.status == "to verify"}),
        ("toxic bounds", {str(t.source) for t in model.toxicity if t.status == "to verify"}),
    ]
    open_facts = [f"{what} ({', '.join(sorted(sources))})" for what, sources in said if sources]
    if not open_facts:
        return ()
    detail = (
        f"Not verified in {model.id}: {'; '.join(open_facts)}. Reading the named source and setting the status in the "
        "model file would verify it; until then judge every regimen yourself."
    )
    return (case.finding("serious", "The regimens rest on unverified facts", detail),)


def _ranked(case: _Case, rank: int, row: Judged, goal: Goal | None, toxic: Goal | None) -> RankedRegimen:
    level = case.settings.interval_level
    return RankedRegimen(
        rank=rank,
        text=row.offer.text,
        target_attainment=None
        if goal is None or row.hits is None
        else share_estimate(row.hits, level=level, because=case.because),
        toxic_probability=None
        if toxic is None or row.toxic is None
        else share_estimate(row.toxic, level=level, because=case.because),
        exposure=_exposure(case, row, goal),
    )


def _exposure(case: _Case, row: Judged, goal: Goal | None) -> dict[str, Estimate]:
    unit = case.model.concentration_unit
    told = {
        "auc24": case.estimate(row.curve.auc24, area_unit(case.model)),
        "trough": case.estimate(row.curve.trough, unit),
        "peak": case.estimate(row.curve.peak, unit),
    }
    if goal is not None and goal.metric not in told:
        told[goal.metric] = case.estimate(row.curve.value(goal), goal.unit)
    return told


def _bound(
    case: _Case,
    candidates: Sequence[Judged],
    best: Sequence[Judged],
    goal: Goal | None,
    habit: Habit,
) -> tuple[BindingConstraint | None, Judged | None, tuple[Finding, ...]]:
    if best:
        return None, None, ()
    if goal is None or not candidates:
        what = "no regimen that can be given is on file"
        return BindingConstraint(what=what, nearest_regimen=None), None, ()
    what, nearest = binding(candidates, goal, case.settings, habit=habit)
    detail = (
        f"Nothing is ranked: {what}. The nearest regimen, {nearest.offer.text}, brings "
        f"{100 * nearest.attainment:.0f} % of possible patients to the target, "
        f"{100 * nearest.toxicity:.0f} % above the toxic bound."
    )
    finding = case.finding("serious", "No regimen qualifies", detail)
    return BindingConstraint(what=what, nearest_regimen=nearest.offer.text), nearest, (finding,)


def _next_sample(case: _Case, row: Judged, goal: Goal | None, habit: Habit) -> NextSample | None:
    """Time in the interval after the next dose whose level makes the measure surest.

    The variance of the measure falls by cov(measure, level)^2 / (var(level) + error), in the regression of one on the
    other over the possible patients.
    """
    if not case.model.random or not case.model.residual:
        return None
    shape, doses = row.offer.shape, case.history.doses
    start = doses[-1].time + habit.interval if doses else 0.0
    rate = row.offer.dose / shape.infusion if shape.infusion else 0.0
    covariates = carried(case.model, case.told.values)
    next_dose = Record(start, evid=DOSE, amt=row.offer.dose, rate=rate, cmt=shape.cmt, mdv=1, covariates=covariates)
    first = shape.infusion + min(0.5, shape.interval / 10)
    times = start + np.linspace(first, shape.interval, _SAMPLE_TIMES)
    n = len(row.curve.auc24)
    parameters = {name: values[:n] for name, values in case.people.parameters.items()}
    error = error_model(case.model.residual[:1], [case.model.residual[0].output] * len(times))
    levels = error.on_scale(np.maximum(levels_after(case.model, parameters, (*doses, next_dose), times), 1e-12))
    measure = row.curve.auc24 if goal is None else row.curve.value(goal)
    away, apart = measure - measure.mean(), levels - levels.mean(axis=0)
    spread = float((away**2).mean())
    if spread <= 0:
        return None
    noise = (apart**2).mean(axis=0) + error.variance(levels).mean(axis=0)
    shrink = (away @ apart / n) ** 2 / noise / spread
    best = int(np.argmax(shrink))
    name = "auc24" if goal is None else goal.metric
    text = f"the variance of {name} falls by about {100 * shrink[best]:.0f} %"
    because = case.ledger.add(
        "derived", f"a level at {rounded(times[best], 4):g} h, after {row.offer.text} at {start:g} h: {text}",
        because=case.because,
    )  # fmt: skip
    return NextSample(time=Quantity(value=rounded(float(times[best]), 4), unit="h", because=(because,)), reduces=text)
