"""Remarks beside the plans: whose genome it is, what is old, what else the guideline asks to look for."""

from __future__ import annotations

from collections.abc import Sequence

from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked
from posologist.core.values import DrugId
from posologist.knowledge.expression import GENE_QUERIES, expression
from posologist.recommend.candidates import applies
from posologist.recommend.case import Assessed, Case
from posologist.recommend.effects import Scale
from posologist.recommend.summary import BANNER, Call


def remarks_on(
    case: Case,
    patient: Patient,
    *,
    call: Call,
    why: tuple[Finding, ...],
    scale: Scale | None,
    plans: Sequence[Assessed],
) -> list[Finding]:
    """Every remark on a recommendation, in the order in which a reader needs them.

    `call` and `why` say whether treatment is called for; `plans` are those that passed the gate.
    """
    to_consider = work_up(case)
    if call == "no" and any(f.severity == "serious" for f in to_consider):
        why = tuple(f for f in why if f.severity != "information")  # "at target" beside an alarm would mislead
    return [
        *identity(case, patient),
        *doubtful_medicines(case),
        *contradictions(case),
        *undiagnosed(case),
        *why,
        *(borrowed_baseline(case, scale) if scale is not None and plans else ()),
        *to_consider,
        *favoured(case, frozenset(d for p in plans for d in p.proposal.drugs)),
    ]


def identity(case: Case, patient: Patient) -> tuple[Finding, ...]:
    """Whether the genome can be this patient's: its sex against the record's, its sample against the identifiers."""
    genome = case.genome
    if genome is None:
        return ()
    record = case.ledger.add(
        "patient", f"record of {patient.id}, sex {patient.sex or 'not recorded'}", source=str(patient.source)
    )
    sample = case.ledger.add("patient", f"genome of sample {genome.sample or 'without a name'}", source="genome")
    found = []
    if genome.sex_from_genome is not None and patient.sex is not None and genome.sex_from_genome != patient.sex:
        found.append(
            Finding(
                severity="serious",
                title="The genome may not be this patient's: its sex differs from the record's",
                detail="do not use the genetic findings before the sample's identity is settled",
                because=(record, sample),
            )
        )
    if genome.sample not in (patient.id, *patient.identifiers):
        named = f"Sample {genome.sample} is not an identifier of the patient"
        found.append(
            Finding(
                severity="information",
                title=named if genome.sample else "The genetic result names no sample",
                detail="confirm that the genome is this patient's",
                because=(record, sample),
            )
        )
    return tuple(found)


def undiagnosed(case: Case) -> tuple[Finding, ...]:
    """Says so when the record does not hold the condition that is to be treated."""
    situation = case.situation
    if not case.indication.condition_codes or any(c in situation.conditions for c in case.indication.condition_codes):
        return ()
    text = f"{case.indication.name}: none of its conditions is on the problem list"
    key = case.ledger.add("patient", text, source=f"record of patient {situation.patient_id}")
    return (
        Finding(
            severity="monitor",
            title=f"{case.indication.name} is not on the problem list",
            detail="a plan is offered only where a measured value calls for one; enter the diagnosis to ask for more",
            because=(key,),
        ),
    )


def unread_calls(case: Case) -> list[NotChecked]:
    """Reported genes that no rule on file reads, or whose report gives no phenotype: never silence."""
    if case.genome is None:
        return []

    def read_by_rules() -> tuple[frozenset[str], frozenset[str]]:
        queries = {q for s in case.knowledge.statements for q in expression(s.when).queries if q[0] in GENE_QUERIES}
        by_allele = {str(arguments[0]) for function, arguments in queries if function == "allele"}
        by_result = {str(arguments[0]) for function, arguments in queries if function != "allele"}
        return frozenset(by_allele | by_result), frozenset(by_allele - by_result)

    known, by_allele = case.knowledge.remember("genes read by rules", read_by_rules)
    found = []
    for gene, call in sorted(case.genome.genes.items()):
        told = call.diplotype or call.phenotype
        if not call.called or told is None:
            continue
        if gene not in known:
            why, need = "no rule on file reads this gene", "the laboratory's or a pharmacist's advice"
        elif call.phenotype is None and gene not in by_allele:
            why, need = "the report gives no phenotype that the rules know", "the phenotype from the laboratory"
        else:
            continue
        found.append(NotChecked(what=f"{gene} {told} was reported and is not used", why=why, would_need=need))
    return found


