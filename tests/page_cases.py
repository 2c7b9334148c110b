"""The founding recommendation bent into the cases that break a page: long names, many allergies, nothing to offer."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from posologist.core.recommendation import (
    BannerFact,
    CurrentTreatment,
    Finding,
    NotChecked,
    Reason,
    Recommendation,
)
from posologist.core.values import EvidenceKey
from posologist.serve.demo import founding_recommendation
from posologist.serve.page.dose_view import DoseAsked, dose_view
from posologist.serve.page.html import answer_html
from posologist.serve.page.views import Visitor, answer_view, focused

VISITOR = Visitor(name="Dr Anna Weber", role="prescriber", csrf="token")
TODAY = date(2026, 11, 20)
SCRIPT = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' {{ 7 * 7 }}"
_ALLERGENS = (
    "penicillin (anaphylaxis)", "sulfamethoxazole (Stevens-Johnson syndrome)", "iodinated contrast (urticaria)",
    "codeine (bronchospasm)", "latex (contact dermatitis)", "ibuprofen (angioedema)", "ciprofloxacin (tendon rupture)",
    "nickel (rash)", "egg (vomiting)", "allopurinol (fever, eosinophilia and rash over the whole trunk)",
)  # fmt: skip


@lru_cache(maxsize=1)
def founding() -> Recommendation:
    """The founding case's recommendation."""
    return founding_recommendation()


def shown(document: Recommendation, rank: int | None = None) -> str:
    """The page of a recommendation, at the plan's own dose."""
    option = focused(document, rank)
    dose = None if option is None else dose_view(option, DoseAsked(), known=None)
    view = answer_view(document, answer_id="a" * 64, rank=rank, dose=dose, today=TODAY)
    return answer_html(view, visitor=VISITOR, once="once", measurable={"observation sbp": "Systolic pressure"})


def a_key() -> EvidenceKey:
    """Some key of the founding evidence."""
    return EvidenceKey(next(iter(founding().evidence)))


def long_names() -> Recommendation:
    """Names of people, drugs and problems that are longer than any column."""
    r, key = founding(), a_key()
    name = (
        "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh, Maximiliana Alexandra Josephine Sørine Łucja Đorđević"
    )
    problems = [Reason(text=f"chronic obstructive pulmonary disease, stage {n}", because=(key,)) for n in "ABCDEFGH"]
    taken = [
        CurrentTreatment(drug=drug, regimen=drug, action="keep", how="goes on", because=(key,))  # type: ignore[arg-type]
        for drug in ("hydrochlorothiazide", "sacubitril and valsartan", "empagliflozin and linagliptin", "apixaban")
    ]
    patient = r.patient.model_copy(
        update={"name": name, "id": "1.2.276.0.76.4.8-0000-4711-" * 3, "conditions": problems}
    )
    plan = r.options[0].plan.model_copy(update={"text": r.options[0].plan.text + "; " + r.options[1].plan.text})
    options = (r.options[0].model_copy(update={"plan": plan}), *r.options[1:])
    return r.model_copy(update={"patient": patient, "current": tuple(taken), "options": options})


def ten_allergies() -> Recommendation:
    """Ten allergies with reactions, an old result and a missing one."""
    r, key = founding(), a_key()
    allergies = tuple(Reason(text=text, because=(key,)) for text in _ALLERGENS)
    old = {"stale": True, "at": date(2024, 3, 1), "prevents": "start of an ACE inhibitor or ARB"}
    facts = [f.model_copy(update=old) if f.name == "potassium" else f for f in r.patient.facts]
    facts.append(
        BannerFact(name="hba1c", label="HbA1c", text="missing", prevents="target for diabetes", because=(key,))
    )
    patient = r.patient.model_copy(
        update={"allergies": allergies, "allergies_state": "recorded", "facts": tuple(facts)}
    )
    return r.model_copy(update={"patient": patient})


def no_genome() -> Recommendation:
    """Nothing was tested."""
    return founding().model_copy(update={"profile": {}})


def nothing_recommended() -> Recommendation:
    """No plan; the findings say why."""
    return founding().model_copy(update={"options": ()})


def nothing_checked() -> Recommendation:
    """Nothing could be checked: no genome, no result, forty open questions, allergies not known."""
    r, key = founding(), a_key()
    open_questions = tuple(
        NotChecked(what=f"interaction {n} of herbal capsules", why="they could not be identified", would_need="a name")
        for n in range(40)
    )
    facts = tuple(
        f.model_copy(update={"value": None, "text": "missing", "prevents": f"{f.label} rules"}) for f in r.patient.facts
    )
    patient = r.patient.model_copy(update={"facts": facts, "allergies_state": "not known", "conditions": ()})
    finding = Finding(
        severity="serious", title="Nothing could be checked", detail="The record is empty.", because=(key,)
    )
    return r.model_copy(
        update={
            "patient": patient, "profile": {}, "not_checked": open_questions, "options": (), "findings": (finding,),
            "current": (), "yardstick": None,
        }
    )  # fmt: skip


def script_in_names() -> Recommendation:
    """Script in every text that a record or a file can hold."""
    r = founding()
    patient = r.patient.model_copy(
        update={"name": SCRIPT, "id": SCRIPT, "sex": SCRIPT, "allergies": (Reason(text=SCRIPT, because=(a_key(),)),)}
    )
    evidence = {k: e.model_copy(update={"text": SCRIPT, "source": SCRIPT}) for k, e in r.evidence.items()}
    first = r.options[0]
    start = first.plan.start[0].model_copy(update={"drug": SCRIPT})
    plan = first.plan.model_copy(update={"text": SCRIPT, "start": (start,)})
    findings = tuple(f.model_copy(update={"title": SCRIPT, "detail": SCRIPT}) for f in r.findings)
    open_questions = tuple(n.model_copy(update={"what": SCRIPT, "why": SCRIPT}) for n in r.not_checked)
    return r.model_copy(
        update={
            "patient": patient, "evidence": evidence, "findings": findings, "not_checked": open_questions,
            "options": (first.model_copy(update={"plan": plan}), *r.options[1:]),
        }
    )  # fmt: skip


def untested_gene() -> Recommendation:
    """CYP2D6 without a result, which metoprolol is checked by."""
    r = founding()
    gene = next(g for g in r.profile.values() if g.evidence_state == "not called")
    asked = NotChecked(
        what="metoprolol in a poor metaboliser", why="not known: CYP2D6 genotype", would_need="CYP2D6 genotype",
        drugs=("metoprolol",),
    )  # fmt: skip
    return r.model_copy(update={"profile": {**r.profile, "CYP2D6": gene}, "not_checked": (asked, *r.not_checked)})


CASES = {
    "untested-gene": untested_gene,
    "founding": founding, "long-names": long_names, "ten-allergies": ten_allergies, "no-genome": no_genome,
    "nothing-recommended": nothing_recommended, "nothing-checked": nothing_checked, "script": script_in_names,
}  # fmt: skip
