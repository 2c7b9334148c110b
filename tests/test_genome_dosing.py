"""Doses computed from genes: published worked cases, published accuracy on the same patients, and laws."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from functools import cache
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cases import advice, genome, knowledge, order, record, settings
from patients import a_medicine, a_patient
from posologist.core.dosing import ComputedDose, ComputedRow, DoseFormula, GenotypeDose
from posologist.core.errors import ModelError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.simulation import DoseDocument
from posologist.core.statement import Statement
from posologist.core.values import CitationKey, DrugId, Estimate, EvidenceKey, Quantity
from posologist.genome.dosing import a_day, computed_dose
from posologist.knowledge.dosing import AsGiven, GivenDiplotypes, dose_example_error, formula_dose
from posologist.knowledge.expression import expression
from posologist.recommend.case import Hit, Proposal
from posologist.recommend.computed import weaker_rows
from posologist.recommend.dose import dose_for
from posologist.recommend.opened import NO_INDICATION, case_of
from posologist.recommend.screen import screen
from posologist.serve.dose_table import print_dose
from shared import shared_data
from tracing import evidence_faults, schema_faults, text_faults

GG = "rs9923231 reference (C)/rs9923231 reference (C)"
AG = "rs9923231 reference (C)/rs9923231 variant (T)"
AA = "rs9923231 variant (T)/rs9923231 variant (T)"
VKORC1 = (GG, AG, AA)
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
THIOPURINES = ("azathioprine", "mercaptopurine")
TPMT = {"normal": "*1/*1", "intermediate": "*1/*3A", "poor": "*3A/*3A"}
NUDT15 = {"normal": "*1/*1", "intermediate": "*1/*3", "poor": "*3/*3"}
PHARMACOGENETIC, CLINICAL, GAGE = (
    "IWPC pharmacogenetic algorithm", "IWPC clinical algorithm", "Gage 2008 pharmacogenetic algorithm",
)  # fmt: skip


def a_person(*, age: int = 60, race: str | None = "White", **measured: float) -> Patient:
    """A patient of 170 cm and 70 kg, where nothing else is said."""
    sizes = {"height": 170.0, "weight": 70.0, **measured}
    return a_patient(age=age, conditions=(), **sizes).model_copy(update={"race": (race,) if race else ()})


def computed(
    drug: str, person: Patient | None = None, *, use: str | None = None, genes: GeneticProfile | None = None,
    **calls: str,
) -> ComputedDose:  # fmt: skip
    """The dose computed for a person, for the first use on file or another."""
    facts = knowledge()
    found = genes or (genome(**calls) if calls else None)
    case = case_of(person or a_person(), NO_INDICATION, genome=found, knowledge=facts, settings=settings())
    of = facts.drug(drug)
    rule = next((r for r in of.doses if use in (None, r.indication)), None)
    taken = tuple(d for d in case.present if d != of.id)
    answer = computed_dose(
        of, case.situation, case.profile(taken), facts, case.ledger,
        usual=rule, indication="none" if rule is None else rule.indication, medicines=taken, genome=found,
    )  # fmt: skip
    assert answer is not None
    return answer


def row(answer: ComputedDose, name: str) -> ComputedRow:
    """The one row of a name."""
    (found,) = [r for r in answer.rows if r.name == name]
    return found


def weekly(answer: ComputedDose, name: str = PHARMACOGENETIC) -> float:
    """What an algorithm comes to, mg/week."""
    dose = row(answer, name).dose
    assert dose is not None
    assert dose.unit == "mg/week"
    return dose.value


@cache
def warfarin_table() -> GenotypeDose:
    """The table of warfarin."""
    table = knowledge().dosing_of(DrugId("warfarin"))
    assert table is not None
    return table


def _examples() -> list[tuple[GenotypeDose, DoseFormula, int]]:
    tables = knowledge().dosing.values()
    return [(t, f, n) for t in tables for f in t.formulas for n in range(len(f.examples))]


# ------------------------------------------------------------------------------------------- published cases


@pytest.mark.parametrize(("table", "formula", "number"), _examples(), ids=lambda v: getattr(v, "id", str(v)))
def test_worked_calls_of_another_implementation_are_reproduced(
    table: GenotypeDose, formula: DoseFormula, number: int
) -> None:
    assert dose_example_error(table, formula, formula.examples[number]) is None


@pytest.mark.parametrize(
    ("vkorc1", "cyp2c9", "low", "high"),
    [
        (GG, "*1/*1", 5, 7), (GG, "*1/*2", 5, 7), (GG, "*1/*3", 3, 4), (GG, "*2/*2", 3, 4), (GG, "*2/*3", 3, 4),
        (GG, "*3/*3", 0.5, 2), (AG, "*1/*1", 5, 7), (AG, "*1/*2", 3, 4), (AG, "*1/*3", 3, 4), (AG, "*2/*2", 3, 4),
        (AG, "*2/*3", 0.5, 2), (AG, "*3/*3", 0.5, 2), (AA, "*1/*1", 3, 4), (AA, "*1/*2", 3, 4),
        (AA, "*1/*3", 0.5, 2), (AA, "*2/*2", 0.5, 2), (AA, "*2/*3", 0.5, 2), (AA, "*3/*3", 0.5, 2),
    ],
)  # fmt: skip
def test_the_label_table_of_warfarin_is_the_printed_one(vkorc1: str, cyp2c9: str, low: float, high: float) -> None:
    """Cleve Clin J Med 2011;78:243, Table 2: the prescribing information's table."""
    found = row(computed("warfarin", VKORC1=vkorc1, CYP2C9=cyp2c9), "FDA label, genotype table")

    assert found.low is not None
    assert found.high is not None
    assert (found.low.value, found.high.value, found.low.unit) == (low, high, "mg/day")


