"""A dose for an INR: maintenance doses at steady state, the first days, and what measured INRs have taught."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.simulation import DoseDocument, Individual, LevelDocument
from posologist.core.situation import KnownFact
from posologist.core.units import ucum
from posologist.core.values import Because, DrugId, EvidenceKey, Quantity, Series, rounded
from posologist.core.version import VERSION
from posologist.knowledge.effects import EffectModel
from posologist.knowledge.models import PkModel
from posologist.recommend.response_case import Asked, goal_for, held_against, lowest_status, ranking, unranked
from posologist.records.table import EventRow, LevelRow
from posologist.twin.events import DOSE, Record
from posologist.twin.goals import Goal
from posologist.twin.level_fit import MISFIT
from posologist.twin.levels import levels_at
from posologist.twin.patient_model import History, Since, Told, covariates_of, history_of
from posologist.twin.posterior import ENOUGH
from posologist.twin.residual import error_model
from posologist.twin.response import INR_UNIT, Reached, inr_after, inr_people, joined, settled_inr
from posologist.twin.twin import People

MEASURE = "inr"
DAYS = 14  # of the expected course
_BASELINE = "inr_before"  # fact that the effect model asks for: the INR without warfarin
_UNITS = ("1", INR_UNIT)
_ENZYME = "CYP2C9"
_UNLIKE = (
    (
        "diet, alcohol, illness and missed doses",
        "the model knows age, CYP2C9, VKORC1 and the baseline INR only",
        "INR measurements: more often when something of this changes",
    ),
    (
        "effect of other medicines on the dose for the INR",
        "the model holds none; the interactions that are on file stand among the findings",
        "INR measurements after every start and stop of a medicine",
    ),
)


def inr_dose(
    asked: Asked,
    effect: EffectModel,
    kinetics: PkModel,
    *,
    events: Sequence[EventRow],
    levels: Sequence[LevelRow],
    is_drug: dict[str, bool],
    medicines: tuple[DrugId, ...],
    now: datetime,
) -> DoseDocument:
    """Maintenance doses by the probability of the target, for the possible patients that the INRs leave.

    Raises
    ------
    InputError
        If a gene or another covariate is not known, or an INR or a dose cannot be read.
    NumericsError
        If no estimate was found from the INRs.
    """
    if asked.aim.low is None or asked.aim.high is None:
        raise InputError(f"'{asked.aim.text}' has one bound", where="--target", hint='give both, e.g. "inr 2-3"')
    model = joined(kinetics, effect)
    given = [row for row in events if not row.drug or is_drug[row.drug]]
    after, before = _split(asked, levels, given, now)
    told, said = _told(asked, model, medicines, before, given)
    history = history_of(
        model, events, after, is_drug={**is_drug, **{row.analyte: True for row in after}},
        course=[Since(None, told.values)], subject=asked.case.situation.patient_id, now=now, ledger=asked.case.ledger,
    )  # fmt: skip
    people = inr_people(effect, model, history.table, told.values, asked.settings)
    keys = (asked.leaf(effect, lowest_status(effect)), asked.leaf(kinetics, lowest_status(kinetics)))
    rests = (*keys, *told.keys, *history.keys, *history.level_keys)
    because: Because = (asked.case.ledger.add("derived", f"{effect.id}: INR of this patient", because=rests),)
    rows, offers_said = _rows(asked, effect, model, people)
    acting, learned = _acting(asked, medicines), people.found is not None
    unknown = f"{'; '.join(acting)}: the model does not know it, and no INR under it was given" if acting else ""
    ranks = ranking(asked, rows, MEASURE, "1", because) if learned or not acting else unranked(unknown)
    measured, misfits = _levels(asked, effect, model, people, history, because)
    return DoseDocument(
        drug=DrugId(asked.drug.id), model=effect.id, patient=asked.case.situation.patient_id,
        parameters={
            "EC50": asked.estimate(people.parameters["EC50"], "mg/L", because),
            "KDE": asked.estimate(people.parameters["CL"] / people.parameters["V1"], "1/h", because),
        },
        individual=_individual(asked, model, people, because), target=asked.aim, regimens=ranks.regimens,
        binding_constraint=ranks.binding, levels=measured,
        course=_course(asked, effect, model, people, history, ranks.shown, because),
        findings=(
            *_high_now(asked, model, history), *_earlier(asked, given), *told.findings, *history.findings,
            *held_against(asked, effect, because),
            *_about_draws(asked, people, because), *_changed(asked, acting, learned, because), *misfits,
            *ranks.findings, *offers_said, *_watched(asked),
        ),
        not_checked=tuple(_open(asked, model)),
        assumptions=(*told.assumptions, *said, *history.assumptions, *_assumed(asked, effect, history, because)),
        evidence={}, versions=Versions(posologist=VERSION, knowledge=asked.case.knowledge.version),
    )  # fmt: skip


def _split(
    asked: Asked, levels: Sequence[LevelRow], given: Sequence[EventRow], now: datetime
) -> tuple[list[LevelRow], list[LevelRow]]:
    """INRs after the first dose, which teach, and those before it, of which the last is the baseline."""
    analyte = asked.case.knowledge.codes.analytes[MEASURE]
    low, high = analyte.low or 0.0, analyte.high or np.inf
    for row in levels:
        if row.analyte.strip().lower() != MEASURE:
            raise InputError(f"the level is of {row.analyte}", where=str(row.source), hint="give INR values only")
        if ucum(row.unit) not in _UNITS:
            raise InputError(f"an INR has no unit '{row.unit}'", where=str(row.source), hint="write 1 or ratio")
        if row.at > now:
            raise InputError(f"{row.at:%Y-%m-%d %H:%M} lies in the future", where=str(row.source), hint="check --as-of")
        if not low <= row.value <= high:
            raise InputError(
                f"an INR of {row.value:g} is not possible", where=str(row.source), hint=f"{low:g} to {high:g}"
            )
    first = min((row.at for row in given), default=None)
    plain = [row.model_copy(update={"unit": INR_UNIT}) for row in sorted(levels, key=lambda row: row.at)]
    after = [row for row in plain if first is not None and row.at > first]
    before = [row for row in plain if row not in after]
    for row in before:
        if asked.aim.low is not None and row.value >= asked.aim.low:
            raise InputError(
                f"an INR of {row.value:g} before the first dose is no baseline", where=str(row.source),
                hint="give the doses that came before it with --events",
            )  # fmt: skip
    return after, before


def _told(
    asked: Asked, model: PkModel, medicines: tuple[DrugId, ...], before: Sequence[LevelRow], given: Sequence[EventRow]
) -> tuple[Told, tuple[Reason, ...]]:
    """Covariates, with the baseline INR where one is known, and what is to be said of it."""
    case = asked.case
    situation, recorded = case.situation, case.situation.facts.get(MEASURE)
    fact, said = None, []
    taken = any(current.drug == asked.drug.id for current in situation.current)
    first = min((row.at.date() for row in given), default=None)
    if before:
        last = max(before, key=lambda row: row.at)
        key = case.ledger.add("patient", f"INR {last.value:g} at {last.at:%Y-%m-%d %H:%M}", source=str(last.source))
        fact = KnownFact(value=last.value, at=last.at.date(), because=key)
    elif recorded is not None and isinstance(recorded.value, float):
        untreated = recorded.at is not None and first is not None and recorded.at < first
        if (untreated or (not given and not taken and situation.medication_list_given)) and (
            asked.aim.low is None or recorded.value < asked.aim.low
        ):
            fact = recorded.model_copy(update={"unit": ""})
        else:
            text = f"The INR of {recorded.value:g} in the record may be one under {asked.drug.name}: it is not used."
            said.append(asked.assumed(text, (recorded.because,)))
    if fact is not None:
        said.append(asked.assumed(f"The INR before {asked.drug.name} is {fact.value:g}.", (fact.because,)))
        situation = situation.model_copy(update={"facts": {**situation.facts, _BASELINE: fact}})
    profile = case.profile(medicines)
    return covariates_of(model, situation, profile, molar_masses={}, ledger=case.ledger), tuple(said)


def _rows(
    asked: Asked, effect: EffectModel, model: PkModel, people: People
) -> tuple[list[Reached], tuple[Finding, ...]]:
    goal, harm = goal_for(asked, "1"), _harm(model)
    tried = asked.offered(model)
    rows = [
        Reached(
            offer,
            settled_inr(effect, people.parameters, offer.dose, offer.shape.interval),
            goal,
            harm,
            known=bool(model.random),
        )
        for offer in tried.offers
    ]
    rests = tuple(EvidenceKey(key) for key in asked.limits.reasons)
    return rows, tuple(asked.finding("monitor", "Not limited by a label", text, rests) for text in tried.warned)


def _harm(model: PkModel) -> Goal | None:
    bound = next((row for row in model.toxicity if row.metric == MEASURE), None)
    return None if bound is None else Goal("level", None, bound.high, unit="1")


def _individual(asked: Asked, model: PkModel, people: People, because: Because) -> Individual | None:
    found = people.found
    if found is None:
        return None
    etas = {
        effect.eta: asked.estimate(people.etas[:, n], "1", because, float(found.estimate.eta[n]))
        for n, effect in enumerate(model.random)
    }
    return Individual(
        eta=etas, converged=bool(found.estimate.converged), effective_sample_size=int(found.effective)
    )  # fmt: skip


def _levels(
    asked: Asked, effect: EffectModel, model: PkModel, people: People, history: History, because: Because
) -> tuple[tuple[LevelDocument, ...], tuple[Finding, ...]]:
    """Each INR with what the model expects, and those that do not fit."""
    if people.found is None:
        return (), ()
    records = [history.table.records[i] for i in levels_at(history.table)]
    times = np.array([record.time for record in records])
    values = inr_after(effect, model, people.parameters, history.doses, times)
    expected = np.asarray(people.found.estimate.predictions)
    measured = np.array([float(record.dv or 0.0) for record in records])
    error = error_model(model.residual, [MEASURE] * len(records))
    scaled = error.on_scale(expected)
    away = np.abs(error.on_scale(measured) - scaled) / np.sqrt(error.variance(scaled))
    rows, misfits = [], []
    for n, key in enumerate(history.level_keys):
        rows.append(
            LevelDocument(
                time=Quantity(value=rounded(times[n]), unit="h", because=(key,)),
                observed=Quantity(value=rounded(measured[n]), unit="1", because=(key,)),
                predicted=asked.estimate(values[:, n], "1", because, float(expected[n])),
            )
        )
        if away[n] > MISFIT:
            detail = (
                f"The INR of {measured[n]:g} at {times[n]:g} h lies {away[n]:.1f} standard deviations from the model's "
                f"{expected[n]:.2g}: check the doses taken, the time and the assay, and what else changed."
            )
            misfits.append(asked.finding("serious", "An INR does not fit", detail, (key, *because)))
    return tuple(rows), tuple(misfits)


def _course(
    asked: Asked,
    effect: EffectModel,
    model: PkModel,
    people: People,
    history: History,
    shown: Reached | None,
    because: Because,
) -> dict[str, Series]:
    """Expected INR just before each dose of the first days of a regimen, after what has been given."""
    if shown is None:
        return {}
    interval, past = shown.offer.shape.interval, history.doses
    start = past[-1].time + _last_gap(past, interval) if past else 0.0
    hours = np.arange(0.0, 24.0 * DAYS + 1e-9, 24.0)
    coming = [
        Record(start + k * interval, evid=DOSE, amt=shown.offer.dose, mdv=1)
        for k in range(int(np.ceil(24.0 * DAYS / interval)))
    ]
    values = inr_after(effect, model, people.parameters, (*past, *coming), start + hours)
    tail = (1.0 - asked.settings.interval_level) / 2.0
    low, middle, high = (
        tuple(rounded(float(v), 4) for v in line) for line in np.quantile(values, (tail, 0.5, 1.0 - tail), axis=0)
    )
    days = tuple(float(h) / 24.0 for h in hours)
    level = asked.settings.interval_level
    return {MEASURE: Series(unit="1", because=because, x_unit="d", x=days, y=middle, low=low, high=high, level=level)}


def _last_gap(past: Sequence[Record], interval: float) -> float:
    gaps = [b.time - a.time for a, b in pairwise(past) if b.time > a.time]
    return gaps[-1] if gaps else interval


def _high_now(asked: Asked, model: PkModel, history: History) -> tuple[Finding, ...]:
    """A last INR beyond the bound of harm: the answer is no advice for today."""
    harm = _harm(model)
    at = levels_at(history.table)
    value = (history.table.records[at[-1]].dv or 0.0) if at else 0.0
    if harm is None or harm.high is None or value <= harm.high:
        return ()
    detail = (
        f"The last INR is {value:g}, above {harm.high:g}. The regimens are maintenance doses and do not say what must "
        "be done today (leave out doses, vitamin K): act on the INR first."
    )
    return (asked.finding("serious", "The INR is too high now", detail, (history.level_keys[-1],)),)


def _earlier(asked: Asked, given: Sequence[EventRow]) -> tuple[Finding, ...]:
    """Doses that the record tells of before the first one that was given as a row."""
    first = min((row.at.date() for row in given), default=None)
    since = [c for c in asked.case.situation.current if c.drug == asked.drug.id and c.since is not None]
    found = []
    for current in since:
        if first is not None and current.since is not None and current.since < first:
            detail = (
                f"The record has {current.text} since {current.since}; the doses given begin on {first}. The INR is "
                "computed as if none had been taken before: give the earlier doses with --events."
            )
            found.append(asked.finding("serious", "Earlier doses are not known", detail, (current.because,)))
    return tuple(found)


def _watched(asked: Asked) -> tuple[Finding, ...]:
    """When the drug's file asks for an INR."""
    found = []
    for rule in asked.drug.monitoring:
        if rule.what.lower() == MEASURE:
            key = asked.case.knowledge_key(f"{rule.what}: {rule.when}", source=str(rule.source), status=rule.status)
            found.append(asked.finding("monitor", f"Measure the {rule.what}", f"{rule.when.capitalize()}.", (key,)))
    return tuple(found)


