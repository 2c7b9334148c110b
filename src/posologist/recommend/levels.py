"""What measured levels say of the medicines taken: each by its twin, as findings of a recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

from posologist.core.errors import InputError, PosologistError
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked
from posologist.core.simulation import DoseDocument, RankedRegimen
from posologist.core.values import DrugId, EvidenceKey
from posologist.recommend.case import Case
from posologist.recommend.dose_by_model import Given, dose_by_models, is_of
from posologist.records.table import EventRow, LevelRow
from posologist.twin.offers import HALF


def answered_levels(
    case: Case, patient: Patient, levels: Sequence[LevelRow], events: Sequence[EventRow]
) -> tuple[list[Finding], list[NotChecked]]:
    """A finding for each drug with levels, and the levels and administrations that nothing was made of, with why."""
    findings: list[Finding] = []
    unused: list[NotChecked] = []
    for drug in _measured(case, levels):
        own = tuple(row for row in levels if is_of(row.analyte, drug, case.knowledge))
        given = tuple(row for row in events if row.drug and is_of(row.drug, drug, case.knowledge))
        try:
            document = _dosed(case, patient, drug, own, given)
        except PosologistError as error:
            unused.append(_not_used(case, drug, len(own), error.message, error.hint or "a model of the drug"))
            continue
        case.ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
        findings += [_told(case, drug, document), *_of_levels(document)]
        unused += [row for row in document.not_checked if row.what.startswith(("rate of infusion", "ranking of"))]
    unused += _unreadable(case, levels)
    idle = [row for row in events if not row.drug or not _names_measured(case, row.drug, levels)]
    if idle:
        why = "no levels of their drug were given, or they do not say of which drug they are"
        need = "levels of the drug, and its name in the column drug"
        unused.append(NotChecked(what=f"administrations that were given ({len(idle)})", why=why, would_need=need))
    return findings, unused


def _measured(case: Case, levels: Sequence[LevelRow]) -> tuple[DrugId, ...]:
    """The drugs that levels are of, in the order of the alphabet."""
    found = set()
    for row in levels:
        try:
            found.add(case.knowledge.drug(row.analyte).id)
        except InputError:
            continue
    return tuple(sorted(found))


def _unreadable(case: Case, levels: Sequence[LevelRow]) -> list[NotChecked]:
    known = _measured(case, levels)
    strange = [row for row in levels if not any(is_of(row.analyte, drug, case.knowledge) for drug in known)]
    names = ", ".join(sorted({row.analyte for row in strange}))
    if not strange:
        return []
    why = f"no drug is known by this name: {names}"
    return [NotChecked(what=f"levels that were given ({len(strange)})", why=why, would_need="the drug's usual name")]


def _names_measured(case: Case, name: str, levels: Sequence[LevelRow]) -> bool:
    return any(is_of(name, drug, case.knowledge) for drug in _measured(case, levels))


def _dosed(
    case: Case, patient: Patient, drug: DrugId, levels: Sequence[LevelRow], events: Sequence[EventRow]
) -> DoseDocument:
    """The drug's dose document from these levels.

    Raises
    ------
    PosologistError
        Why there is none.
    """
    models = case.knowledge.models(drug)
    if not models:
        raise InputError("no complete population model of the drug is held", hint="a model of the drug")
    day = datetime.combine(case.situation.as_of, time.max, UTC)
    given = Given(now=day, events=tuple(events), levels=tuple(levels))
    return dose_by_models(
        patient, drug, models, given, genome=case.genome, knowledge=case.knowledge, settings=case.settings
    )


def _told(case: Case, drug: DrugId, document: DoseDocument) -> Finding:
    """The regimen in use and the one that would suit best, as the levels tell them."""
    name, now = case.knowledge.drugs[drug].name, document.present
    toxic = now is not None and now.toxic_probability is not None and (
        now.toxic_probability.value >= case.settings.max_toxic_probability
    )  # fmt: skip
    off = now is not None and now.target_attainment is not None and now.target_attainment.value < HALF
    verdict = "likely toxic" if toxic else "off target" if off else "see the estimate"
    said = [] if now is None else [f"Now {_words(now)}."]
    if document.regimens:
        said.append(f"Best for this patient: {_words(document.regimens[0])}.")
    elif document.binding_constraint is not None:
        said.append(f"No regimen is ranked: {document.binding_constraint.what}.")
    if document.next_sample is not None:
        hours = document.next_sample.time.value
        said.append(f"The next level tells most {hours:g} h after the first dose of the table.")
    detail = " ".join(said) or "Nothing was given that a regimen could be read from."
    because = [key for estimate in document.parameters.values() for key in estimate.because]
    key = case.ledger.add("derived", detail, because=dict.fromkeys(because))
    return Finding(
        severity="serious" if toxic else "monitor",
        title=f"Levels of {name}: {verdict}",
        detail=detail,
        drugs=(str(drug),),
        because=(key,),
    )


def _words(row: RankedRegimen) -> str:
    at = "" if row.target_attainment is None else f", at target {100 * row.target_attainment.value:.0f} %"
    toxic = "" if row.toxic_probability is None else f", toxic {100 * row.toxic_probability.value:.0f} %"
    return f"{row.text}{at}{toxic}"


def _of_levels(document: DoseDocument) -> list[Finding]:
    """What the dose document warns of that concerns the levels."""
    titles = ("A level does not fit", "The posterior is poorly sampled", "The regimens rest on unverified facts")
    changed = "changed during treatment"
    return [f for f in document.findings if f.title in titles or f.title.endswith(changed)]


def _not_used(case: Case, drug: DrugId, count: int, why: str, need: str) -> NotChecked:
    name = case.knowledge.drugs[drug].name
    return NotChecked(what=f"levels of {name} ({count})", why=why, would_need=need, drugs=(str(drug),))