def _iwpc() -> Iterator[tuple[float, dict[str, Any]]]:
    """Stable dose (mg/week) and facts of the adults of the IWPC data who reached it."""
    path = shared_data("ml", "iwpc_warfarin", "iwpc_warfarin.csv.gz")
    genotypes = {"G/G": "-1639 GG", "A/G": "-1639 AG", "A/A": "-1639 AA"}
    races = {"White": "White", "Asian": "Asian", "Black or African American": "Black"}
    medicines = {
        "amiodarone": "Amiodarone (Cordarone)", "carbamazepine": "Carbamazepine (Tegretol)",
        "phenytoin": "Phenytoin (Dilantin)", "rifampin": "Rifampin or Rifampicin",
    }  # fmt: skip
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            sizes = (line["Height (cm)"], line["Weight (kg)"], line["Therapeutic Dose of Warfarin"], line["Age"][:2])
            stable = line["Subject Reached Stable Dose of Warfarin"] in ("1", "1.0")
            if not stable or not all(sizes) or "NA" in sizes or float(sizes[3]) < 20 or float(sizes[2]) > 300:
                continue
            facts: dict[str, Any] = {"height": float(sizes[0]), "weight": float(sizes[1]), "age": float(sizes[3])}
            facts |= {f"on({drug})": True for drug, name in medicines.items() if line[name] in ("1", "1.0")}
            if line["Race (OMB)"] in races:
                facts["race_group"] = races[line["Race (OMB)"]]
            if line["CYP2C9 consensus"]:
                facts["CYP2C9"] = line["CYP2C9 consensus"]
            if line["VKORC1 -1639 consensus"] in genotypes:
                facts["gene(VKORC1)"] = genotypes[line["VKORC1 -1639 consensus"]]
            yield float(sizes[2]), facts


@pytest.mark.parametrize(
    ("formula", "published"), [("iwpc_pharmacogenetic", 8.5), ("iwpc_clinical", 9.9)], ids=["genes", "clinical"]
)
def test_the_error_on_the_consortiums_patients_is_the_published_one(formula: str, published: float) -> None:
    """N Engl J Med 2009;360:753: mean absolute error 8.5 and 9.9 mg/week; here on the part that is at hand."""
    table = warfarin_table()
    algorithm = next(f for f in table.formulas if f.id == formula)
    errors = []
    for dose, facts in _iwpc():
        predicted = formula_dose(table, algorithm, AsGiven(facts), GivenDiplotypes(facts)).value
        assert predicted is not None
        errors.append(abs(predicted - dose))

    assert len(errors) > 2900
    assert sum(errors) / len(errors) == pytest.approx(published, abs=0.1)


REFERENCE: dict[str, Any] = {
    "age": 55.0, "height": 170.0, "weight": 70.0, "race_group": "White", "black": False, "CYP2C9": "*1/*1",
    "gene(VKORC1)": "-1639 GG", "smoking_status": "never", "indication": "atrial-fibrillation-stroke-prevention",
}  # fmt: skip