def _about_draws(asked: Asked, people: People, because: Because) -> tuple[Finding, ...]:
    found = people.found
    if found is None:
        detail = (
            "No INR after a dose was given: the answer is that of the studied population with this patient's age and "
            "genes. An INR with the doses before it (--levels, --events) makes it individual."
        )
        return (asked.finding("information", "Population answer", detail, because),)
    if found.effective >= ENOUGH:
        return ()
    detail = (
        f"The posterior is worth {int(found.effective)} equal draws, fewer than {ENOUGH}: the intervals and "
        "probabilities are rough."
    )
    return (asked.finding("serious", "The posterior is poorly sampled", detail, because),)


def _acting(asked: Asked, medicines: tuple[DrugId, ...]) -> tuple[str, ...]:
    """Other medicines that change the enzyme whose alleles the model counts, in words."""
    drugs = asked.case.knowledge.drugs
    return tuple(
        f"{drug}, {role.role} of {role.enzyme}"
        for drug in medicines
        if drug in drugs and drug != asked.drug.id
        for role in drugs[drug].roles
        if role.enzyme == _ENZYME and role.role != "substrate"
    )


def _changed(asked: Asked, acting: tuple[str, ...], learned: bool, because: Because) -> tuple[Finding, ...]:
    if not acting:
        return ()
    rest = (
        "The INRs that were given show its effect only as far as they were measured under it."
        if learned
        else "Without an INR under it no regimen is ranked."
    )
    detail = f"Taken alongside: {'; '.join(acting)}. The model counts alleles only. {rest}"
    return (asked.finding("serious", f"{_ENZYME} is changed by a medicine", detail, because),)


