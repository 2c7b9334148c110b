"""Screening of an order that somebody else wrote: the same checks, without a plan of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posologist.core.dosing import ComputedDose
from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked, Screening, cited_keys
from posologist.core.regimen import Regimen
from posologist.core.settings import Settings
from posologist.core.statement import SEVERITY_ORDER
from posologist.core.values import DrugId, EvidenceKey
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case, Hit
from posologist.recommend.computed import off_computed
from posologist.recommend.learned import Models, opinions_on_drugs
from posologist.recommend.limits import LimitOutcome, amount_in, limits_for
from posologist.recommend.opened import NO_INDICATION, Opener, case_of
from posologist.recommend.remarks import contradictions, doubtful_medicines, identity, unread_calls
from posologist.recommend.screen import (
    drug_hits,
    findings_of,
    interaction_hits,
    not_checked_of,
    unidentified,
)
from posologist.recommend.summary import summary_of
from posologist.records.medication import index_of
from posologist.records.names import read_phrase
from posologist.twin.orders import parse_regimen


@dataclass(frozen=True)
class _Order:
    """An order as read: its drugs, its regimen where it says one, and what of it was not understood."""

    text: str
    drugs: tuple[DrugId, ...]
    regimen: Regimen | None
    not_checked: tuple[NotChecked, ...]


def screen_order(
    patient: Patient,
    orders: Sequence[str],
    *,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
    models: Models | None = None,
    opened: Opener = case_of,
) -> Screening:
    """Findings about one or more orders for this patient; what could not be checked is listed, never silent.

    Parameters
    ----------
    orders
        As a prescriber writes them: "warfarin 5 mg po q24h". A drug alone is screened without its dose.
    models
        Served models by their task, told beside published scores among the opinions; None: those of the knowledge.
    opened
        Opens the case; a server gives one that remembers.
    """
    case = opened(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=settings)
    read = [_read(text, knowledge) for text in orders]
    ordered = tuple(dict.fromkeys(d for order in read for d in order.drugs))
    medicines = (*(d for d in case.present if d not in ordered), *ordered)
    hits: list[Hit] = []
    findings: list[Finding] = []
    for order in read:
        for drug in order.drugs:
            own = _own_hits(case, drug, order.regimen, medicines)
            hits.extend(own)
            if order.regimen is not None:
                outcomes = _outcomes(case, drug, own, medicines)
                findings.extend(_too_high(case, drug, order.regimen, outcomes))
                findings.extend(_off_genes(case, drug, order.regimen, outcomes))
            findings.extend(_already_taken(case, drug))
            findings.extend(_boxed_warnings(case, drug))
    facts = {d: _facts_of(o.regimen) for o in read for d in o.drugs}
    seen: set[frozenset[DrugId]] = set()
    for one in ordered:
        for two in medicines:
            pair = frozenset((one, two))
            if one != two and pair not in seen:
                seen.add(pair)
                hits.extend(interaction_hits(case, one, two, medicines, facts=facts))
    findings.extend(
        (*findings_of(case, hits), *identity(case, patient), *doubtful_medicines(case), *contradictions(case))
    )
    open_points = [
        *(n for o in read for n in o.not_checked),
        *(_names_only(case, d) for d in ordered if case.knowledge.drugs[d].depth == "screening"),
        *unidentified(case),
        *unread_calls(case),
        *not_checked_of(case, hits),
    ]
    document = Screening(
        as_of=case.situation.as_of,
        patient=summary_of(case, patient),
        orders=tuple(orders),
        drugs=ordered,
        findings=tuple(sorted(dict.fromkeys(findings), key=lambda f: (SEVERITY_ORDER[f.severity], f.title))),
        not_checked=tuple(dict.fromkeys(open_points)),
        opinions=opinions_on_drugs(case, ordered, models, races=patient.race),
        data_quality=patient.quality,
        evidence={},
        versions=Versions(posologist=VERSION, knowledge=knowledge.version),
    )
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def _read(text: str, knowledge: Knowledge) -> _Order:
    phrase = read_phrase(text, index_of(knowledge))
    open_points = []
    if phrase.unresolved or not phrase.drugs:
        what = phrase.unresolved or text
        open_points.append(
            NotChecked(
                what=f"'{what}' of the order '{text}': every check",
                why="no ingredient known to us was found in its name",
                would_need="the ingredient by its international name",
            )
        )
    for reading in phrase.corrected:
        open_points.append(
            NotChecked(
                what=f"the name of the order '{text}': {reading}",
                why="it was read by a table of names or with one letter corrected, not by a code",
                would_need="confirm that this is what was meant",
                drugs=tuple(phrase.drugs),
            )
        )
    regimen: Regimen | None = None
    if len(phrase.drugs) == 1:
        try:
            regimen = parse_regimen(text, drug=phrase.drugs[0])
        except InputError as error:
            open_points.append(
                NotChecked(
                    what=f"dose of the order '{text}'",
                    why=error.message,
                    would_need="dose, unit, route and interval",
                    drugs=tuple(phrase.drugs),
                )
            )
    return _Order(text, tuple(phrase.drugs), regimen, tuple(open_points))


def _facts_of(regimen: Regimen | None) -> dict[str, float | str]:
    """What an order says of its dose and route, by expression name."""
    return {} if regimen is None else {"dose_per_day": regimen.per_day, "route": regimen.route}


def _boxed_warnings(case: Case, drug_id: DrugId) -> list[Finding]:
    """Boxed warnings of an ordered drug, as information: they hold for everybody."""
    drug = case.knowledge.drugs[drug_id]
    if not drug.boxed_warnings:
        return []
    words = ", ".join(warning.replace("_", " ") for warning in drug.boxed_warnings)
    key = case.ledger.add("knowledge", f"boxed warning of {drug.name}: {words}", source=f"drug file {drug_id}")
    return [
        Finding(
            severity="information",
            title=f"{drug.name} carries a boxed warning: {words}",
            detail="read the label's warning before the first dose",
            drugs=(drug_id,),
            because=(key,),
        )
    ]


def _names_only(case: Case, drug_id: DrugId) -> NotChecked:
    """What is not on file for a drug that is known to screening only."""
    name = case.knowledge.drugs[drug_id].name
    return NotChecked(
        what=f"{name}: contraindications, pregnancy, kidney, liver, age and dose limits",
        why="only its name, classes and enzyme roles are on file; interactions, duplicates and allergies were checked",
        would_need=f"the label of {name}",
        drugs=(drug_id,),
    )


def _own_hits(case: Case, drug: DrugId, regimen: Regimen | None, medicines: tuple[DrugId, ...]) -> tuple[Hit, ...]:
    return drug_hits(case, case.knowledge.drugs[drug], case.subject(drug, medicines, plan_facts=_facts_of(regimen)))


def _outcomes(
    case: Case, drug_id: DrugId, hits: tuple[Hit, ...], medicines: tuple[DrugId, ...]
) -> tuple[LimitOutcome, ...]:
    """What the drug's dose may be in this patient, for every use on file."""
    drug = case.knowledge.drugs[drug_id]
    asked = [case.for_indication(indication) for indication in dict.fromkeys(rule.indication for rule in drug.doses)]
    return tuple(limits_for(one, drug, one.subject(drug_id, medicines), hits) for one in asked)