def _dose(formula: str, **changed: Any) -> float:
    """Weekly dose of an algorithm for the reference person with these facts changed."""
    facts = {**REFERENCE, **changed}
    algorithm = next(f for f in warfarin_table().formulas if f.id == formula)
    value = formula_dose(warfarin_table(), algorithm, AsGiven(facts), GivenDiplotypes(facts)).value
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("changed", "term", "clinical"),
    [
        ({"age": 65.0}, -0.2614, -0.2546), ({"height": 180.0}, 0.087, 0.118), ({"weight": 80.0}, 0.128, 0.134),
        ({"gene(VKORC1)": "-1639 AG"}, -0.8677, 0), ({"gene(VKORC1)": "-1639 AA"}, -1.6974, 0),
        ({"CYP2C9": "*1/*2"}, -0.5211, 0), ({"CYP2C9": "*1/*3"}, -0.9357, 0), ({"CYP2C9": "*2/*2"}, -1.0616, 0),
        ({"CYP2C9": "*2/*3"}, -1.9206, 0), ({"CYP2C9": "*3/*3"}, -2.3312, 0), ({"CYP2C9": None}, -0.2188, 0),
        ({"gene(VKORC1)": None}, -0.4854, 0), ({"race_group": "Asian"}, -0.1092, -0.6752),
        ({"race_group": "Black"}, -0.2760, 0.4060), ({"race_group": "mixed"}, -0.1032, 0.0443),
        ({"on(rifampin)": True}, 1.1816, 1.2799), ({"on(phenytoin)": True}, 1.1816, 1.2799),
        ({"on(carbamazepine)": True}, 1.1816, 1.2799), ({"on(amiodarone)": True}, -0.5503, -0.5695),
    ],
)  # fmt: skip
def test_each_term_of_the_iwpc_algorithms_is_the_published_one(
    changed: dict[str, Any], term: float, clinical: float
) -> None:
    """N Engl J Med 2009;360:753, supplement: what each fact adds to the square root of the weekly dose."""
    for formula, expected in (("iwpc_pharmacogenetic", term), ("iwpc_clinical", clinical)):
        change = _dose(formula, **changed) ** 0.5 - _dose(formula) ** 0.5

        assert change == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "percent"),
    [
        ({"gene(VKORC1)": "-1639 AG"}, -28), ({"CYP2C9": "*1/*3"}, -33), ({"CYP2C9": "*1/*2"}, -19),
        ({"age": 65.0}, -7), ({"on(amiodarone)": True}, -22), ({"smoking_status": "current"}, 10),
        ({"black": True}, -9),
    ],
)  # fmt: skip
def test_each_effect_of_the_gage_algorithm_is_the_one_of_its_abstract(changed: dict[str, Any], percent: float) -> None:
    """Clin Pharmacol Ther 2008;84:326: change of the dose per allele, decade, medicine, habit, race."""
    change = 100 * (_dose("gage_pharmacogenetic", **changed) / _dose("gage_pharmacogenetic") - 1)

    assert change == pytest.approx(percent, abs=0.6)


def test_the_published_spread_is_the_interval_of_the_dose() -> None:
    """Within 20 % of the stable dose: the stable dose lies between 1 / 1.2 and 1 / 0.8 of the prediction."""
    answer = computed("warfarin", VKORC1=AG, CYP2C9="*1/*3")

    dose = row(answer, PHARMACOGENETIC).dose

    assert isinstance(dose, Estimate)
    assert dose.level == 0.455
    assert dose.low == pytest.approx(dose.value / 1.2, rel=1e-3)
    assert dose.high == pytest.approx(dose.value / 0.8, rel=1e-3)


def test_the_published_share_within_20_percent_comes_from_the_three_dose_bands() -> None:
    """Table 3, validation cohort: 33.0 % of 324, 54.6 % of 560 and 36.8 % of 125; clinical 25.9, 53.6 and 9.6 %."""
    spreads = {f.id: f.spread.level for f in warfarin_table().formulas if f.spread is not None}

    assert spreads["iwpc_pharmacogenetic"] == pytest.approx((324 * 0.330 + 560 * 0.546 + 125 * 0.368) / 1009, abs=5e-4)
    assert spreads["iwpc_clinical"] == pytest.approx((324 * 0.259 + 560 * 0.536 + 125 * 0.096) / 1009, abs=5e-4)


@pytest.mark.parametrize(
    ("drug", "tpmt", "nudt15", "low", "high"),
    [
        ("azathioprine", "normal", "normal", 100, 100), ("azathioprine", "intermediate", "normal", 30, 80),
        ("azathioprine", "normal", "intermediate", 30, 80), ("azathioprine", "intermediate", "intermediate", 20, 50),
        ("azathioprine", "poor", "normal", 10, 10), ("azathioprine", "poor", "poor", 10, 10),
        ("azathioprine", "normal", "poor", 10, 10), ("azathioprine", "intermediate", "poor", 10, 10),
        ("mercaptopurine", "intermediate", "normal", 30, 80), ("mercaptopurine", "poor", "intermediate", 10, 10),
        ("mercaptopurine", "intermediate", "intermediate", 20, 50), ("mercaptopurine", "normal", "normal", 100, 100),
    ],
)  # fmt: skip
def test_thiopurines_follow_both_genes(drug: str, tpmt: str, nudt15: str, low: float, high: float) -> None:
    """CPIC 2018, and for two intermediate genes its update of March 2024."""
    found = computed(drug, TPMT=TPMT[tpmt], NUDT15=NUDT15[nudt15]).used

    assert found is not None
    assert found.share_low is not None
    assert found.share_high is not None
    assert (found.share_low.value, found.share_high.value) == (low, high)


