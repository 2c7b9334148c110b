"""A dose for an INR or a pressure: published doses by genotype, laws of the response, what INRs teach, what is said."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import genome
from patients import a_medicine, a_patient
from posologist.core.errors import InputError, KnowledgeError, ModelError
from posologist.core.evidence import Evidence
from posologist.core.patient import Source
from posologist.core.recommendation import cited_keys
from posologist.core.regimen import DoseEvent
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, RankedRegimen
from posologist.knowledge.effects import EFFECTS_FOLDER, EffectModel, load_effect, load_effects
from posologist.knowledge.load import load_knowledge
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.recommend.dose import parse_target
from posologist.recommend.dose_by_response import dose_by_response, is_response
from posologist.records.table import EventRow, LevelRow
from posologist.serve.cli import main
from posologist.twin.compartment import absorption, disposition
from posologist.twin.effect import curve, inr_course, inr_model_of, pressure_change, pressure_model
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.goals import levels_after
from posologist.twin.individual import individual
from posologist.twin.offers import EQUAL
from posologist.twin.response import inr_after, inr_people, joined, plan_of, settled_inr
from shared import shared_data

EFFECT = load_effect("warfarin-inr-hamberg-2010")
MODEL = joined(load_model(MODELS_FOLDER / "warfarin_hamberg2010.toml"), EFFECT)
PRESSURE = load_effect("systolic-pressure-song-2013")
START = datetime(2026, 10, 1, 18, tzinfo=UTC)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
SOURCE = Source(document="made.csv", place="line 2")
PLAIN = Settings(as_of=date(2026, 11, 20))
RANGE = "inr 2-3"
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
VKORC1 = ("-1639 GG", "-1639 AG", "-1639 AA")


def covariates(diplotype: str = "*1/*1", alleles: int = 1, age: float = 66.0, base: float = 1.13) -> dict[str, float]:
    counts = {f"gene_cyp2c9_star{n}": float(diplotype.split("/").count(f"*{n}")) for n in (1, 2, 3)}
    return {**counts, "vkorc1_a": float(alleles), "age": age, "inr_base": base}


def people(*etas: tuple[float, float], **told: Any) -> dict[str, np.ndarray]:
    return individual(MODEL, MODEL.typical(covariates(**told)), np.array(etas or [(0.0, 0.0)]))


def daily(*amounts: float) -> list[Record]:
    return [Record(24.0 * k, evid=DOSE, amt=amount, mdv=1) for k, amount in enumerate(amounts)]


def dose_for_inr(wanted: float, **told: Any) -> float:
    doses = np.linspace(0.05, 20.0, 4000)
    return float(doses[np.argmin(np.abs(settled_inr(EFFECT, people(**told), doses, 24.0) - wanted))])


# Published facts


@pytest.mark.parametrize("vkorc1", range(3))
@pytest.mark.parametrize("cyp2c9", CYP2C9)
def test_typical_doses_lie_in_the_ranges_of_the_labels_genotype_table(cyp2c9: str, vkorc1: int) -> None:
    """US label of warfarin, expected maintenance dose (mg/day), as reprinted in Cleve Clin J Med 2011;78:243, Table 2
    (PMC3351041). At 71 years, the model's reference age, for an INR of 2.5; ranges are left by at most 20 %.
    """
    high, middle, low = (5.0, 7.0), (3.0, 4.0), (0.5, 2.0)
    table = {
        0: dict(zip(CYP2C9, (high, high, middle, middle, middle, low), strict=True)),
        1: dict(zip(CYP2C9, (high, middle, middle, middle, low, low), strict=True)),
        2: dict(zip(CYP2C9, (middle, middle, low, low, low, low), strict=True)),
    }
    least, most = table[vkorc1][cyp2c9]

    found = dose_for_inr(2.5, diplotype=cyp2c9, alleles=vkorc1, age=71.0)

    assert 0.8 * least <= found <= 1.2 * most


def test_real_stable_doses_lie_about_the_models_and_scatter_as_it_says() -> None:
    """IWPC data (N Engl J Med 2009;360:753): stable doses of patients who took no part in this model."""
    ratios = []
    with gzip.open(shared_data("ml", "iwpc_warfarin", "iwpc_warfarin.csv.gz"), "rt", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            diplotype, alleles = row["CYP2C9 consensus"], row["VKORC1 -1639 consensus"].count("A")
            stable = row["Subject Reached Stable Dose of Warfarin"].startswith("1")
            known = diplotype in CYP2C9 and row["VKORC1 -1639 consensus"] and row["Age"][:1].isdigit()
            dose = float(row["Therapeutic Dose of Warfarin"] or "nan") / 7.0
            if stable and known and dose < 40:
                told = covariates(diplotype, alleles, age=int(row["Age"][0]) * 10.0 + 5.0)
                ratios.append((dose, MODEL.typical(told)))
    ec50, clearance = (np.array([typical[name] for _, typical in ratios]) for name in ("EC50", "CL"))
    doses = np.array([dose for dose, _ in ratios])
    inr = settled_inr(EFFECT, {**people(), "EC50": ec50, "CL": clearance}, doses, 24.0)
    away = np.log(doses / _dose_for(2.4, ec50, clearance))

    assert len(doses) > 2500
    assert np.exp(np.median(away)) == pytest.approx(0.93, abs=0.01)
    assert np.mean(np.abs(np.exp(-away) - 1.0) <= 0.2) == pytest.approx(0.40, abs=0.01)
    assert 0.34 < away.std() < 0.45
    assert np.median(inr) == pytest.approx(2.4, abs=0.2)


def _dose_for(wanted: float, ec50: np.ndarray, clearance: np.ndarray) -> np.ndarray:
    lost = (wanted - 1.13) / 20.0
    return (lost / (1.0 - lost)) ** (1.0 / 1.15) * ec50 * clearance * 24.0 / 0.5


def test_the_most_sensitive_genotype_needs_a_small_part_of_the_least_sensitive_ones_dose() -> None:
    assert dose_for_inr(2.5, diplotype="*3/*3", alleles=2, age=71.0) < 1.0
    assert dose_for_inr(2.5, diplotype="*1/*1", alleles=0, age=71.0) > 5.0


# Laws of the response


@given(
    amounts=st.lists(st.floats(0.0, 15.0), min_size=1, max_size=12), late=st.floats(0.0, 6.0),
    eta=st.tuples(st.floats(-1.5, 1.5), st.floats(-2.0, 2.0)), alleles=st.integers(0, 2),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_the_inr_by_weights_is_the_one_by_integration(
    amounts: list[float], late: float, eta: tuple[float, float], alleles: int
) -> None:
    parameters = people(eta, alleles=alleles, base=1.1)
    doses = [Record(24.0 * k + late * (k % 2), evid=DOSE, amt=a, mdv=1) for k, a in enumerate(amounts) if a > 0]
    times = np.array([0.0, 7.0, 30.0, 100.0, 24.0 * len(amounts) + 5.0, 500.0])
    body = disposition(parameters["CL"], parameters["V1"])
    level = curve(
        body, [DoseEvent(time_h=d.time, amount_mg=d.amt) for d in doses],
        absorbed=absorption(parameters["KA"], parameters["F"]),
    )  # fmt: skip

    found = inr_after(EFFECT, MODEL, parameters, doses, np.sort(times))

    oracle = inr_course(inr_model_of(EFFECT, parameters), level, np.sort(times), stops=[d.time for d in doses])
    np.testing.assert_allclose(found, oracle, rtol=2e-4)


def test_a_long_history_is_forgotten_and_the_settled_inr_is_reached() -> None:
    parameters = people((0.0, 0.0), (0.4, -0.5))
    found = inr_after(EFFECT, MODEL, parameters, daily(*[4.0] * 400), np.array([24.0 * 400]))

    np.testing.assert_allclose(found[:, 0], settled_inr(EFFECT, parameters, 4.0, 24.0), rtol=0.02)


def test_a_slow_patients_old_doses_still_count() -> None:
    slow, doses, at = people((0.0, 1.8)), daily(*[5.0] * 250), np.array([6000.0])

    kept = plan_of(inr_model_of(EFFECT, slow), doses, at).doses
    found, whole = (levels_after(MODEL, slow, given, at)[0, 0] for given in (kept, doses))

    assert len(kept) < len(doses)
    assert found == pytest.approx(whole, rel=1e-4)


@given(
    dose=st.floats(0.1, 15), more=st.floats(0, 10), eta=st.floats(-2, 2), age=st.floats(20, 95),
    diplotype=st.sampled_from(CYP2C9), alleles=st.integers(0, 2),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_higher_dose_never_lowers_the_inr(
    dose: float, more: float, eta: float, age: float, diplotype: str, alleles: int
) -> None:
    parameters = people((eta, 0.3), diplotype=diplotype, alleles=alleles, age=age)
    days = np.array([24.0, 100.0, 240.0])

    assert settled_inr(EFFECT, parameters, dose + more, 24.0)[0] >= settled_inr(EFFECT, parameters, dose, 24.0)[0]
    low, high = (inr_after(EFFECT, MODEL, parameters, daily(*[d] * 10), days) for d in (dose, dose + more))
    assert np.all(high >= low - 1e-12)


@given(age=st.floats(25, 90), wanted=st.floats(1.8, 3.5))
@settings(max_examples=10, deadline=None)
def test_each_slow_allele_and_each_a_allele_and_each_year_need_less(age: float, wanted: float) -> None:
    by_gene = [dose_for_inr(wanted, diplotype=d, age=age) for d in ("*1/*1", "*1/*2", "*1/*3", "*2/*3", "*3/*3")]
    by_target = [dose_for_inr(wanted, alleles=n, age=age) for n in range(3)]

    assert all(before > after for before, after in pairwise(by_gene))
    assert all(before > after for before, after in pairwise(by_target))
    assert dose_for_inr(wanted, age=age) > dose_for_inr(wanted, age=age + 5.0)


def test_more_inrs_do_not_widen_what_is_known_on_average() -> None:
    chance = np.random.default_rng(7)
    typical = covariates()
    doses, days = daily(*[4.0] * 20), (4.4, 7.4, 11.4, 18.4)
    widths: dict[int, list[float]] = {0: [], 1: [], 4: []}
    for _ in range(8):
        truth = people(tuple(chance.standard_normal(2) * np.sqrt(np.diag(MODEL.omega))))  # type: ignore[arg-type]
        seen = inr_after(EFFECT, MODEL, truth, doses, np.array(days) * 24.0)[0] * np.exp(
            0.2 * chance.standard_normal(4)
        )
        for n in widths:
            rows = [(d.time, 1, d) for d in doses]
            rows += [
                (24.0 * day, 0, Record(24.0 * day, dv=float(v))) for day, v in list(zip(days, seen, strict=True))[:n]
            ]
            records = tuple(
                Record(r.time, evid=r.evid, amt=r.amt, dv=r.dv, mdv=r.mdv, covariates=typical)
                for _, _, r in sorted(rows, key=lambda row: row[:2])
            )
            found = inr_people(EFFECT, MODEL, EventTable("p", records), typical, PLAIN)
            widths[n].append(float(np.std(np.log(found.parameters["EC50"]))))

    means = [float(np.mean(widths[n])) for n in (0, 1, 4)]
    assert all(before >= after for before, after in pairwise(means))
    assert means[-1] < 0.6 * means[0]


# The document


def given_doses(n: int = 20, amount: float = 5.0, drug: str = "warfarin") -> tuple[EventRow, ...]:
    return tuple(
        EventRow(at=START + timedelta(days=k), amount=amount, unit="mg", route="oral", drug=drug, source=SOURCE)
        for k in range(n)
    )


def inrs(*rows: tuple[float, float], unit: str = "1", analyte: str = "INR") -> tuple[LevelRow, ...]:
    return tuple(
        LevelRow(at=START + timedelta(days=day), value=value, unit=unit, analyte=analyte, source=SOURCE)
        for day, value in rows
    )


def listed(document: DoseDocument) -> tuple[RankedRegimen, ...]:
    """The regimens of a document, ranked or (facts behind them being unverified) listed."""
    return document.regimens or tuple(row for row in document.unranked)


def answer(
    drug: str = "warfarin", target: str = RANGE, *, genes: dict[str, str] | None = None, who: Any = None, **more: Any
) -> DoseDocument:
    called = {"CYP2C9": "*1/*1", "VKORC1": "-1639 AG"} if genes is None else genes
    return dose_by_response(
        who or a_patient(age=66, weight=80.0, height=178.0, creatinine=1.0, conditions=("atrial_fibrillation",)),
        drug, target=target, genome=genome(**called) if called else None, knowledge=load_knowledge(),
        settings=PLAIN, **{"now": NOW, **more},
    )  # fmt: skip


def per_day(document: DoseDocument) -> float:
    text = listed(document)[0].text if listed(document) else document.binding_constraint.nearest_regimen  # type: ignore[union-attr]
    return float(str(text).split()[0])


def titles(document: DoseDocument) -> set[str]:
    return {finding.title for finding in document.findings}


def test_without_inrs_the_answer_is_the_population_and_says_so() -> None:
    document = answer()
    typical = MODEL.typical(covariates(age=66.0))

    assert document.individual is None
    assert "Population answer" in titles(document)
    assert document.parameters["EC50"].value == pytest.approx(typical["EC50"], rel=0.01)
    assert document.parameters["EC50"].high / document.parameters["EC50"].low > 2
    assert document.computed is not None


def test_regimens_are_ranked_with_the_chance_of_the_range_and_of_harm() -> None:
    document = answer()

    assert listed(document)
    for row in listed(document):
        assert row.target_attainment is not None
        assert row.toxic_probability is not None
        assert 2.0 <= row.exposure["inr"].value <= 3.0
        assert row.toxic_probability.value < PLAIN.max_toxic_probability
    by_dose = sorted(listed(document), key=lambda row: float(row.text.split()[0]))
    harms = [row.toxic_probability.value for row in by_dose if row.toxic_probability]
    assert harms == sorted(harms)
    assert any("above 4" in said.text for said in document.assumptions)


def test_the_expected_course_starts_at_the_baseline_and_rises_with_a_band() -> None:
    course = answer(levels=inrs((-2.0, 1.2)), events=given_doses(1), now=START + timedelta(hours=1)).course["inr"]
    first = answer(levels=inrs((-2.0, 1.2))).course["inr"]

    assert (len(first.x), first.x_unit, first.y[0]) == (15, "d", 1.2)
    assert all(a <= b + 1e-9 for a, b in pairwise(first.y))
    assert all(low <= mid <= high for low, mid, high in zip(first.low, first.y, first.high, strict=True))
    assert course.y[0] > 1.2


def test_high_inrs_lower_the_dose_and_low_ones_raise_it() -> None:
    rows = ((6.6, 2.0), (12.6, 2.4), (19.6, 2.5))
    sensitive, usual, resistant = (
        answer(events=given_doses(), levels=inrs(*((day, value * factor) for day, value in rows)))
        for factor in (1.7, 1.0, 0.6)
    )

    assert per_day(sensitive) < per_day(usual) < per_day(resistant)
    assert sensitive.parameters["EC50"].value < usual.parameters["EC50"].value < resistant.parameters["EC50"].value
    assert sensitive.individual is not None
    assert sensitive.individual.converged
    assert sensitive.individual.effective_sample_size >= 200
    assert set(sensitive.individual.eta) == {"ETA1", "ETA2"}
    assert [level.observed.value for level in usual.levels] == [2.0, 2.4, 2.5]


def test_inrs_of_a_known_patient_give_that_patients_dose() -> None:
    truth = people((-0.7, 0.4))
    days = np.array([5.6, 9.6, 14.6, 19.6])
    seen = inr_after(EFFECT, MODEL, truth, daily(*[5.0] * 20), days * 24.0)[0]
    document = answer(events=given_doses(), levels=inrs(*zip(days, seen.round(2), strict=True)))

    assert document.parameters["EC50"].low < truth["EC50"][0] < document.parameters["EC50"].high
    settled = settled_inr(EFFECT, truth, per_day(document), 24.0)[0]
    assert 2.0 <= settled <= 3.0


def test_an_inr_that_does_not_fit_is_flagged() -> None:
    calm = ((5.6, 1.8), (9.6, 2.1), (14.6, 2.3))
    wild = answer(events=given_doses(), levels=inrs(*calm, (15.6, 9.0)))

    assert "An INR does not fit" in titles(wild)
    assert "An INR does not fit" not in titles(answer(events=given_doses(), levels=inrs(*calm)))


def test_an_inr_that_is_dangerous_now_is_the_first_thing_said() -> None:
    rows = ((5.6, 2.4), (9.6, 3.4))
    calm, high = (answer(events=given_doses(), levels=inrs(*rows, (14.6, last))) for last in (3.6, 4.6))

    assert high.findings[0].title == "The INR is too high now"
    assert "The INR is too high now" not in titles(calm)


def test_the_unit_of_an_inr_does_not_change_the_answer() -> None:
    mine, other = (answer(events=given_doses(), levels=inrs((9.6, 2.6), unit=unit)) for unit in ("1", "{INR}"))

    assert listed(mine)[0].text == listed(other)[0].text
    assert mine.parameters["EC50"].value == other.parameters["EC50"].value


def test_the_baseline_is_the_inr_before_the_first_dose_else_the_records_else_the_usual_one() -> None:
    untreated = a_patient(age=66, conditions=("atrial_fibrillation",), inr=1.3)
    treated = a_patient(age=66, conditions=("atrial_fibrillation",), inr=1.3, medicines=[a_medicine("warfarin", 5.0)])

    assert answer().course["inr"].y[0] == 1.13
    assert any("inr_base" in said.text and "1.13 1 used" in said.text for said in answer().assumptions)
    assert answer(who=untreated).course["inr"].y[0] == 1.3
    assert answer(who=untreated, levels=inrs((-1.0, 1.1))).course["inr"].y[0] == 1.1
    assert answer(who=treated).course["inr"].y[0] == 1.13
    assert any("not used" in said.text for said in answer(who=treated).assumptions)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"levels": inrs((-1.0, 2.6)), "events": given_doses()}, "no baseline"),
        ({"levels": inrs((5.0, 2.6))}, "no baseline"),
        ({"levels": inrs((5.0, 0.1)), "events": given_doses()}, "not possible"),
        ({"levels": inrs((5.0, 45.0)), "events": given_doses()}, "not possible"),
        ({"levels": inrs((5.0, 2.0), unit="mg/L"), "events": given_doses()}, "no unit"),
        ({"levels": inrs((5.0, 2.0), analyte="warfarin"), "events": given_doses()}, "of warfarin"),
        ({"levels": inrs((50.0, 2.0)), "events": given_doses(), "now": START + timedelta(days=30)}, "future"),
        ({"events": given_doses(), "now": START}, "future"),
        ({"events": tuple(r.model_copy(update={"route": "iv"}) for r in given_doses())}, "absorbed"),
        ({"target": "inr 2-3 mg/L"}, "do not convert"),
        ({"target": "inr 3-2"}, "not below"),
        ({"target": "inr -3"}, "one bound"),
        ({"target": "inr 2-"}, "one bound"),
        ({"genes": {}}, "CYP2C9"),
        ({"genes": {"CYP2C9": "*1/*1"}}, "VKORC1"),
        ({"genes": {"CYP2C9": "*1/*8", "VKORC1": "-1639 AG"}}, "CYP2C9"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_with_the_word_that_helps(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as refused:
        answer(**wrong)
    assert word in str(refused.value)


def test_a_contraindication_and_a_missing_dose_stop_the_answer() -> None:
    with pytest.raises(ModelError, match="contraindicated"):
        answer(who=a_patient(age=66, conditions=("atrial_fibrillation", "bleeding")))
    with pytest.raises(ModelError, match="complete dose"):
        answer(who=a_patient(age=12, conditions=("atrial_fibrillation",)))


def test_what_the_model_does_not_know_is_said() -> None:
    document = answer()
    open_points = " ".join(entry.what for entry in document.not_checked)

    assert "diet" in open_points
    assert "other medicines" in open_points
    assert "The regimens rest on unverified facts" in titles(document)
    assert any("0.34 (EC50)" in said.text for said in document.assumptions)


@pytest.mark.parametrize("medicine", ["amiodarone", "fluconazole", "rifampin"])
def test_beside_a_medicine_that_changes_the_enzyme_only_a_measured_inr_ranks(medicine: str) -> None:
    who = a_patient(age=66, conditions=("atrial_fibrillation",), medicines=[a_medicine(medicine, 200.0)])
    before, after = answer(who=who), answer(who=who, events=given_doses(), levels=inrs((9.6, 2.6)))

    assert not listed(before)
    assert not before.course
    assert before.binding_constraint is not None
    assert medicine in before.binding_constraint.what
    assert listed(after)
    assert "CYP2C9 is changed by a medicine" in titles(before) & titles(after)
    assert "CYP2C9 is changed by a medicine" not in titles(answer())


def test_a_range_that_no_dose_can_reach_safely_names_the_nearest() -> None:
    document = answer(target="inr 3.6-4.4")

    assert not listed(document)
    assert document.binding_constraint is not None
    assert "harm" in document.binding_constraint.what
    assert document.binding_constraint.nearest_regimen
    assert "No regimen qualifies" in titles(document)


def test_a_drug_that_is_not_taken_yet_is_told_how_it_starts() -> None:
    taken = a_patient(age=66, conditions=("atrial_fibrillation",), medicines=[a_medicine("warfarin", 5.0)])

    assert "Maintenance, not the first dose" in titles(answer())
    assert answer().start
    assert pressed(160.0).start == "5 mg orally once daily"
    assert answer(events=given_doses(), levels=inrs((9.6, 2.6))).start is None
    assert answer(who=taken).start is None


def test_of_equal_chances_the_smaller_amount_comes_first() -> None:
    rows = listed(pressed(152.0, target="systolic 130-145 mmHg"))
    shares = [row.target_attainment.value for row in rows]

    assert max(shares) - min(shares) < EQUAL
    assert [float(row.text.split()[0]) for row in rows] == sorted(float(row.text.split()[0]) for row in rows)


def test_doses_before_the_first_row_are_asked_for() -> None:
    def told(since: date) -> set[str]:
        medicine = a_medicine("warfarin", 5.0, start=since)
        who = a_patient(age=66, conditions=("atrial_fibrillation",), medicines=[medicine])
        return titles(answer(who=who, events=given_doses(), levels=inrs((9.6, 2.6))))

    assert "Earlier doses are not known" in told(date(2026, 8, 1))
    assert "Earlier doses are not known" not in told(START.date())


def test_the_order_of_the_inrs_does_not_matter() -> None:
    rows = inrs((5.6, 1.9), (9.6, 2.6), (14.6, 2.4))
    forward, backward = (answer(events=given_doses(), levels=levels) for levels in (rows, rows[::-1]))

    assert listed(forward) == listed(backward)
    assert forward.levels == backward.levels


def test_the_label_says_when_to_measure() -> None:
    assert "Measure the INR" in titles(answer())


def test_rows_of_another_drug_are_left_out() -> None:
    mixed = (*given_doses(), *given_doses(3, drug="amlodipine"), *given_doses(3, drug="moonlight"))
    document = answer(events=mixed, levels=inrs((9.6, 2.6)))

    assert "Rows of other drugs" in titles(document)
    assert listed(document) == listed(answer(events=given_doses(), levels=inrs((9.6, 2.6))))


@pytest.mark.parametrize("which", ["inr", "learned", "pressure", "treated"])
def test_every_key_leads_to_a_leaf(which: str) -> None:
    document = {
        "inr": lambda: answer(),
        "learned": lambda: answer(events=given_doses(), levels=inrs((9.6, 2.6))),
        "pressure": lambda: pressed(150.0),
        "treated": lambda: pressed(150.0, a_medicine("amlodipine", 5.0)),
    }[which]()

    assert set(cited_keys(document)) <= set(document.evidence)
    numbers = [measure for row in listed(document) for measure in row.exposure.values()]
    for estimate in (*document.parameters.values(), *numbers, *document.course.values()):
        assert leaves(estimate.because, document.evidence) >= {"patient", "model"}


def leaves(keys: Any, evidence: dict[str, Evidence]) -> set[str]:
    found = set()
    for key in keys:
        entry = evidence[key]
        found |= leaves(entry.because, evidence) if entry.because else {entry.kind}
    return found


# Pressure


def pressed(
    now: float, *medicines: Any, target: str = "systolic 125-149 mmHg", drug: str = "amlodipine", **more: Any
) -> Any:
    told = {"age": 60, "weight": 80.0, "height": 178.0, "creatinine": 1.0, "sbp": now, **more}
    return answer(drug, target, genes={}, who=a_patient(medicines=medicines, **told))


def alone(exposure: float, *, now: float, weight: float = 80.0) -> float:
    told = {"sbp": now, "age": 60.0, "weight": weight, "female": 0.0, "black": 0.0, "hispanic": 0.0, "study": 1.0}
    return float(pressure_change(pressure_model(PRESSURE, told), {"amlodipine": exposure}).alone["amlodipine"])


def test_the_expected_pressure_is_the_present_one_and_the_change_by_the_drug() -> None:
    document = pressed(160.0)
    clearance = 23.4 * (60 / 50.9) ** -0.349

    assert listed(document)
    for row in listed(document):
        dose = float(row.text.split()[0])
        assert row.exposure["systolic"].value == pytest.approx(
            160.0 + alone(1000 * dose / clearance, now=160.0), abs=0.8
        )
        assert row.target_attainment is not None
        assert row.toxic_probability is None
    assert listed(document)[0].exposure["systolic"].high - listed(document)[0].exposure["systolic"].low > 2 * 14.0


def test_the_present_dose_of_the_drug_leaves_the_pressure_where_it_is() -> None:
    document = pressed(140.0, a_medicine("amlodipine", 5.0), target="systolic 100-200 mmHg")
    by_dose = {float(row.text.split()[0]): row for row in listed(document)}

    assert by_dose[5.0].exposure["systolic"].value == pytest.approx(140.0)
    assert by_dose[10.0].exposure["systolic"].value < 140.0 < by_dose[2.5].exposure["systolic"].value
    assert all(row.target_attainment is None and row.toxic_probability is None for row in listed(document))
    assert any(entry.what.startswith("probability") for entry in document.not_checked)
    assert any("not known" in said.text for said in document.assumptions)


def test_a_higher_dose_never_raises_the_pressure() -> None:
    for now in (125.0, 150.0, 185.0):
        rows = listed(pressed(now, target="systolic 60-250 mmHg"))
        values = [row.exposure["systolic"].value for row in sorted(rows, key=lambda row: float(row.text.split()[0]))]
        assert all(before >= after for before, after in pairwise(values))


def test_other_medicines_of_the_pressure_take_the_probability_away_and_are_named() -> None:
    document = pressed(160.0, a_medicine("hydrochlorothiazide", 25.0))

    assert all(row.target_attainment is None for row in listed(document))
    assert any("hydrochlorothiazide" in entry.what for entry in document.not_checked)


def test_a_pressure_out_of_reach_names_what_binds_and_no_harm_that_is_not_known() -> None:
    document = pressed(160.0, target="systolic 110-120 mmHg")

    assert not listed(document)
    assert document.binding_constraint is not None
    assert "maximum dose" in document.binding_constraint.what
    assert not any("bound of harm" in finding.detail for finding in document.findings)


def test_measured_pressures_teach_nothing_and_that_is_said() -> None:
    rows = inrs((1.0, 140.0), unit="mm[Hg]", analyte="sbp")
    who = a_patient(age=60, weight=80.0, sbp=160.0)

    assert "Measurements not used" in titles(
        answer("amlodipine", "systolic 130-150 mmHg", genes={}, who=who, levels=rows)
    )


@pytest.mark.parametrize(
    ("ask", "kind", "word"),
    [
        (lambda: pressed(150.0, a_medicine("amlodipine")), InputError, "not stated"),
        (
            lambda: answer("amlodipine", "systolic 120-130 mmHg", who=a_patient(age=60, weight=80.0)),
            InputError,
            "record",
        ),
        (lambda: pressed(150.0, drug="hydrochlorothiazide"), ModelError, "no kinetic model"),
        (lambda: pressed(150.0, drug="lisinopril"), ModelError, "no effect model"),
        (lambda: answer("warfarin", "systolic 120-130 mmHg"), ModelError, "no effect model"),
        (lambda: answer("amlodipine", RANGE), ModelError, "no effect model"),
        (lambda: pressed(150.0, target="systolic 120-130 mg/L"), InputError, "do not convert"),
        (lambda: pressed(150.0, sex=None), InputError, "female"),
        (lambda: pressed(150.0, target="systolic -130 mmHg"), InputError, "one bound"),
    ],
)
def test_a_pressure_that_cannot_be_told_says_why(ask: Callable[[], Any], kind: type[Exception], word: str) -> None:
    with pytest.raises(kind) as refused:
        ask()
    assert word in str(refused.value)


# Targets, files, command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inr 2-3", ("inr", 2.0, 3.0, "1")),
        ("INR 2.5 - 3.5 1", ("inr", 2.5, 3.5, "1")),
        ("inr 2-13", ("inr", 2.0, 13.0, "1")),
        ("systolic 120-130 mmHg", ("systolic", 120.0, 130.0, "mmHg")),
        ("auc24 400-600 h.mg/L", ("auc24", 400.0, 600.0, "h.mg/L")),
        ("trough -20 mg/L", ("trough", None, 20.0, "mg/L")),
        ("time_above_3 50- %", ("time_above_3", 50.0, None, "%")),
    ],
)
def test_a_target_is_read(text: str, expected: tuple[Any, ...]) -> None:
    target = parse_target(text)

    assert (target.measure, target.low, target.high, target.unit) == expected
    assert is_response(text) == (expected[0] in ("inr", "systolic"))


@pytest.mark.parametrize("text", ["auc24 400-600", "inr", "inr 3-2", "trough 1..2-3 mg/L", "trough mg/L"])
def test_a_target_without_unit_or_bounds_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_target(text)
    assert not is_response(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{ eta = "ETA2", on = "V1" }', '{ eta = "ETA2", on = "KA" }'),
        ("V1 = 0.589", "V1 = -0.589"),
        ('convention = "sd"', 'convention = "guess"'),
        ('source = "coumadin-label-bleeding", status', 'source = "nowhere", status'),
    ],
)
def test_an_effect_file_whose_variability_or_bound_has_no_ground_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (EFFECTS_FOLDER / "warfarin-inr-hamberg-2010.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "warfarin-inr-hamberg-2010.toml").write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(KnowledgeError):
        load_effect("warfarin-inr-hamberg-2010", tmp_path)


@pytest.mark.parametrize("model", [m for m in load_effects() if m.kinetics], ids=lambda model: model.id)
def test_an_effect_model_names_kinetics_of_one_of_its_drugs_and_what_varies_is_there(model: EffectModel) -> None:
    kinetics = load_model(MODELS_FOLDER / f"{model.kinetics}.toml")
    capitals = {name for name in (*kinetics.equations, *model.equations) if name.isupper()}

    assert kinetics.drug in model.drugs
    assert {effect.on for effect in model.random} <= capitals | {"CHANGE"}


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[str, str, int]]:
    (tmp_path / "patient.csv").write_text("id,birth_date,sex\nw1,1960-02-01,male\n", encoding="utf-8")
    (tmp_path / "observations.csv").write_text(
        "key,value,unit,time\nsbp,158,mm[Hg],2026-11-01T08:00:00Z\nweight,80,kg,2026-11-01T08:00:00Z\n",
        encoding="utf-8",
    )
    (tmp_path / "medications.csv").write_text("text,dose,unit,per_day,start\n", encoding="utf-8")
    (tmp_path / "calls.tsv").write_text("CYP2C9\t*1/*3\nVKORC1\t-1639 AG\n", encoding="utf-8")
    doses = "".join(f"2026-11-{day:02d}T18:00:00Z,3,mg,oral,warfarin\n" for day in range(1, 15))
    (tmp_path / "events.csv").write_text(f"time,amount,unit,route,drug\n{doses}", encoding="utf-8")
    (tmp_path / "levels.csv").write_text(
        "time,value,unit,analyte\n2026-11-08T08:00:00Z,2.2,ratio,INR\n2026-11-14T08:00:00Z,2.9,1,INR\n",
        encoding="utf-8",
    )

    def call(*arguments: str) -> tuple[str, str, int]:
        told = [a if not a.endswith((".csv", ".tsv")) else str(tmp_path / a) for a in arguments]
        line = ["posologist", *told, "--patient", str(tmp_path), "--as-of", "2026-11-20"]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        read = capsys.readouterr()
        return read.out, read.err, int(ended.value.code or 0)

    return call


def test_the_command_learns_from_inrs_and_prints_the_course(run: Callable[..., tuple[str, str, int]]) -> None:
    asked = ("dose", "warfarin", "--target", RANGE, "--outside-calls", "calls.tsv")
    shown, _, code = run(*asked, "--events", "events.csv", "--levels", "levels.csv")
    written, _, coded = run(*asked, "--events", "events.csv", "--levels", "levels.csv", "--json")

    document = json.loads(written)
    assert (code, coded) == (0, 0)
    assert "Expected inr" in shown
    assert document["unranked"][0]["text"] in shown
    assert document["individual"]["effective_sample_size"] >= 200
    assert len(document["levels"]) == 2
    assert document["course"]["inr"]["x_unit"] == "d"


def test_the_command_answers_a_pressure_and_refuses_what_it_cannot_read(
    run: Callable[..., tuple[str, str, int]],
) -> None:
    shown, _, code = run("dose", "amlodipine", "--target", "systolic 130-150 mmHg")
    _, told, refused = run("dose", "warfarin", "--target", RANGE)

    assert code == 0
    assert "systolic" in shown
    assert refused == 2
    assert "CYP2C9" in told