def doubtful_medicines(case: Case) -> tuple[Finding, ...]:
    """Present medicines that could not be identified, or that are ordered twice."""
    situation = case.situation
    found = []
    for text in situation.unresolved_medicines:
        key = case.ledger.add("patient", f"takes '{text}'", source=f"record of patient {situation.patient_id}")
        found.append(
            Finding(
                severity="serious",
                title=f"'{text}' could not be identified",
                detail="it may hold a drug of the same class as a plan's; identify it before anything is started",
                because=(key,),
            )
        )
    for drug, key in situation.doubled.items():
        found.append(
            Finding(
                severity="serious",
                title=f"{case.knowledge.drugs[drug].name} is ordered twice, in different doses or forms",
                detail="find out which order is taken; its amount and how to stop it rest on the newest",
                drugs=(drug,),
                because=(key,),
            )
        )
    return tuple(found)


def contradictions(case: Case) -> tuple[Finding, ...]:
    """Kidney values that cannot both be true."""
    known = case.situation.facts.get("kidney_values_contradict")
    if known is None:
        return ()
    return (
        Finding(
            severity="serious",
            title="The kidney values of the record contradict each other",
            detail="limits follow the lower value; repeat creatinine before dosing",
            because=(known.because,),
        ),
    )


def is_adult(case: Case) -> bool:
    """Whether the patient's age is known and within the guideline's."""
    age = case.situation.facts.get("age")
    return age is not None and isinstance(age.value, float) and age.value >= case.indication.min_age


def not_adult(case: Case) -> tuple[Finding, ...]:
    """Why nothing is recommended to a child, or to a patient whose age is not known."""
    known = case.situation.facts.get("age")
    rule = case.ledger.add(
        "setting",
        f"the guideline holds from {case.indication.min_age:g} years",
        source=f"indication {case.indication.id}",
    )
    if known is None:
        key = case.ledger.add(
            "patient", "no birth date in the record", source=f"record of patient {case.situation.patient_id}"
        )
        title = "The age is not known: no plan is offered"
    else:
        key = known.because
        title = "The guideline on file is for adults: no plan is offered"
    return (
        Finding(
            severity="serious",
            title=title,
            detail="doses for children are not on file; ask a specialist",
            because=(key, rule),
        ),
    )


def borrowed_baseline(case: Case, scale: Scale) -> tuple[Finding, ...]:
    """Says so when the absolute benefit does not rest on this patient's own risk."""
    if not scale.borrowed:
        return ()
    return (
        Finding(
            severity="monitor",
            title="The absolute benefit does not rest on this patient's own risk",
            detail=scale.borrowed,
            because=(scale.baseline_key,),
        ),
    )


def favoured(case: Case, offered: frozenset[DrugId]) -> tuple[Finding, ...]:
    """What the guideline favours for conditions of this patient, of what passed the checks."""
    found = []
    for statement in case.indication.preferences:
        if not any(offered & case.knowledge.members.get(name, frozenset()) for name in statement.about):
            continue
        if statement.action != "prefer" or statement.status == "to verify":
            continue
        match = case.patient.match(statement.when)
        if match.truth is True:
            leaf = case.knowledge_key(statement.text, source=statement.source, status=statement.status)
            found.append(
                Finding(
                    severity="information",
                    title=f"Favoured for this patient: {', '.join(statement.about)}",
                    detail=statement.text,
                    because=(*case.patient.because(match), leaf),
                )
            )
    return tuple(found)


def work_up(case: Case) -> tuple[Finding, ...]:
    """What the guideline asks to look for, and which of its definitions this patient meets."""
    found = []
    for rule in (*case.indication.definitions, *case.indication.work_up):
        if rule.when == "true" or not applies(case, rule.guideline):
            continue
        match = case.patient.match(rule.when)
        if match.truth is True:
            key = case.knowledge_key(f"{rule.guideline}: {rule.text}", source=rule.source, status=rule.status)
            found.append(
                Finding(
                    severity=rule.severity,
                    title=rule.title or f"{case.indication.name}: to consider",
                    detail=rule.text,
                    because=(*case.patient.because(match), key),
                )
            )
    return tuple(found)


def stale_facts(case: Case) -> list[NotChecked]:
    """Key values that are old or not in the record, with what that hinders."""
    found = []
    for name, label, prevents in BANNER:
        known = case.situation.facts.get(name)
        if not prevents or (known is not None and not known.stale):
            continue
        why = f"{label.lower()} is not in the record" if known is None else f"{label.lower()} dates from {known.at}"
        found.append(NotChecked(what=prevents, why=why, would_need=f"a new {label.lower()}"))
    return found