def test_the_guidelines_own_examples_of_thiopurine_doses_come_out() -> None:
    """CPIC 2018: intermediate, azathioprine 0.6 to 2.4 and mercaptopurine 0.45 to 1.2 mg/kg a day; 10 mg/m2 a day."""
    one = computed("azathioprine", TPMT="*1/*3A", NUDT15="*1/*1")
    two = computed("mercaptopurine", TPMT="*1/*3A", NUDT15="*1/*1")
    three = computed("mercaptopurine", TPMT="*1/*1", NUDT15="*3/*3")

    assert _bounds(one) == pytest.approx((0.6 * 70, 2.4 * 70))
    assert _bounds(two) == pytest.approx((0.45 * 70, 1.2 * 70))
    assert _bounds(three) == pytest.approx((10 * (70 * 170 / 3600) ** 0.5,) * 2, rel=1e-3)


def _bounds(answer: ComputedDose) -> tuple[float, float]:
    assert answer.low is not None
    assert answer.high is not None
    return answer.low.value, answer.high.value


@pytest.mark.parametrize(
    ("call", "use", "low", "high"),
    [
        ("*1/*1", "heart-transplant", 1.5 * 0.075 * 70, 2 * 0.075 * 70),
        ("*1/*3", "kidney-transplant-with-mmf-and-il-2-antagonist", 1.5 * 0.1 * 70, 2 * 0.1 * 70),
        ("*1/*3", "kidney-transplant-with-azathioprine", 0.3 * 70, 0.3 * 70),
        ("*3/*3", "heart-transplant", 0.075 * 70, 0.075 * 70),
    ],
)
def test_tacrolimus_expressors_start_higher_up_to_the_cap(call: str, use: str, low: float, high: float) -> None:
    """CPIC 2015: 1.5 to 2 times the start, at most 0.3 mg/kg a day."""
    assert _bounds(computed("tacrolimus", use=use, CYP3A5=call)) == pytest.approx((low, high))


def test_a_liver_graft_gets_no_dose_from_the_recipients_gene_by_cpic() -> None:
    answer = computed("tacrolimus", use="liver-transplant", CYP3A5="*1/*3")

    assert row(answer, "CPIC").action == "no recommendation"
    assert row(answer, "CPIC").low is None


@pytest.mark.parametrize(
    ("call", "percent"),
    [("*1/*1", 100), ("*1/*2", 100), ("*1/*3", 75), ("*2/*2", 75), ("*2/*3", 50), ("*3/*3", 50)],
)
def test_phenytoin_maintenance_follows_the_activity_score(call: str, percent: float) -> None:
    """CPIC 2020; the usual adult maintenance of the label is 300 mg a day."""
    assert _bounds(computed("phenytoin", CYP2C9=call)) == pytest.approx((3 * percent, 3 * percent))


def test_a_loading_dose_of_phenytoin_is_not_changed_by_cyp2c9() -> None:
    answer = computed("phenytoin", use="loading-oral-hospital", CYP2C9="*3/*3")

    assert _bounds(answer) == (1000, 1000)


def test_hla_b_1502_stops_a_start_of_phenytoin_whatever_cyp2c9_says() -> None:
    answer = computed("phenytoin", CYP2C9="*1/*1", **{"HLA-B": "*15:02/*40:01"})

    assert answer.used is None
    assert answer.dose is None
    assert "avoid" in {r.action for r in answer.rows}


def test_an_untested_hla_b_is_said_beside_the_dose_of_phenytoin() -> None:
    used = computed("phenytoin", CYP2C9="*1/*1").used

    assert used is not None
    assert "HLA-B is not tested" in used.text


@pytest.mark.parametrize("drug", ["fluorouracil", "capecitabine"])
@pytest.mark.parametrize(
    ("score", "percent"), [("2.0", 100), ("1.5", 50), ("1.0", 50), ("0.5", None), ("0.0", None)], ids=str
)
def test_fluoropyrimidines_follow_the_dpyd_score(drug: str, score: str, percent: float | None) -> None:
    """CPIC 2017 with the update of November 2018, decided on an activity score as a laboratory states it."""
    table = knowledge().dosing_of(DrugId(drug))
    assert table is not None
    held = [s for s in table.shares if expression(s.when).match(_Score(float(score))).truth is True]

    assert [s.low for s in held] == [s.high for s in held] == [percent]
    assert [s.action == "avoid" for s in held] == [percent is None]


class _Score:
    """A person of whom the DPYD activity score is known."""

    def __init__(self, score: float) -> None:
        self._score = score

    def fact(self, name: str) -> float:
        raise KeyError(name)

    def query(self, function: str, arguments: tuple[Any, ...]) -> float:
        assert (function, arguments) == ("activity", ("DPYD",))
        return self._score


