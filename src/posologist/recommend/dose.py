"""One drug for one patient: regimens within this patient's limits, and curves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from posologist.core.drug import Drug
from posologist.core.errors import InputError, ModelError
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import NotChecked, cited_keys
from posologist.core.regimen import DoseEvent, Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, Level, SimulationDocument
from posologist.core.units import convert
from posologist.core.values import DrugId
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject
from posologist.recommend.case import Case, Hit
from posologist.recommend.computed import dose_words
from posologist.recommend.limits import LimitOutcome, limits_for
from posologist.recommend.opened import NO_INDICATION, case_of
from posologist.recommend.screen import drug_hits, findings_of, interaction_hits, not_checked_of
from posologist.twin.documents import dose_document, simulate_document
from posologist.twin.orders import parse_regimen

_TARGET = re.compile(
    r"^\s*(?P<measure>[a-z0-9_./%>]+)\s*(?P<low>[\d.]+)?\s*(?:-|to|<=?)\s*(?P<high>[\d.]+)?"
    r"(?:(?<=[\d.])\s+(?P<one>1)|\s*(?P<unit>[^\s\d.]\S*))?\s*$",
    re.I,
)
_WITHOUT_UNIT = frozenset({"inr"})


class Timed(Protocol):
    """A row of a levels or events table."""

    @property
    def at(self) -> object: ...


def dose_for(
    patient: Patient,
    drug_name: str,
    *,
    indication: str | None = None,
    target: str | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
    levels: Sequence[Level] = (),
) -> DoseDocument:
    """Regimens of one drug for this patient within the limits of its label, kidney, liver, age, genes and medicines.

    Parameters
    ----------
    indication
        Whose dose limits apply; the first indication of the drug's file if absent.
    target
        e.g. "auc24 400-600 h.mg/L"; see `parse_target`.

    Raises
    ------
    ModelError
        If no complete dose of the drug is on file for the indication, or a contraindication holds.
    """
    drug = knowledge.drug(drug_name)
    case, medicines, subject, hits = screened(
        patient, drug, indication=indication, genome=genome, knowledge=knowledge, settings=settings
    )
    outcome = limits_for(case, drug, subject, hits)
    limits: Limits | None = outcome.limits
    versions = Versions(posologist=VERSION, knowledge=knowledge.version)
    if limits is None and outcome.computed is None:
        raise ModelError(outcome.problem, where=drug.id, hint="name another indication with --for")
    if limits is None and outcome.computed is not None and not outcome.computed.told:
        needs = f"; from genes: {dose_words(outcome.computed)}"
        raise ModelError(f"{outcome.problem}{needs}", where=drug.id, hint="name another indication with --for")
    if limits is None:
        document = _computed_alone(case, drug.id, outcome, versions)
    else:
        document = dose_document(
            drug,
            case.situation,
            case.profile(medicines),
            limits=limits,
            settings=settings,
            ledger=case.ledger,
            versions=versions,
            target=None if target is None else parse_target(target),
            alongside=[knowledge.drugs[d] for d in medicines if d != drug.id],
            levels=levels,
        ).model_copy(update={"computed": outcome.computed})
    document = document.model_copy(
        update={
            "findings": (*document.findings, *findings_of(case, hits)),
            "not_checked": (*document.not_checked, *not_checked_of(case, hits), *outcome.not_checked),
        }
    )
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def screened(
    patient: Patient,
    drug: Drug,
    *,
    indication: str | None,
    genome: GeneticProfile | None,
    knowledge: Knowledge,
    settings: Settings,
) -> tuple[Case, tuple[DrugId, ...], PatientSubject, tuple[Hit, ...]]:
    """The case for one drug with what screening says of it: case, all medicines, subject, statements that hold.

    Raises
    ------
    ModelError
        If a contraindication holds.
    """
    case = case_of(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=settings)
    case = case.for_indication(_indication_of(drug.doses, indication, knowledge))
    medicines = (*(d for d in case.present if d != drug.id), drug.id)
    subject = case.subject(drug.id, medicines)
    pairs = (h for d in medicines if d != drug.id for h in interaction_hits(case, drug.id, d, medicines))
    hits = (*drug_hits(case, drug, subject), *pairs)
    forbidden = [h for h in hits if h.truth is True and h.statement.action == "contraindicated"]
    if forbidden:
        raise ModelError(
            f"{drug.name} is contraindicated: {forbidden[0].statement.text}",
            where=drug.id,
            hint="screen the order for every finding",
        )
    return case, medicines, subject, hits


def _computed_alone(case: Case, drug: DrugId, outcome: LimitOutcome, versions: Versions) -> DoseDocument:
    """The document of a drug of which no regimen can be listed: its computed dose, and why there are no regimens."""
    missing = NotChecked(
        what=f"regimens of {case.knowledge.drugs[drug].name}",
        why=outcome.problem,
        would_need="a dose of this use on file",
        drugs=(drug,),
    )
    return DoseDocument(
        drug=drug, model="none", patient=case.situation.patient_id, parameters={}, computed=outcome.computed,
        regimens=(), not_checked=(missing,), evidence={}, versions=versions,
    )  # fmt: skip


def _indication_of(doses: Sequence[object], asked: str | None, knowledge: Knowledge) -> str:
    known = [str(getattr(rule, "indication", "")) for rule in doses]
    if asked is None:
        return known[0] if known else "none"
    if asked in known:
        return asked
    return knowledge.indication(asked).id


def parse_target(text: str) -> Target:
    """Target of a measure: "auc24 400-600 h.mg/L", "trough 10-20 mg/L", "inr 2-3", "systolic 120-130 mmHg".

    Raises
    ------
    InputError
        If the text is not a measure with one or two bounds and a unit.
    """
    match = _TARGET.match(text)
    if match is None or (match["low"] is None and match["high"] is None):
        raise InputError(f"'{text}' is not a target", where="--target", hint='write e.g. "auc24 400-600 h.mg/L"')
    measure, unit = match["measure"].lower(), match["unit"] or match["one"] or ""
    if not unit and measure not in _WITHOUT_UNIT:
        raise InputError(f"'{text}' has no unit", where="--target", hint='write e.g. "auc24 400-600 h.mg/L"')
    low, high = (None if match[name] is None else _bound(match[name], text) for name in ("low", "high"))
    if low is not None and high is not None and low >= high:
        raise InputError(f"'{text}': the lower bound is not below the upper", where="--target", hint="swap them")
    return Target(measure=measure, low=low, high=high, unit=unit or "1", text=text.strip())


def _bound(written: str, text: str) -> float:
    try:
        return float(written)
    except ValueError as error:
        raise InputError(f"'{text}': '{written}' is not a number", where="--target", hint="write e.g. 2.5") from error


def simulate_for(
    drug_name: str,
    *,
    regimen: str | None,
    events: Sequence[DoseEvent] = (),
    times: str = "0:72:1",
    patient: Patient | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
) -> SimulationDocument:
    """Curves of one drug under a regimen or given doses, for a patient or a typical adult."""
    drug = knowledge.drug(drug_name)
    parsed = None if regimen is None else parse_regimen(regimen, drug=drug.id)
    versions = Versions(posologist=VERSION, knowledge=knowledge.version)
    grid = parse_times(times)
    if patient is None:
        return simulate_document(
            drug, parsed, None, None, settings=settings, ledger=Ledger(), versions=versions, times=grid, events=events
        )
    case = case_of(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=settings)
    medicines: tuple[DrugId, ...] = (*(d for d in case.present if d != drug.id), drug.id)
    return simulate_document(
        drug,
        parsed,
        case.situation,
        case.profile(medicines),
        settings=settings,
        ledger=case.ledger,
        versions=versions,
        times=grid,
        events=events,
        alongside=[knowledge.drugs[d] for d in medicines if d != drug.id],
    )


def parse_times(text: str) -> tuple[float, ...]:
    """Times T0, T0 + STEP, ... up to T1 (h) of "T0:T1:STEP".

    Raises
    ------
    InputError
        If the text is not three numbers with T1 >= T0, STEP > 0 and at most 10,000 times.
    """
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise InputError(f"'{text}' is not T0:T1:STEP", where="--times", hint="write e.g. 0:72:1") from error
    if not (step > 0 and last >= first >= 0 and (last - first) / step <= 10_000):
        raise InputError(
            f"'{text}' is not a grid of times", where="--times", hint="0 <= T0 <= T1, at most 10,000 times"
        )
    return tuple(first + step * n for n in range(int((last - first) / step + 1e-9) + 1))


def doses_from(rows: Sequence[Timed], drug: DrugId) -> tuple[DoseEvent, ...]:
    """Administrations of a table as hours after the first one, in mg."""
    if not rows:
        return ()
    ordered = sorted(rows, key=lambda row: row.at)  # type: ignore[arg-type, return-value]
    origin = ordered[0].at
    return tuple(
        DoseEvent(
            time_h=(row.at - origin).total_seconds() / 3600.0,  # type: ignore[operator]
            amount_mg=convert(row.amount, row.unit, "mg"),  # type: ignore[attr-defined]
            route=row.route or "oral",  # type: ignore[attr-defined]
            duration_h=row.duration_h,  # type: ignore[attr-defined]
            drug=drug,
        )
        for row in ordered
    )
