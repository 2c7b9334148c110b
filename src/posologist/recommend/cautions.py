"""What to mind with a plan: statements that hold, facts to settle first, and what the ranking does not weigh."""

from __future__ import annotations

from posologist.core.recommendation import Reason
from posologist.recommend.assess import open_contraindication
from posologist.recommend.candidates import candidate_rules
from posologist.recommend.case import Assessed, Case, Outcome
from posologist.recommend.effects import Dosed, Scale, dose_of, effect_rule, unweighted_harms
from posologist.recommend.goals import goals_of, is_met
from posologist.recommend.screen import RESTRICTIVE, leaf_of, spelled

BELOW = 0.999  # share of the lowest studied dose under which a dose counts as smaller


def cautions_of(case: Case, scale: Scale, plan: Assessed, outcome: Outcome) -> tuple[Reason, ...]:
    """Everything to mind before this plan is followed, the patient's own facts first."""
    return (
        *_statements(case, plan),
        *_open_questions(case, plan),
        *_unidentified(case),
        *_first_doses(case, plan),
        *_below_studied(case, plan),
        *_at_target(case, outcome),
        *_borrowed(scale),
        *_weightless(outcome),
        *_unweighted(case, scale, plan),
    )


def _statements(case: Case, plan: Assessed) -> tuple[Reason, ...]:
    """Statements that hold and ask for care; a pair's names both drugs."""
    asked = RESTRICTIVE | {"monitor", "increase"}
    found = []
    for hit in plan.screened.hits:
        statement = hit.statement
        if hit.truth is not True or statement.action not in asked or not set(hit.drugs) & set(plan.proposal.start):
            continue
        pair = " and ".join(case.knowledge.drugs[d].name for d in hit.drugs) + ": " if len(hit.drugs) > 1 else ""
        text = f"{statement.text.rstrip('.')}. {statement.management}" if statement.management else statement.text
        found.append(Reason(text=f"{pair}{text}", because=hit.because))
    return tuple(found)


def _open_questions(case: Case, plan: Assessed) -> tuple[Reason, ...]:
    """Contraindications that hang on a fact which could be known and is not: to be settled before the first dose."""
    return tuple(
        Reason(
            text=f"Settle first: {', '.join(spelled(case, name) for name in h.missing)}. {h.statement.text}",
            because=(leaf_of(case, h.statement),),
        )
        for h in plan.screened.hits
        if open_contraindication(h) and set(h.drugs) & set(plan.proposal.start)
    )


def _unidentified(case: Case) -> tuple[Reason, ...]:
    """Present medicines that are not known to us may hold a drug of the plan or of its class."""
    source = f"record of patient {case.situation.patient_id}"
    return tuple(
        Reason(
            text=f"Identify '{text}' first: it may hold a drug of the same class; it was not checked with this plan",
            because=(case.ledger.add("patient", f"takes '{text}'", source=source),),
        )
        for text in case.situation.unresolved_medicines
    )


def _first_doses(case: Case, plan: Assessed) -> tuple[Reason, ...]:
    """A label's larger first dose: the regimen shown is the dose after it."""
    found = []
    for regimen in plan.regimens:
        if regimen.drug in plan.proposal.raises:
            continue
        drug = case.knowledge.drugs[regimen.drug]
        for rule in drug.doses:
            loaded = rule.loading is not None and rule.indication == case.indication.id
            if loaded and case.patient.match(rule.when).truth is True:
                amount = f"{rule.loading:g} {rule.unit.partition('/')[0]}"
                text = f"{drug.name}: the label begins with one dose of {amount}; decide whether it is due here"
                key = case.knowledge_key(text, source=rule.source, status=rule.status)
                found.append(Reason(text=text, because=(key,)))
                break
    return tuple(found)


def _below_studied(case: Case, plan: Assessed) -> tuple[Reason, ...]:
    """A first dose below every dose whose effect is published: the effect that is shown is that of a larger one."""
    found = []
    measure = case.indication.measures[0].key
    for regimen in plan.regimens:
        rule = effect_rule(case, regimen.drug, measure, plan.proposal.drugs)
        if rule is None or rule.dose_basis == "none":
            continue
        dose, because = dose_of(case, rule.dose_basis, Dosed(regimen.drug, regimen.per_day))
        if dose < BELOW * min(point.dose for point in rule.points):
            name = case.knowledge.drugs[regimen.drug].name
            text = f"{name}: the effect of so small a dose is not published; that of a larger one is shown"
            leaf = case.knowledge_key(rule.text, source=rule.source, status=rule.status)
            found.append(Reason(text=text, because=(*because, leaf)))
    return tuple(found)


def _at_target(case: Case, outcome: Outcome) -> tuple[Reason, ...]:
    """A measure that is at its target already and that the plan lowers further: benefit there is not proven."""
    measures = {m.key: m for m in case.indication.measures}
    found = []
    for goal in goals_of(case):
        change = outcome.changes.get(goal.measure)
        if goal.measure not in measures or goal.now is None or not is_met(goal) or change is None or change.value >= 0:
            continue
        text = (
            f"The {measures[goal.measure].name} is at its target already ({goal.now.value:g} {goal.now.unit}) and "
            f"falls further, by about {-change.value:.2g}; the benefit counts that fall in full"
        )
        found.append(Reason(text=text, because=(*goal.now.because, *goal.because)))
    return tuple(found)


def _borrowed(scale: Scale) -> tuple[Reason, ...]:
    """Says on the plan that its absolute benefit is not computed from this patient's own risk."""
    return (Reason(text=scale.borrowed, because=(scale.baseline_key,)),) if scale.borrowed else ()


def _weightless(outcome: Outcome) -> tuple[Reason, ...]:
    """Says that a harm of nothing is a lack of published weights, not a harmless plan."""
    if outcome.risk.low != 0 or outcome.risk.high != 0:
        return ()
    text = "No harm of this plan carries a published weight: harm counts nothing in its utility, which is not harmless"
    return (Reason(text=text, because=outcome.risk_because),)


def _unweighted(case: Case, scale: Scale, plan: Assessed) -> tuple[Reason, ...]:
    """Known harms of the started drugs that count nothing in the ranking, said on the plan itself.

    Harms that every drug of the indication has in common tell nothing between plans; they are named once, for all.
    """
    found = []
    everyone = {d for d, rule in candidate_rules(case).items() if rule.line == 1}
    for drug_id in plan.proposal.start:
        for rule in unweighted_harms(scale, drug_id):
            if everyone <= {d for name in rule.about for d in case.knowledge.members.get(name, ())}:
                continue
            key = case.knowledge_key(rule.text, source=rule.source, status=rule.status)
            name = case.knowledge.drugs[drug_id].name
            text = f"{name}, {rule.event.replace('_', ' ')}: {rule.text} Not weighed in the ranking."
            found.append(Reason(text=text, because=(key,)))
    return tuple(found)