# ------------------------------------------------------------------------------------------ the guideline's steps


def test_alleles_that_the_algorithm_does_not_hold_lower_its_dose_by_the_guidelines_range() -> None:
    """CPIC 2017: 15 to 30 % less for one of *5, *6, *8, *11; 20 to 40 % for two. The spread is moved with it."""
    plain = weekly(computed("warfarin", VKORC1=AG, CYP2C9="*1/*1"))
    one = row(computed("warfarin", VKORC1=AG, CYP2C9="*1/*8"), PHARMACOGENETIC)
    two = row(computed("warfarin", VKORC1=AG, CYP2C9="*8/*11"), PHARMACOGENETIC)

    assert _range(one) == pytest.approx((0.70 * plain / 1.2, 0.85 * plain / 0.8), rel=1e-3)
    assert _range(two) == pytest.approx((0.60 * plain / 1.2, 0.80 * plain / 0.8), rel=1e-3)
    assert one.dose is not None
    assert one.dose.value == pytest.approx(0.775 * plain, rel=1e-3)
    assert not isinstance(one.dose, Estimate)


def _range(found: ComputedRow) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low.value, found.high.value


def test_cyp4f2_raises_the_dose_outside_african_ancestry_only() -> None:
    """CPIC 2017: 5 to 10 % more for carriers of CYP4F2 *3."""
    plain = weekly(computed("warfarin", VKORC1=AG, CYP2C9="*1/*1"))
    other = weekly(computed("warfarin", VKORC1=AG, CYP2C9="*1/*1", CYP4F2="*1/*3"))
    african = computed("warfarin", a_person(race="Black"), VKORC1=AG, CYP2C9="*1/*1", CYP4F2="*1/*3")

    assert other == pytest.approx(1.075 * plain, rel=1e-3)
    assert all("CYP4F2" not in step.text for step in row(african, PHARMACOGENETIC).steps)


def test_african_ancestry_without_its_alleles_looked_for_is_dosed_clinically() -> None:
    """CPIC 2017, Figure 2: where *5, *6, *8 and *11 were not tested. A laboratory's call does not say."""
    answer = computed("warfarin", a_person(race="Black or African American"), VKORC1=GG, CYP2C9="*1/*1")

    assert answer.by == CLINICAL
    assert not answer.genetic
    assert any("not all looked for" in caution.text for caution in answer.cautions)


@pytest.mark.parametrize("cyp2c9", ["*1/*8", "*2/*3", "*1/*3"])
def test_a_reduced_allele_that_was_found_is_never_ignored(cyp2c9: str) -> None:
    answer = computed("warfarin", a_person(race="Black"), VKORC1=AA, CYP2C9=cyp2c9)

    assert answer.by == PHARMACOGENETIC
    assert weekly(answer) < weekly(answer, CLINICAL)


def test_a_step_that_cannot_be_decided_is_told_and_not_made() -> None:
    answer = computed("warfarin", a_person(race="Black"), VKORC1=AG, CYP2C9="*2/*3")

    (step,) = row(answer, PHARMACOGENETIC).steps

    assert step.text.startswith("not decided, needs rs12777823 genotype")


# ---------------------------------------------------------------------------------------------- what is missing


def test_a_missing_height_is_named_and_no_dose_is_made_up() -> None:
    person = a_patient(age=60, conditions=(), weight=70.0)

    answer = computed("warfarin", person)

    assert answer.dose is None
    assert "height" in answer.needs


def test_the_label_table_answers_where_the_algorithm_lacks_a_height() -> None:
    person = a_patient(age=60, conditions=(), weight=70.0)

    answer = computed("warfarin", person, VKORC1=AA, CYP2C9="*1/*3")

    assert answer.by == "FDA label, genotype table"
    assert "height" in row(answer, PHARMACOGENETIC).needs


@pytest.mark.parametrize(
    ("calls", "term"), [({"CYP2C9": "*1/*3"}, -0.4854), ({"VKORC1": AG}, -0.2188)], ids=["no VKORC1", "no CYP2C9"]
)
def test_a_missing_gene_gives_the_algorithms_own_term(calls: dict[str, str], term: float) -> None:
    """Root of the weekly dose against the person whose missing genotype is the reference one."""
    known = {"CYP2C9": "*1/*1", "VKORC1": GG}

    unknown = weekly(computed("warfarin", **calls))
    reference = weekly(computed("warfarin", **{**known, **calls}))

    assert unknown**0.5 - reference**0.5 == pytest.approx(term, abs=2e-3)


def test_without_any_genotype_the_clinical_algorithm_is_used() -> None:
    answer = computed("warfarin")

    assert (answer.by, answer.genetic, answer.genes) == (CLINICAL, False, ())


