"""Who the patient is, where the patient stands against the target, and what is wrong at present."""

from __future__ import annotations

from typing import Literal

from posologist.core.indication import Rule
from posologist.core.patient import Patient
from posologist.core.recommendation import (
    BannerFact,
    CurrentTreatment,
    Finding,
    GoalDocument,
    PatientSummary,
    Reason,
)
from posologist.core.statement import SEVERITY_ORDER
from posologist.core.values import EvidenceKey, Quantity
from posologist.knowledge.expression import Match
from posologist.recommend.candidates import applies, guideline_of
from posologist.recommend.case import Assessed, Case
from posologist.recommend.goals import is_met
from posologist.recommend.reasons import stop_of
from posologist.recommend.screen import findings_of, present_hits, spelled
from posologist.twin.kinetics import MissingKinetics

Call = Literal["yes", "no", "open"]
"""Whether treatment is called for: beyond doubt, not, or undecided for want of facts."""
NOTABLE_FOLD = 2.0  # change of exposure from which it is a finding
BANNER = (
    ("age", "Age", ""),
    ("weight", "Weight", "doses by weight"),
    ("egfr", "eGFR", "kidney limits of doses"),
    ("sbp", "Systolic pressure", "the stage and the target of blood pressure"),
    ("dbp", "Diastolic pressure", "the stage and the target of blood pressure"),
    ("heart_rate", "Heart rate", "safety of drugs that slow the heart"),
    ("potassium", "Potassium", "safety of drugs that change potassium"),
    ("sodium", "Sodium", "safety of drugs that lower sodium"),
)


def summary_of(case: Case, patient: Patient) -> PatientSummary:
    """The banner: who, key values with their dates, problems, allergies."""
    situation = case.situation
    record = f"record of patient {situation.patient_id}"
    facts = []
    for name, label, prevents in BANNER:
        known = situation.facts.get(name)
        if known is None or not isinstance(known.value, float):
            key = case.ledger.add("patient", f"{label.lower()} is not in the record", source=record)
            facts.append(
                BannerFact(name=name, label=label, text="not in the record", prevents=prevents, because=(key,))
            )
            continue
        value = Quantity(value=known.value, unit=known.unit, because=(known.because,))
        facts.append(
            BannerFact(
                name=name,
                label=label,
                value=value,
                at=known.at,
                stale=known.stale,
                prevents=prevents if known.stale else "",
                text=known.text,
                because=(known.because,),
            )
        )
    allergies = {k: v for k, v in situation.allergies.items() if ":" not in k}
    sex = situation.facts.get("sex")
    return PatientSummary(
        id=situation.patient_id,
        name=situation.name,
        sex=str(sex.value) if sex is not None else patient.gender,
        facts=tuple(facts),
        conditions=tuple(Reason(text=c.replace("_", " "), because=(k,)) for c, k in situation.conditions.items()),
        allergies=tuple(Reason(text=g, because=(k,)) for g, k in allergies.items()),
        allergies_state="recorded" if allergies else "none recorded" if situation.allergy_list_given else "not known",
    )


def indicated(case: Case, goals: tuple[GoalDocument, ...], treated: bool) -> tuple[Call, tuple[Finding, ...]]:
    """Whether drug treatment, or more of it, is called for, and the finding that says so.

    Treatment that meets the targets of the treated measures is not intensified; a patient below every threshold is
    not treated. What is not known speaks for neither: the options are then shown with the question open.
    """
    rules = [r for r in case.indication.treat if applies(case, r.guideline)]
    matches = [(rule, case.patient.match(rule.when)) for rule in rules]
    for rule, match in matches:
        if match.truth is True and _is_against(rule):
            key = case.knowledge_key(f"{rule.guideline}: {rule.text}", source=rule.source, status=rule.status)
            title = f"{rule.guideline} is against a drug for {case.indication.name} here"
            because = (*case.patient.because(match), key)
            return "no", (Finding(severity="serious", title=title, detail=rule.text, because=because),)
    if not _is_shown(case, matches):
        return "no", ()
    if treated:
        return _intensified(case, goals)
    matches = [(rule, match) for rule, match in matches if not _is_against(rule)]
    for rule, match in matches:
        if match.truth is True:
            key = case.knowledge_key(f"{rule.guideline}: {rule.text}", source=rule.source, status=rule.status)
            return "yes", (
                Finding(
                    severity="information",
                    title=f"{rule.guideline} on starting treatment",
                    detail=rule.text,
                    because=(*case.patient.because(match), key),
                ),
            )
    unknown = tuple(dict.fromkeys(name for _, m in matches if m.truth is None for name in m.missing))
    if any(match.truth is None for _, match in matches) or not rules:
        return _undecided(case, unknown)
    keys = tuple(dict.fromkeys(k for _, m in matches for k in case.patient.because(m)))
    rule_keys = tuple(case.knowledge_key(r.text, source=r.source, status=r.status) for r in rules)
    return "no", (
        Finding(
            severity="information",
            title=f"Below the thresholds at which {guideline_of(case)} starts a drug for {case.indication.name}",
            detail="no drug is recommended; recheck as the guideline says",
            because=(*keys, *rule_keys),
        ),
    )


