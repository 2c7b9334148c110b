"""What must hold for every patient, tried on generated ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from pydantic import ValidationError

from cases import AS_OF, advice, best_rank, genome, knowledge, members, offered, record, settings, started
from patients import a_medicine, a_patient, an_allergy, as_bytes, bundle
from posologist.core.evidence import LEAF_KINDS
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Option, Recommendation, cited_keys
from posologist.core.settings import Settings
from posologist.core.values import DrugId
from posologist.recommend.opened import case_of
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient

FEW = trials(max_examples=14, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SOME = trials(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

PROBLEMS = (
    "ckd_stage_3", "type2_diabetes", "gout", "asthma", "heart_failure_reduced_ef", "atrial_fibrillation", "stroke",
    "myocardial_infarction", "angioedema_history", "bradycardia", "pregnancy", "hyponatraemia", "copd",
    "renal_artery_stenosis", "benign_prostatic_hyperplasia", "liver_cirrhosis", "primary_aldosteronism",
)  # fmt: skip
MEDICINES = (
    ("metoprolol", 50, 2), ("lisinopril", 10, 1), ("hydrochlorothiazide", 25, 1), ("amlodipine", 5, 1),
    ("paroxetine", 20, 1), ("ibuprofen", 400, 3), ("warfarin", 5, 1), ("digoxin", 0.125, 1), ("simvastatin", 20, 1),
    ("spironolactone", 25, 1), ("clarithromycin", 500, 2), ("lithium", 300, 2), ("omeprazole", 20, 1),
    ("clopidogrel", 75, 1), ("verapamil", 240, 1), ("sertraline", 50, 1), ("losartan", 50, 1),
)  # fmt: skip
GENES = ("*4/*4", "*1/*1", "*1/*4", "*1/*1x3")
LABS = {
    "creatinine": st.floats(0.5, 6.0), "potassium": st.floats(2.9, 6.4), "sodium": st.floats(122, 148),
    "heart_rate": st.floats(38, 110), "weight": st.floats(42, 140), "uacr": st.floats(3, 1500),
    "height": st.floats(145, 200), "total_cholesterol": st.floats(120, 320), "hdl": st.floats(25, 90),
}  # fmt: skip
ACE, ARB = members("ACE inhibitor"), members("ARB")


@cache
def gene(call: str | None) -> GeneticProfile | None:
    """A profile of CYP2D6, or none."""
    return None if call is None else genome(CYP2D6=call)


taken = st.lists(st.sampled_from(MEDICINES), max_size=3, unique=True)


@st.composite
def patients(draw: st.DrawFn) -> Patient:
    """Adults of any age, sex, laboratory values, problems, medicines and allergies."""
    measured = {name: round(draw(values), 3) for name, values in LABS.items() if draw(st.integers(0, 4))}
    return a_patient(
        age=draw(st.integers(18, 95)),
        sex=draw(st.sampled_from(["male", "female", None])),
        conditions=["hypertension", *draw(st.lists(st.sampled_from(PROBLEMS), max_size=3, unique=True))],
        medicines=[a_medicine(d, a, per_day=n) for d, a, n in draw(taken)],
        allergies=[an_allergy(g, *r) for g, r in draw(st.lists(st.sampled_from(ALLERGIES), max_size=1))],
        sbp=float(draw(st.integers(118, 200))),
        dbp=float(draw(st.integers(64, 118))),
        **measured,
    )  # fmt: skip


ALLERGIES = (
    ("ACE inhibitor", ("angioedema",)), ("amlodipine", ()), ("hydrochlorothiazide", ("rash",)), ("losartan", ()),
    ("penicillin", ("anaphylaxis",)),
)  # fmt: skip
calls = st.sampled_from([None, *GENES])


def asked(patient: Patient, call: str | None = None, **chosen: Any) -> Recommendation:
    """The recommendation for hypertension."""
    return recommend(
        patient, "hypertension", genome=gene(call), knowledge=knowledge(), settings=settings(draws=200, **chosen)
    )


def absolute(function: str) -> list[tuple[str, str]]:
    """(drug, name) where `function(name)` alone contraindicates an antihypertensive."""
    found = []
    for drug in sorted(members("antihypertensive")):
        for s in knowledge().own_statements(DrugId(drug)):
            if s.action == "contraindicated" and not s.indication and s.when.startswith(f"{function}("):
                name = s.when[len(function) + 1 : -1].strip('"')
                if ")" not in name:
                    found.append((drug, name))
    return found


CONDITIONS = [(d, c) for d, c in absolute("dx") if knowledge().codes.conditions[c].readable]
RIVALS = sorted(
    (str(one), str(other))
    for one in members("antihypertensive")
    for other in members("ARNI", "direct renin inhibitor", "combined P-gp and strong CYP3A4 inhibitor")
    | {"dronedarone"}
    if any(
        s.severity == "contraindicated" and s.when == "true"
        for s, _ in knowledge().interactions_between(DrugId(one), DrugId(other))
    )
)


@SOME
@given(patients(), calls, st.randoms(use_true_random=False))
def test_order_of_records_does_not_matter(patient: Patient, call: str | None, random: Random) -> None:
    lists = {name: getattr(patient, name) for name in ("observations", "conditions", "medications", "allergies")}
    other = patient.model_copy(
        update={name: tuple(random.sample(values, len(values))) for name, values in lists.items()}
    )

    assert asked(patient, call).model_dump_json() == asked(other, call).model_dump_json()


def test_order_of_the_bundle_does_not_matter() -> None:
    rows = record(problems=["I10", "N18.31", "E11.9"], uacr=150.0, creatinine=1.6)

    def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
        patient = read_patient(as_bytes(bundle(*rows)), knowledge=knowledge(), as_of=AS_OF, document="case.json")
        answer = recommend(patient, "hypertension", knowledge=knowledge(), settings=settings())
        return answer.model_dump(mode="json", exclude={"data_quality"})

    first = told(rows)

    assert all(told(Random(seed).sample(rows, len(rows))) == first for seed in range(4))


@FEW
@given(patients(), calls)
def test_same_input_gives_the_same_bytes(patient: Patient, call: str | None) -> None:
    assert asked(patient, call).model_dump_json() == asked(patient, call).model_dump_json()


def test_same_input_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from cases import advice, record, genome;"
        "print(hashlib.sha256(advice(record(problems=['I10', 'E11.9'], uacr=90.0),"
        " genes=genome(CYP2D6='*4/*4')).model_dump_json().encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parent, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "42")
    }  # fmt: skip
    here = advice(record(problems=["I10", "E11.9"], uacr=90.0), genes=genome(CYP2D6="*4/*4")).model_dump_json()

    assert digests == {hashlib.sha256(here.encode()).hexdigest()}


@SOME
@given(patients(), st.sampled_from(CONDITIONS))
def test_a_contraindication_never_lifts_a_drug(patient: Patient, pair: tuple[str, str]) -> None:
    drug, code = pair
    assume(all(code not in c.codes for c in patient.conditions))
    worse = patient.model_copy(update={"conditions": (*patient.conditions, a_patient(conditions=[code]).conditions[0])})

    document = asked(worse)

    assert drug not in offered(document)
    assert not any(f" {drug} " in f" {e.text} " for o in document.options for e in o.equivalents)


@FEW
@given(patients(), st.data())
def test_an_allergy_never_lifts_a_drug(patient: Patient, data: st.DataObject) -> None:
    before = asked(patient)
    assume(offered(before))
    drug = data.draw(st.sampled_from(sorted(offered(before))))
    allergic = patient.model_copy(update={"allergies": (*patient.allergies, an_allergy(drug, "anaphylaxis"))})

    assert drug not in offered(asked(allergic))


@FEW
@given(patients(), st.sampled_from(RIVALS))
def test_a_drug_is_not_started_beside_what_must_not_be_with_it(patient: Patient, pair: tuple[str, str]) -> None:
    drug, rival = pair
    both = patient.model_copy(update={"medications": (*patient.medications, a_medicine(rival, 100.0))})

    for option in asked(both).options:
        assert not (drug in started(option) and rival in option.plan.keep)


@FEW
@given(patients(), st.sampled_from(sorted(PROBLEMS)))
def test_a_drug_is_lifted_only_by_what_speaks_for_it(patient: Patient, code: str) -> None:
    """A problem that a drug must not be given in (by its own file) never brings it up, whatever else it changes."""
    assume(all(code not in c.codes for c in patient.conditions))
    worse = patient.model_copy(update={"conditions": (*patient.conditions, a_patient(conditions=[code]).conditions[0])})
    speaks_against = {d for d, c in CONDITIONS if c == code}

    before, after = asked(patient), asked(worse)

    for drug in speaks_against:
        assert best_rank(after, [drug]) >= best_rank(before, [drug])


@pytest.mark.parametrize(
    ("key", "factor", "unit"),
    [("creatinine", 88.42, "umol/L"), ("weight", 1 / 0.45359237, "[lb_av]"), ("height", 1 / 2.54, "[in_i]"),
     ("total_cholesterol", 0.02586, "mmol/L"), ("hdl", 0.02586, "mmol/L"), ("potassium", 1.0, "meq/L")],
)  # fmt: skip
def test_a_change_of_unit_does_not_change_the_answer(key: str, factor: float, unit: str) -> None:
    from cases import HEALTHY, loinc_row
    from patients import fhir_observation

    rows = record(problems=["I10", "N18.31"], uacr=90.0)
    other = record(problems=["I10", "N18.31"], uacr=90.0, leave_out=[key])
    code, value, _ = loinc_row(key, HEALTHY[key])
    other.append(fhir_observation(code, value * factor, unit))

    one, two = advice(rows), advice(other)

    assert [o.plan.text for o in one.options] == [o.plan.text for o in two.options]
    assert [o.utility.value for o in two.options] == pytest.approx([o.utility.value for o in one.options], rel=2e-3)


@SOME
@given(patients(), st.sampled_from(["potassium", "creatinine", "heart_rate", "sodium", "weight", "uacr"]))
def test_a_missing_value_never_reads_as_normal(patient: Patient, lost: str) -> None:
    """What was blocked with the value and is offered without it is named as not checked."""
    assume(any(o.key == lost for o in patient.observations))
    poorer = patient.model_copy(update={"observations": tuple(o for o in patient.observations if o.key != lost)})

    full, poor = asked(patient), asked(poorer)

    blocked = {r.drug for r in full.ruled_out}  # a pair that is ruled out says nothing of either drug alone
    for drug in offered(poor) & blocked - offered(full):
        assert any(drug in n.drugs or lost in n.why + n.would_need for n in poor.not_checked), (drug, lost)


@FEW
@given(patients(), st.sampled_from(PROBLEMS))
def test_no_problem_list_never_reads_as_no_problem(patient: Patient, code: str) -> None:
    none = patient.model_copy(update={"conditions": (), "problem_list_given": False})

    document = asked(none)

    assert any("problem list" in n.what for n in document.not_checked)


@FEW
@given(patients())
def test_a_gene_that_was_not_tested_never_reads_as_normal(patient: Patient) -> None:
    untested, poor = asked(patient), asked(patient, "*4/*4")

    for finding in poor.findings:
        if "CYP2D6" in finding.title:
            assert any("CYP2D6" in n.what + n.why for n in untested.not_checked), finding.title


@SOME
@given(patients(), calls, st.floats(0.25, 20), st.floats(0.25, 20))
def test_more_aversion_to_harm_never_raises_the_risk_of_the_first_plan(
    patient: Patient, call: str | None, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    bold, careful = asked(patient, call, harm_aversion=low), asked(patient, call, harm_aversion=high)
    assume(bold.options and careful.options)

    assert careful.options[0].risk.value <= bold.options[0].risk.value + 1e-9


@FEW
@given(
    patients(), calls, st.floats(0.25, 20), st.floats(0.5, 0.99), st.integers(1, 5), st.floats(1.5, 30),
    st.floats(0.001, 0.2), st.floats(0.3, 1.5), st.sampled_from(["US25", "ESC24"]),
)  # fmt: skip
def test_no_setting_opens_the_gate(
    patient: Patient, call: str | None, aversion: float, level: float, most: int, index: float, toxic: float, cv: float,
    guideline: Any,
) -> None:  # fmt: skip
    barred = patient.model_copy(
        update={
            "conditions": a_patient(conditions=["hypertension", "pregnancy", "asthma", "angioedema_history"]).conditions
        }
    )
    document = asked(
        barred, call, harm_aversion=aversion, interval_level=level, max_options=most, min_therapeutic_index=index,
        max_toxic_probability=toxic, unpublished_variability_cv=cv, guideline=guideline,
    )  # fmt: skip

    assert len(document.options) <= most
    assert not offered(document) & (
        ACE | ARB | {"propranolol", "labetalol", "carvedilol", "aliskiren", "spironolactone"}
    )
    for option in document.options:
        assert option.therapeutic_index is None or option.therapeutic_index.value > max(index, 1.5)
        assert option.toxic_probability is None or option.toxic_probability.value < min(toxic, 0.2)


@pytest.mark.parametrize(
    "outside",
    [
        {"harm_aversion": 0.0}, {"harm_aversion": 0.24}, {"harm_aversion": 21.0}, {"min_therapeutic_index": 1.0},
        {"max_toxic_probability": 0.21}, {"max_toxic_probability": 1.0}, {"max_toxic_probability": 0.0},
        {"unpublished_variability_cv": 0.0}, {"draws": 1}, {"max_options": 0}, {"max_options": 50},
        {"interval_level": 0.1}, {"stale_laboratory_days": 5000}, {"stale_blood_pressure_days": 4000},
        {"min_genotype_quality": 0}, {"min_read_depth": 1}, {"guideline": "mine"}, {"skip_gate": True},
        {"medication_lookback_days": 1}, {"default_weight_kg": 5.0},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_below_its_floor_is_refused(outside: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(as_of=AS_OF, **outside)


@SOME
@given(patients(), calls)
def test_every_regimen_can_be_dispensed_and_stays_within_its_maximum(patient: Patient, call: str | None) -> None:
    for option in asked(patient, call).options:
        for start in option.plan.start:
            _check_regimen(option, start.drug)


def _check_regimen(option: Option, drug_id: str) -> None:
    start = next(s for s in option.plan.start if s.drug == drug_id)
    regimen, drug = start.regimen, knowledge().drugs[start.drug]
    made = sum(p.count * p.strength for p in regimen.products)
    strengths = {(p.form, float(s)) for p in drug.products for s in p.strengths}

    assert regimen.products
    assert made == pytest.approx(regimen.dose.value, rel=1e-9)
    assert {(p.form, p.strength) for p in regimen.products} <= strengths
    assert all(p.count * 2 == int(p.count * 2) and 0 < p.count <= 6 for p in regimen.products)
    assert regimen.maximum is not None
    assert regimen.dose.value * 24 / regimen.interval.value <= regimen.maximum.value * (1 + 1e-9)
    assert (
        24 / regimen.interval.value == pytest.approx(round(24 / regimen.interval.value)) or regimen.interval.value > 24
    )


@SOME
@given(patients(), calls)
def test_every_number_and_finding_rests_on_leaves(patient: Patient, call: str | None) -> None:
    assert_rests_on_leaves(asked(patient, call))


def assert_rests_on_leaves(document: Recommendation) -> None:
    """Every key that the document names is there, and leads to sourced leaves without a circle."""
    evidence = document.evidence

    def leaves(key: str, above: frozenset[str] = frozenset()) -> set[str]:
        assert key in evidence
        assert key not in above, "evidence rests on itself"
        entry = evidence[key]
        if not entry.because:
            assert entry.kind in LEAF_KINDS, (entry.kind, entry.text)
            assert entry.source, entry.text
            return {key}
        return {leaf for below in entry.because for leaf in leaves(below, above | {key})}

    for key in cited_keys(document):
        assert leaves(key)


@SOME
@given(patients(), calls)
def test_an_ace_inhibitor_and_an_arb_never_stand_in_one_plan(patient: Patient, call: str | None) -> None:
    for option in asked(patient, call).options:
        after = {*option.plan.keep, *started(option)}
        new = set(started(option))
        assert not (after & ACE and after & ARB and new & (ACE | ARB))


@FEW
@given(patients(), calls)
def test_what_is_stopped_is_not_kept_and_what_is_started_is_new(patient: Patient, call: str | None) -> None:
    document = asked(patient, call)
    taken = {str(c.drug) for c in document.current}

    for option in document.options:
        stopped = {str(s.drug) for s in option.plan.stop}
        kept = {str(d) for d in option.plan.keep}
        assert stopped <= taken
        assert not stopped & kept
        assert kept <= taken
        assert taken - stopped - kept <= set(started(option))
        assert not stopped & set(started(option))


@FEW
@given(patients(), calls)
def test_a_beta_blocker_or_clonidine_is_never_just_stopped(patient: Patient, call: str | None) -> None:
    abrupt_harms = members("beta-blocker") | {"clonidine"}
    for option in asked(patient, call).options:
        assert all(s.how == "taper" for s in option.plan.stop if s.drug in abrupt_harms)


@FEW
@given(patients(), calls)
def test_the_document_survives_json(patient: Patient, call: str | None) -> None:
    document = asked(patient, call)

    text = document.model_dump_json(by_alias=True)

    assert Recommendation.model_validate_json(text).model_dump_json(by_alias=True) == text


@FEW
@given(patients(), calls)
def test_nothing_recommended_is_never_silent(patient: Patient, call: str | None) -> None:
    document = asked(patient, call)

    assert document.options or document.findings
    assert [o.rank for o in document.options] == list(range(1, len(document.options) + 1))


@FEW
@given(patients(), calls)
def test_ties_are_mutual_and_contributions_add_up(patient: Patient, call: str | None) -> None:
    document = asked(patient, call)
    ties = {o.rank: set(o.ties_with) for o in document.options}

    assert all(rank in ties[other] for rank, others in ties.items() for other in others)
    for option in document.options:
        assert option.contributions is not None
        assert option.contributions.output == pytest.approx(option.utility.value, rel=1e-5, abs=1e-4)


@SOME
@given(patients(), calls)
def test_no_started_drug_is_forbidden_when_asked_anew(patient: Patient, call: str | None) -> None:
    """Every contraindication of a started drug, and of its pairs, is decided afresh on the final plan."""
    assert forbidden_starts(patient, asked(patient, call), call) == []


def forbidden_starts(patient: Patient, document: Recommendation, call: str | None) -> list[str]:
    """Rules that forbid a started drug under its plan, asked without anything remembered."""
    known = knowledge()
    case = case_of(
        patient, known.indication(document.indication), genome=gene(call), knowledge=known, settings=settings()
    )
    found = []
    for option in document.options:
        medicines = (*option.plan.keep, *(s.drug for s in option.plan.start))
        for drug in (s.drug for s in option.plan.start):
            subject = case.subject(drug, medicines)
            rules = [(r, subject) for r in (*known.own_statements(drug), *known.statements_about(drug, "gene"))]
            rules += [
                (r, case.subject(other if swapped else drug, medicines))
                for other in set(medicines) - {drug}
                for r, swapped in known.interactions_between(drug, other)
            ]
            found += [
                f"{option.plan.text}: {rule.text}"
                for rule, about in rules
                if rule.action == "contraindicated"
                and rule.indication in ("", document.indication)
                and about.match(rule.when).truth is True
            ]
    return found


INDICATIONS = {
    "atrial-fibrillation-stroke-prevention": "atrial_fibrillation",
    "depression": "depression",
    "dyslipidaemia": "dyslipidaemia",
    "type-2-diabetes": "type2_diabetes",
    "acs-pci-antiplatelet": "acs",
}


@pytest.mark.parametrize("indication", INDICATIONS)
@FEW
@given(patient=patients(), call=calls)
def test_the_laws_hold_for_every_indication(indication: str, patient: Patient, call: str | None) -> None:
    """Forbidden drugs, leaves, products and maxima, silence, and the weight of harm, as for hypertension."""
    code = INDICATIONS[indication]
    ill = patient.model_copy(update={"conditions": (*patient.conditions, a_patient(conditions=[code]).conditions[0])})

    def ask(aversion: float) -> Recommendation:
        chosen = settings(draws=200, harm_aversion=aversion)
        return recommend(ill, indication, genome=gene(call), knowledge=knowledge(), settings=chosen)

    bold, careful = ask(0.5), ask(8.0)

    assert forbidden_starts(ill, bold, call) == []
    assert_rests_on_leaves(bold)
    assert bold.options or bold.findings
    for option in bold.options:
        for start in option.plan.start:
            _check_regimen(option, start.drug)
    if bold.options and careful.options:
        assert careful.options[0].risk.value <= bold.options[0].risk.value + 1e-9


FORBIDDING = ["propranolol", "metformin", "eplerenone", "lisinopril", "prasugrel", "verapamil"]  # for many of PROBLEMS


@SOME
@given(patients(), calls, st.sampled_from(FORBIDDING))
def test_an_order_shows_every_contraindication_that_holds(patient: Patient, call: str | None, drug: str) -> None:
    """Whatever the use: nothing that the drug's own file forbids for this patient is left out of the findings."""
    known = knowledge()
    screening = screen_order(patient, [drug], genome=gene(call), knowledge=known, settings=settings())
    assume(drug in screening.drugs)
    case = case_of(patient, known.indication("hypertension"), genome=gene(call), knowledge=known, settings=settings())
    subject = case.subject(DrugId(drug), (*case.present, DrugId(drug)))

    shown = " ".join(f.title for f in screening.findings if drug in f.drugs)
    for rule in known.own_statements(DrugId(drug)):
        if rule.action == "contraindicated" and subject.match(rule.when).truth is True:
            assert rule.text in shown
    assert screening.findings or screening.not_checked or known.drugs[DrugId(drug)].depth != "screening"