def _too_high(case: Case, drug_id: DrugId, regimen: Regimen, outcomes: Sequence[LimitOutcome]) -> list[Finding]:
    """Whether the order exceeds the maximum of every use on file for this patient, each in its own unit."""
    drug = case.knowledge.drugs[drug_id]
    exceeded: list[tuple[float, float, str, tuple[str, ...]]] = []
    for outcome in outcomes:
        limits = outcome.limits
        ordered = None if limits is None else amount_in(case, regimen, limits.unit)
        if limits is None or limits.max is None or ordered is None:
            continue
        if ordered <= limits.max * (1 + 1e-9):
            return []
        exceeded.append((limits.max, ordered, limits.unit, limits.reasons))
    if not exceeded:
        return []
    highest, ordered, unit, because = max(exceeded)
    text = f"ordered {ordered:g} {unit}; highest maximum for this patient {highest:g} {unit}"
    key = case.ledger.add("derived", text, because=[EvidenceKey(key) for key in because])
    return [
        Finding(
            severity="serious",
            title=f"{drug.name}: the ordered dose is above the maximum for this patient",
            detail=text,
            drugs=(drug_id,),
            because=(key,),
        )
    ]


def _off_genes(case: Case, drug_id: DrugId, regimen: Regimen, outcomes: Sequence[LimitOutcome]) -> list[Finding]:
    """Whether the order of a drug to start lies outside the dose computed from the patient's genes, in every use."""
    drug = case.knowledge.drugs[drug_id]
    if drug_id in case.present or case.knowledge.dosing_of(drug_id) is None:
        return []
    found: list[ComputedDose] = []
    ordered: dict[str, float] = {}
    for outcome in outcomes:
        computed = outcome.computed
        if computed is None or computed.low is None:
            continue
        amount = amount_in(case, regimen, computed.low.unit)
        found.append(computed)
        ordered |= {} if amount is None else {computed.low.unit: amount}
    return off_computed(case, drug, ordered, found)


def _already_taken(case: Case, drug: DrugId) -> list[Finding]:
    return [
        Finding(
            severity="serious",
            title=f"{case.knowledge.drugs[drug].name} is already among the present medicines",
            detail="a second order of the same ingredient",
            drugs=(drug,),
            because=(current.because,),
        )
        for current in case.situation.current
        if current.drug == drug
    ]