def _is_shown(case: Case, matches: list[tuple[Rule, Match]]) -> bool:
    """Whether the record shows the condition: on its problem list, or by a measured value that calls for treatment."""
    situation = case.situation
    codes = case.indication.condition_codes
    if not situation.problem_list_given or not codes or any(code in situation.conditions for code in codes):
        return True
    measured = {t.measure for t in case.indication.targets} | {m.key for m in case.indication.measures}
    return any(match.truth is not False and measured & {*match.read} for _, match in matches)


def _is_against(rule: Rule) -> bool:
    """Whether a rule's class of recommendation is 3 (no benefit, or harm)."""
    return rule.cor.startswith(("3", "III"))


def _undecided(case: Case, missing: tuple[str, ...]) -> tuple[Call, tuple[Finding, ...]]:
    """Whether to treat could not be decided: without the treated measure itself nothing is offered."""
    measured = {t.measure: t.measure for t in case.indication.targets}
    measured |= {m.key: m.name for m in case.indication.measures}
    blind = tuple(dict.fromkeys(measured[name] for name in missing if name in measured))
    lacking = ", ".join(dict.fromkeys(measured.get(name, spelled(case, name)) for name in missing))
    record = case.ledger.add(
        "patient", f"not known: {lacking or 'nothing'}", source=f"record of patient {case.situation.patient_id}"
    )
    if blind:
        return "no", (
            Finding(
                severity="serious",
                title=f"{case.indication.name}: no plan without {', '.join(blind)}",
                detail="what is to be treated has not been measured, or is not in the record",
                because=(record,),
            ),
        )
    return "open", (
        Finding(
            severity="monitor",
            title=f"Whether a drug is needed for {case.indication.name} is not known",
            detail=f"the plans are shown in case it is; the thresholds need: {lacking or 'nothing more'}",
            because=(record,),
        ),
    )


def _intensified(case: Case, goals: tuple[GoalDocument, ...]) -> tuple[Call, tuple[Finding, ...]]:
    measures = {m.key for m in case.indication.measures}
    treated = [g for g in goals if g.measure in measures and g.high is not None]
    if treated and all(g.now is None for g in treated):
        return _undecided(case, tuple(g.measure for g in treated))
    if not treated or not all(is_met(g) for g in treated):
        return "yes", ()
    now = tuple(k for g in treated if g.now is not None for k in g.now.because)
    return "no", (
        Finding(
            severity="information",
            title=f"At target on the present treatment: {treated[0].text}",
            detail="no change is recommended; other plans are not ranked",
            because=(*now, *(k for g in treated for k in g.because)),
        ),
    )


def present_findings(case: Case) -> tuple[Finding, ...]:
    """What screening of the present medicines finds, the most severe first."""
    found = [*findings_of(case, present_hits(case)), *_exposures(case)]
    return tuple(sorted(found, key=lambda f: (SEVERITY_ORDER[f.severity], f.title)))


def _exposures(case: Case) -> list[Finding]:
    """Present medicines whose exposure genes or other medicines change at least two-fold."""
    found = []
    for drug_id in case.present:
        drug = case.knowledge.drugs[drug_id]
        prior = case.prior(drug.id, case.present, route="oral", release="immediate")
        if isinstance(prior, MissingKinetics) or 1 / NOTABLE_FOLD < prior.fold < NOTABLE_FOLD:
            continue
        text = f"exposure to {drug.name} against a typical patient: {prior.fold:.3g}-fold"
        key = case.ledger.add("derived", text, because=prior.because)
        found.append(
            Finding(
                severity="serious",
                title=f"{drug.name}: exposure about {prior.fold:.3g}-fold that of a typical patient",
                detail="genes or other medicines change how fast it is cleared; the usual dose acts like another dose",
                drugs=(drug_id,),
                because=(key,),
            )
        )
    return found


def current_of(case: Case, lead: Assessed | None) -> tuple[CurrentTreatment, ...]:
    """Each present medicine and what the leading plan does with it."""
    found = []
    for current in case.situation.current:
        action, how = "keep", "unchanged"
        because: tuple[EvidenceKey, ...] = (current.because,)
        if lead is not None and current.drug in lead.proposal.stop:
            stop = stop_of(case, current.drug, lead.proposal.start)
            action, how, because = stop.how, stop.text, (current.because, *stop.because)
        elif lead is not None and current.drug in lead.proposal.raises:
            regimen = next(r for r in lead.regimens if r.drug == current.drug)
            action, how = "change", f"to {regimen.text}"
        found.append(
            CurrentTreatment(drug=current.drug, regimen=current.text, action=action, how=how, because=because)  # type: ignore[arg-type]
        )
    return tuple(found)