def test_a_missing_race_gives_the_term_of_missing_race() -> None:
    said = weekly(computed("warfarin", VKORC1=AG, CYP2C9="*1/*1"))
    unsaid = weekly(computed("warfarin", a_person(race=None), VKORC1=AG, CYP2C9="*1/*1"))

    assert unsaid**0.5 - said**0.5 == pytest.approx(-0.1032, abs=2e-3)


def test_an_allele_outside_the_algorithm_is_not_read_as_normal() -> None:
    answer = computed("warfarin", VKORC1=AG, CYP2C9="*1/*13")

    assert "holds an allele that the algorithm does not" in row(answer, PHARMACOGENETIC).text
    assert row(answer, GAGE).dose is None


@pytest.mark.parametrize("drug", ["fluorouracil", "capecitabine"])
def test_an_untested_dpyd_leaves_the_dose_open_with_its_bound(drug: str) -> None:
    answer = computed(drug)

    assert answer.dose is None
    assert answer.needs == ("DPYD genotype",)
    assert [(b.genes, b.share_low.value, b.share_high.value) for b in answer.open] == [(("DPYD",), 0, 100)]


def test_an_untested_nudt15_is_stated_with_what_it_could_change() -> None:
    answer = computed("azathioprine", TPMT="*1/*1")

    assert answer.used is not None
    assert [(b.genes, b.share_low.value, b.share_high.value) for b in answer.open] == [(("NUDT15",), 10, 100)]


def test_a_missing_weight_leaves_the_dose_per_kg_and_says_so() -> None:
    answer = computed("azathioprine", a_patient(age=60, conditions=()), TPMT="*1/*3A", NUDT15="*1/*1")

    assert answer.needs == ("weight",)
    assert not answer.ranked
    assert answer.low is not None
    assert answer.low.unit == "mg/kg/day"


def test_a_start_that_is_low_already_is_not_lowered_again() -> None:
    """CPIC 2018: the reduction is for a normal start of 2 to 3 mg/kg a day; rheumatoid arthritis starts at 1."""
    used = computed("azathioprine", use="rheumatoid-arthritis", TPMT="*1/*3A", NUDT15="*1/*1").used

    assert used is not None
    assert used.action == "standard"


def test_a_child_gets_no_dose_from_an_adults_algorithm() -> None:
    answer = computed("warfarin", a_person(age=10), VKORC1=AG, CYP2C9="*1/*3")

    assert all(r.low is None for r in answer.rows if r.kind != "share of the usual start")


def test_a_poor_metaboliser_of_thiopurines_is_listed_and_not_ranked() -> None:
    answer = computed("mercaptopurine", TPMT="*3A/*3A", NUDT15="*1/*1")

    assert not answer.ranked
    assert answer.used is not None
    assert answer.used.schedule == "on three days a week"


# --------------------------------------------------------------------------------------------------------- laws

PEOPLE = st.builds(
    dict, age=st.integers(20, 95), height=st.floats(145, 200), weight=st.floats(40, 140),
    race=st.sampled_from(["White", "Asian", "Black or African American", None]),
)  # fmt: skip


@given(person=PEOPLE, algorithm=st.sampled_from([PHARMACOGENETIC, GAGE]))
@hypothesis_settings(max_examples=12, deadline=None)
def test_each_variant_allele_lowers_the_warfarin_dose(person: dict[str, Any], algorithm: str) -> None:
    who = a_person(**person)
    lowering = [("*1/*1", "*1/*2"), ("*1/*2", "*1/*3"), ("*1/*2", "*2/*2"), ("*2/*2", "*2/*3"), ("*2/*3", "*3/*3")]
    doses = {(v, c): weekly(computed("warfarin", who, VKORC1=v, CYP2C9=c), algorithm) for v in VKORC1 for c in CYP2C9}

    assert all(doses[v, more] < doses[v, less] for v in VKORC1 for less, more in lowering)
    assert all(doses[AA, c] < doses[AG, c] < doses[GG, c] for c in CYP2C9)


@given(person=PEOPLE, years=st.integers(10, 40), kilograms=st.floats(1, 40))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_dose_falls_with_age_and_rises_with_weight(person: dict[str, Any], years: int, kilograms: float) -> None:
    calls = {"VKORC1": AG, "CYP2C9": "*1/*2"}
    young = {**person, "age": min(person["age"], 50)}

    base = weekly(computed("warfarin", a_person(**young), **calls))

    assert weekly(computed("warfarin", a_person(**{**young, "age": young["age"] + years}), **calls)) < base
    assert weekly(computed("warfarin", a_person(**{**young, "weight": young["weight"] + kilograms}), **calls)) > base


