"""Worked cases: each published question about a drug, asked of the same functions that `recommend` uses.

A case gives facts by their expression names; the answer is the start, the maximum, or a verdict of screening. The
expected value comes from the label, guideline or paper that the case cites.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from posologist.core.drug import Drug, WorkedCase
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneCall, GeneticProfile, Versions
from posologist.core.settings import Settings
from posologist.core.situation import CurrentDrug, KnownFact, Situation
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol, Value
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case, Proposal
from posologist.recommend.screen import screen

_DAY = date(2026, 1, 1)
_LISTS = ("dx", "on", "allergy", "gene")


class CaseResult(Value):
    """Outcome of one worked case: what was expected, what came out, and whether they agree."""

    drug: DrugId
    name: str
    measure: str
    expected: str
    found: str
    agrees: bool
    source: str
    status: str


def run_cases(knowledge: Knowledge, drugs: Iterable[Drug] | None = None) -> Iterator[CaseResult]:
    """Every worked case of the drugs (all by default), one result for each expected value."""
    for drug in knowledge.drugs.values() if drugs is None else drugs:
        for worked in drug.cases:
            yield from _run(knowledge, drug, worked)


def _run(knowledge: Knowledge, drug: Drug, worked: WorkedCase) -> Iterator[CaseResult]:
    case = _case(knowledge, drug, worked)
    taken = tuple(c.drug for c in case.situation.current)
    screened = screen(case, Proposal(stop=(), keep=tuple(d for d in taken if d != drug.id), start=(drug.id,)))
    limits = screened.limits.get(drug.id)
    held = [h.statement for h in screened.hits if h.truth is True]
    found: dict[str, Any] = {
        "start": None if limits is None else limits.start,
        "max": None if limits is None else limits.max,
        "contraindicated": any(s.action == "contraindicated" for s in held),
        "avoid": any(s.action in ("avoid", "contraindicated") for s in held),
        "alternative": any(s.action in ("alternative", "avoid", "contraindicated") for s in held),
        "monitor": any(s.action == "monitor" for s in held),
    }
    for measure, expected in worked.expect.items():
        value = found.get(measure)
        yield CaseResult(
            drug=drug.id,
            name=worked.name,
            measure=measure,
            expected=str(expected),
            found=str(value),
            agrees=_agrees(value, expected),
            source=worked.source,
            status=worked.status,
        )


def _agrees(found: Any, expected: Any) -> bool:
    if isinstance(expected, bool) or found is None:
        return found is expected
    return math.isclose(float(found), float(expected), rel_tol=1e-9)


def _case(knowledge: Knowledge, drug: Drug, worked: WorkedCase) -> Case:
    ledger = Ledger()
    key = ledger.add("patient", f"worked case of {drug.name}: {worked.name}", source=worked.source)
    indication_id = worked.indication or next((d.indication for d in drug.doses), "")
    indication = knowledge.indications.get(indication_id) or next(iter(knowledge.indications.values()))
    if indication.id != indication_id and indication_id:
        indication = indication.model_copy(update={"id": indication_id, "preferences": ()})
    return Case(
        situation=_situation(knowledge, worked.given, key),
        genome=_genome(worked.given.get("gene"), key, ledger),
        indication=indication,
        knowledge=knowledge,
        settings=Settings(as_of=_DAY),
        ledger=ledger,
    )


def _situation(knowledge: Knowledge, given: Mapping[str, Any], key: EvidenceKey) -> Situation:
    facts = {
        name: KnownFact(value=float(v) if isinstance(v, int) and not isinstance(v, bool) else v, because=key)
        for name, v in given.items()
        if name not in _LISTS
    }
    facts.setdefault("pregnant", KnownFact(value=False, because=key))
    facts.setdefault("breastfeeding", KnownFact(value=False, because=key))
    facts.setdefault("dialysis", KnownFact(value=False, because=key))
    conditions = {code: key for name in given.get("dx", []) for code in (name, *sorted(knowledge.codes.implied(name)))}
    return Situation(
        patient_id="worked case",
        as_of=_DAY,
        facts=facts,
        conditions=conditions,
        current=tuple(
            CurrentDrug(drug=drug, text=str(drug), because=key)
            for drug in sorted({_member(knowledge, name) for name in given.get("on", [])})
        ),
        allergies=dict.fromkeys(given.get("allergy", []), key),
        problem_list_given=True,
        medication_list_given=True,
        allergy_list_given=True,
    )


def _member(knowledge: Knowledge, name: str) -> DrugId:
    """The named drug, or the first member of a named group."""
    if name.lower() in knowledge.names or DrugId(name) in knowledge.drugs:
        return knowledge.drug(name).id
    return min(knowledge.members.get(name, frozenset()), default=None) or knowledge.drug(name).id


def _genome(phenotypes: Any, key: EvidenceKey, ledger: Ledger) -> GeneticProfile | None:
    if not phenotypes:
        return None
    return GeneticProfile(
        schema="posologist/phenotype/1",
        sample="worked case",
        build="GRCh38",
        genes={
            GeneSymbol(gene): GeneCall(
                called=True, diplotype=None, phenotype=phenotype, evidence_state="called", because=(key,)
            )
            for gene, phenotype in phenotypes.items()
        },
        evidence=ledger.entries(),
        versions=Versions(posologist=VERSION, knowledge=""),
    )
