"""Screening of an order that somebody else wrote: the same checks, without a plan of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from posologist.recommend.limits import limits_for
from posologist.recommend.pipeline import NO_INDICATION, case_of
from posologist.recommend.screen import (
    drug_hits,
    findings_of,
    interaction_hits,
    not_checked_of,
    unidentified,
)
from posologist.recommend.summary import summary_of
from posologist.records.names import name_index, read_phrase
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
) -> Screening:
    """Findings about one or more orders for this patient; what could not be checked is listed, never silent.

    Parameters
    ----------
    orders
        As a prescriber writes them: "warfarin 5 mg po q24h". A drug alone is screened without its dose.
    """
    case = case_of(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=settings)
    read = [_read(text, knowledge) for text in orders]
    ordered = tuple(dict.fromkeys(d for order in read for d in order.drugs))
    medicines = (*(d for d in case.present if d not in ordered), *ordered)
    hits: list[Hit] = []
    findings: list[Finding] = []
    for order in read:
        for drug in order.drugs:
            own = _own_hits(case, drug, order.regimen, medicines)
            hits.extend(own)
            findings.extend(_too_high(case, drug, order.regimen, own, medicines))
            findings.extend(_already_taken(case, drug))
    seen: set[frozenset[DrugId]] = set()
    for one in ordered:
        for two in medicines:
            pair = frozenset((one, two))
            if one != two and pair not in seen:
                seen.add(pair)
                hits.extend(interaction_hits(case, one, two, medicines))
    findings.extend(findings_of(case, hits))
    open_points = [*(n for o in read for n in o.not_checked), *unidentified(case), *not_checked_of(case, hits)]
    document = Screening(
        as_of=case.situation.as_of,
        patient=summary_of(case, patient),
        orders=tuple(orders),
        drugs=ordered,
        findings=tuple(sorted(dict.fromkeys(findings), key=lambda f: (SEVERITY_ORDER[f.severity], f.title))),
        not_checked=tuple(dict.fromkeys(open_points)),
        data_quality=patient.quality,
        evidence={},
        versions=Versions(posologist=VERSION, knowledge=knowledge.version),
    )
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def _read(text: str, knowledge: Knowledge) -> _Order:
    phrase = read_phrase(text, name_index(knowledge.names))
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


def _own_hits(case: Case, drug: DrugId, regimen: Regimen | None, medicines: tuple[DrugId, ...]) -> tuple[Hit, ...]:
    facts: dict[str, float | str] = {} if regimen is None else {"dose_per_day": regimen.per_day, "route": regimen.route}
    return drug_hits(case, case.knowledge.drugs[drug], case.subject(drug, medicines, plan_facts=facts))


def _too_high(
    case: Case, drug_id: DrugId, regimen: Regimen | None, hits: tuple[Hit, ...], medicines: tuple[DrugId, ...]
) -> list[Finding]:
    """Whether the ordered amount exceeds the highest maximum on file for this patient, whatever the indication."""
    drug = case.knowledge.drugs[drug_id]
    highest: float | None = None
    because: tuple[str, ...] = ()
    for indication in dict.fromkeys(rule.indication for rule in drug.doses):
        asked = case.for_indication(indication)
        outcome = limits_for(asked, drug, asked.subject(drug_id, medicines), hits)
        if outcome.limits is not None and outcome.limits.max is not None:
            unit = outcome.limits.unit
            if regimen is None or unit != f"{regimen.unit}/day":
                continue
            if highest is None or outcome.limits.max > highest:
                highest, because = outcome.limits.max, outcome.limits.reasons
    if regimen is None or highest is None or regimen.per_day <= highest * (1 + 1e-9):
        return []
    key = case.ledger.add(
        "derived",
        f"ordered {regimen.per_day:g} {regimen.unit} a day; highest maximum for this patient {highest:g}",
        because=[EvidenceKey(key) for key in because],
    )
    return [
        Finding(
            severity="serious",
            title=f"{drug.name}: the ordered dose is above the maximum for this patient",
            detail=f"ordered {regimen.per_day:g} {regimen.unit} a day; highest maximum for this patient {highest:g}",
            drugs=(drug_id,),
            because=(key,),
        )
    ]


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