@pytest.mark.parametrize(("drug", "direction"), [("amiodarone", -1), ("rifampin", 1), ("carbamazepine", 1)])
def test_co_medication_moves_the_dose_as_published(drug: str, direction: int) -> None:
    calls = {"VKORC1": AG, "CYP2C9": "*1/*1"}
    with_it = a_person().model_copy(update={"medications": (a_medicine(drug),)})

    change = weekly(computed("warfarin", with_it, **calls)) - weekly(computed("warfarin", **calls))

    assert change * direction > 0


def _results() -> list[tuple[str, dict[str, str]]]:
    thiopurines = [(d, {"TPMT": t, "NUDT15": n}) for d in THIOPURINES for t in TPMT.values() for n in NUDT15.values()]
    others = [("phenytoin", {"CYP2C9": c}) for c in CYP2C9] + [
        ("tacrolimus", {"CYP3A5": c}) for c in ("*1/*1", "*3/*3")
    ]
    return thiopurines + others


@pytest.mark.parametrize(("drug", "calls"), _results(), ids=lambda v: v if isinstance(v, str) else "-".join(v.values()))
def test_every_result_gives_a_share_above_nought_and_low_is_not_above_high(drug: str, calls: dict[str, str]) -> None:
    answer = computed(drug, **calls)
    shares = [(r.share_low.value, r.share_high.value) for r in answer.rows if r.share_low and r.share_high]

    assert answer.used is not None
    assert shares
    assert all(0 < low <= high <= 250 for low, high in shares)


@pytest.mark.parametrize(("drug", "calls"), _results(), ids=lambda v: v if isinstance(v, str) else "-".join(v.values()))
def test_a_guidelines_single_share_lies_in_the_range_of_its_own_table(drug: str, calls: dict[str, str]) -> None:
    """The Statements of the same body and the computed table are two readings of one guideline: they must not part."""
    facts = knowledge()
    answer = computed(drug, **calls)
    own = row(answer, "CPIC")
    case = case_of(a_person(), NO_INDICATION, genome=genome(**calls), knowledge=facts, settings=settings())
    subject = case.subject(facts.drug(drug).id, ())
    held = [
        s
        for s in facts.statements_about(facts.drug(drug).id, "gene")
        if str(s.source).startswith("cpic") and s.unit == "percent" and subject.match(s.when).truth is True
    ]

    assert own.share_low is None or all(
        own.share_low.value <= (s.value or 0) <= own.share_high.value for s in held if own.share_high is not None
    )


@given(dose=st.floats(0.1, 200))
def test_a_weekly_dose_by_the_day_and_back_is_the_same(dose: float) -> None:
    daily = a_day(Quantity(value=dose, unit="mg/week", because=(EvidenceKey("setting:x"),)))

    assert daily.unit == "mg/day"
    assert daily.value * 7 == pytest.approx(dose, rel=1e-3)


# ------------------------------------------------------------------------------------------- dose, screen, recommend


def dosed(drug: str, person: Patient | None = None, use: str | None = None, **calls: str) -> DoseDocument:
    """The document of `dose`."""
    genes = genome(**calls) if calls else None
    return dose_for(
        person or a_person(), drug, indication=use, genome=genes, knowledge=knowledge(), settings=settings()
    )