def _open(asked: Asked, model: PkModel) -> list[NotChecked]:
    found = [asked.open(*row) for row in _UNLIKE]
    if _harm(model) is None:
        found.append(asked.open("probability of harm", f"{model.id} has no bound of the INR", "a bound in its file"))
    return found


def _assumed(asked: Asked, effect: EffectModel, history: History, because: Because) -> tuple[Reason, ...]:
    told = [
        "The INR of a regimen is the one that it settles at while dose, diet and other medicines stay the same.",
        "A regimen is ranked when the middle possible patient comes to the target and the probability of harm stays "
        "below the setting; what brings most of them to the target comes first, of equals the smaller amount.",
        f"The expected course is that of {DAYS} days from the {'next' if history.doses else 'first'} dose of the "
        "regimen that is shown first, just before each dose. It is what the model expects of patients like this one, "
        "and no plan for when to measure; the measured INR decides.",
    ]  # fmt: skip
    if effect.variability:
        told.append(f"How patients differ: {effect.variability}.")
    return (*_harm_said(asked, effect), *(asked.assumed(text, because) for text in told))


def _harm_said(asked: Asked, effect: EffectModel) -> tuple[Reason, ...]:
    """From which INR on harm is counted, and who says so."""
    found = []
    for row in effect.toxicity:
        cited = next(citation for citation in effect.citations if citation.key == row.source)
        text = f"Harm is counted from an INR above {row.high:g} on: {row.note}."
        source = f"{cited.title} ({cited.where})"
        key = asked.case.ledger.add("knowledge", text, source=source, status=row.status)
        found.append(asked.assumed(text, (key,)))
    return tuple(found)
