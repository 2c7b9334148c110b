"""What to measure after the plan starts, and when."""

from __future__ import annotations

from posologist.core.drug import MonitoringRule
from posologist.core.recommendation import Monitoring
from posologist.core.values import DrugId
from posologist.recommend.case import Assessed, Case


def monitoring_of(case: Case, plan: Assessed) -> tuple[Monitoring, ...]:
    """Monitoring that the indication and the started drugs ask for in this patient, each measure once."""
    found: dict[str, Monitoring] = {}
    for drug_id in plan.proposal.start:
        rules = (*case.indication.monitoring, *case.knowledge.drugs[drug_id].monitoring)
        for rule in rules:
            if _holds(case, rule, drug_id, plan):
                key = case.knowledge_key(f"{rule.what}: {rule.when}", source=rule.source, status=rule.status)
                entry = Monitoring(what=rule.what, when=rule.when, days=rule.days, because=(key,))
                known = found.get(rule.what)
                if known is None or (entry.days and (not known.days or entry.days < known.days)):
                    found[rule.what] = entry
    return tuple(found[what] for what in sorted(found, key=lambda w: (found[w].days or (10_000,), w)))


def _holds(case: Case, rule: MonitoringRule, drug: DrugId, plan: Assessed) -> bool:
    """Whether the rule's condition is true for the patient once the plan is taken."""
    subject = case.subject(DrugId(""), plan.proposal.drugs)
    return rule.condition == "true" or subject.match(rule.condition).truth is True