@pytest.mark.parametrize(
    ("drug", "calls"),
    [
        ("warfarin", {"VKORC1": AG, "CYP2C9": "*1/*3"}), ("azathioprine", {"TPMT": "*1/*3A", "NUDT15": "*1/*1"}),
        ("mercaptopurine", {"TPMT": "*1/*3A", "NUDT15": "*1/*3"}), ("tacrolimus", {"CYP3A5": "*1/*3"}),
        ("phenytoin", {"CYP2C9": "*3/*3"}), ("fosphenytoin", {"CYP2C9": "*1/*3"}), ("fluorouracil", {}),
        ("capecitabine", {}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_dose_answers_with_the_computed_dose_and_traces_every_number(drug: str, calls: dict[str, str]) -> None:
    document = dosed(drug, **calls)

    assert document.computed is not None
    assert document.computed.drug == drug
    assert evidence_faults(document) == []


def test_every_number_printed_of_a_dose_stands_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = dosed("warfarin", VKORC1=AG, CYP2C9="*1/*8", CYP4F2="*1/*3")

    print_dose(document)

    assert text_faults(capsys.readouterr().out, document) == []


def test_the_schema_of_a_computed_dose_holds_no_bare_number() -> None:
    assert schema_faults(ComputedDose) == []


def test_warfarin_starts_at_the_computed_dose_in_tablets() -> None:
    document = dosed("warfarin", VKORC1=AA, CYP2C9="*1/*3")

    assert document.computed is not None
    assert document.computed.dose is not None
    assert document.computed.regimen is not None
    assert document.start == document.computed.regimen.text == "2 mg orally once daily"
    assert document.computed.dose.value == pytest.approx(2, abs=0.25)


def test_without_genes_the_label_start_of_warfarin_stands() -> None:
    assert dosed("warfarin").start == "5 mg orally once daily"


def test_two_bodies_that_ask_for_half_the_dose_do_not_ask_for_a_quarter() -> None:
    """TPMT intermediate: CPIC and DPWG each give half of 1.5 mg/kg; 52.5 mg is made of one 50 mg tablet."""
    document = dosed("mercaptopurine", TPMT="*1/*3A", NUDT15="*1/*1")

    assert document.start == "50 mg orally once daily"


BODIES, ACTIONS = ["cpic", "dpwg", "fda"], ["start", "percent", "cap"]
SHARES = st.tuples(st.sampled_from(BODIES), st.sampled_from(ACTIONS), st.floats(5, 99))


@given(rows=st.lists(SHARES, max_size=6))
def test_leaving_superfluous_rows_out_never_lifts_a_bound_above_what_one_body_asks(
    rows: list[tuple[str, str, float]],
) -> None:
    drug = DrugId("made")
    hits = tuple(
        Hit(_share_of(drug, n, *content), (drug,), True, (EvidenceKey("knowledge:x"),), about=drug)
        for n, content in enumerate(rows)
    )

    left_out = weaker_rows(hits, drug)

    kept = [hit.statement for hit in hits if hit.statement.id not in left_out]
    for body in {body for body, _, _ in rows}:
        asked = [hit.statement for hit in hits if str(hit.statement.source).startswith(body)]
        assert _product(kept) <= _product(asked) * (1 + 1e-9)
        assert _product(kept, "percent", "cap") <= _product(asked, "percent", "cap") * (1 + 1e-9)


def _share_of(drug: DrugId, number: int, body: str, action: Any, value: float) -> Statement:
    return Statement(
        id=f"{body}.{number}", kind="gene", about=(drug,), action=action, severity="monitor", value=value,
        unit="percent", text="made", source=CitationKey(f"{body}-1"), status="secondary",
    )  # fmt: skip


def _product(rows: list[Statement], *actions: str) -> float:
    return prod((row.value or 0) / 100 for row in rows if not actions or row.action in actions)


def test_a_child_is_refused_with_what_is_missing() -> None:
    with pytest.raises(ModelError, match="no complete dose"):
        dosed("warfarin", a_person(age=10))


@pytest.mark.parametrize(
    ("text", "severity", "side"),
    [
        ("warfarin 2 mg po q24h", None, ""),
        ("warfarin 10 mg po q24h", "serious", "above"),
        ("warfarin 1 mg po q24h", "monitor", "below"),
        ("warfarin 2.5 mg po q24h", "monitor", "above"),
    ],
)
def test_an_order_outside_the_computed_range_is_a_finding(text: str, severity: str | None, side: str) -> None:
    found = _gene_findings(text, VKORC1=AA, CYP2C9="*1/*3")

    title = f"warfarin: the ordered dose is {side} the range computed from the genes"
    assert found == ([(severity, title)] if severity else [])


def _gene_findings(text: str, **calls: str) -> list[tuple[str, str]]:
    resources = record(age=60, problems=(), height=170, weight=70)
    document = order(resources, text, genes=genome(**calls) if calls else None)
    return [(f.severity, f.title) for f in document.findings if "computed from the genes" in f.title]


def test_an_order_above_a_guidelines_share_is_serious() -> None:
    found = _gene_findings("azathioprine 200 mg po q24h", TPMT="*1/*3A", NUDT15="*1/*3")

    assert [severity for severity, _ in found] == ["serious"]


def test_without_genes_an_order_is_not_held_against_them() -> None:
    assert _gene_findings("warfarin 10 mg po q24h") == []


def test_a_plan_that_starts_warfarin_starts_it_at_the_computed_dose() -> None:
    facts, warfarin = knowledge(), DrugId("warfarin")
    fibrillation = facts.indication("atrial-fibrillation-stroke-prevention")
    genes = genome(VKORC1=AA, CYP2C9="*1/*3")
    case = case_of(a_person(age=70), fibrillation, genome=genes, knowledge=facts, settings=settings())

    limits = screen(case, Proposal((), (), (warfarin,))).limits[warfarin]

    assert limits.start == 2
    assert any("IWPC pharmacogenetic algorithm" in case.ledger[EvidenceKey(key)].text for key in limits.reasons)


def test_in_atrial_fibrillation_the_computed_warfarin_start_is_told() -> None:
    resources = record(age=70, problems=("I48.91",), height=170, weight=70)

    document = advice(resources, "atrial-fibrillation-stroke-prevention", genes=genome(VKORC1=AA, CYP2C9="*1/*3"))

    (told,) = [f for f in document.findings if f.title.startswith("warfarin, should it be chosen")]
    assert "IWPC pharmacogenetic algorithm" in told.detail
    assert "orally once daily" in told.detail
