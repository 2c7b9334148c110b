"""Indications: they load, compile, never merge guidelines, and their numbers do what they claim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import rtoml

from posologist.core.indication import EffectRule, Indication
from posologist.knowledge import scores as scores_module
from posologist.knowledge.expression import UNKNOWN, expression
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.knowledge.scores import Given

FOLDER = Path(scores_module.__file__).parent / "data" / "indications"
IDS = sorted(path.stem for path in FOLDER.glob("*.toml"))
DERIVED = {
    "age", "sex", "black", "pregnant", "breastfeeding", "dialysis", "egfr", "crcl", "baseline", "dose_per_day",
    "score2_10y", "starting",
}  # fmt: skip


@lru_cache
def knowledge() -> Knowledge:
    return load_knowledge()


@lru_cache
def indication(name: str) -> Indication:
    table = rtoml.load(FOLDER / f"{name}.toml")
    table.pop("citations", None)  # kept apart by the loader
    return Indication.model_validate(table)


def whens(i: Indication) -> Iterator[str]:
    for rules in (
        i.treat, i.targets, i.candidates, i.pairs, i.steps, i.preferences, i.definitions, i.work_up, i.baselines,
        i.effects, i.modifiers, i.harms,
    ):  # fmt: skip
        yield from (rule.when for rule in rules)
    yield from (rule.condition for rule in i.monitoring)


def formulas(i: Indication) -> Iterator[str]:
    yield i.benefit
    yield from (baseline.formula for baseline in i.baselines)
    yield from (text for modifier in i.modifiers for text in (modifier.factor, modifier.shift))
    yield from (harm.percent for harm in i.harms if harm.percent)


def abouts(i: Indication) -> Iterator[str]:
    for rules in (i.candidates, i.preferences, i.effects, i.modifiers, i.harms):
        for rule in rules:
            yield from rule.about
    for pair in i.pairs:
        yield from (*pair.first, *pair.second)
    yield from (standard.drug for standard in i.standard_doses)


def test_the_six_indications_are_there() -> None:
    assert IDS == [
        "acs-pci-antiplatelet", "atrial-fibrillation-stroke-prevention", "depression", "dyslipidaemia",
        "hypertension", "type-2-diabetes",
    ]  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_every_condition_and_formula_compiles(name: str) -> None:
    i = indication(name)

    for text in (*whens(i), *formulas(i)):
        expression(text)


@pytest.mark.parametrize("name", IDS)
def test_every_name_in_an_expression_can_be_known(name: str) -> None:
    i, k = indication(name), knowledge()
    facts = DERIVED | set(k.codes.analytes) | set(k.scores) | {c.name for c in i.constants}
    facts |= {f"delta_{m.key}" for m in i.measures}
    groups = set(k.drugs) | set(k.classes) | set().union(*(d.groups for d in k.drugs.values()))

    for text in (*whens(i), *formulas(i)):
        compiled = expression(text)
        assert compiled.names <= facts, f"{text}: {sorted(compiled.names - facts)}"
        for function, arguments in compiled.queries:
            known = {"dx": set(k.codes.conditions), "on": groups}.get(function)
            assert known is None or arguments[0] in known, f"{text}: {function}({arguments[0]}) is not known"


@pytest.mark.parametrize("name", IDS)
def test_every_group_reaches_a_drug(name: str) -> None:
    assert [about for about in abouts(indication(name)) if not knowledge().members.get(about)] == []


@pytest.mark.parametrize("name", IDS)
def test_every_source_is_a_citation(name: str) -> None:
    def sources(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("source", "spread_source") and inner:
                    yield inner
                else:
                    yield from sources(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                yield from sources(inner)

    assert set(sources(indication(name).model_dump())) <= {str(key) for key in knowledge().citations}


@pytest.mark.parametrize("name", IDS)
def test_every_rule_belongs_to_one_guideline_of_the_file(name: str) -> None:
    i = indication(name)
    keys = {guideline.key for guideline in i.guidelines}

    for rules in (i.treat, i.targets, i.candidates, i.pairs, i.steps, i.definitions, i.work_up):
        assert {rule.guideline for rule in rules} <= keys
    assert {rule.guideline for rule in i.candidates} == keys
    assert {rule.guideline for rule in i.targets} == keys


@pytest.mark.parametrize("name", IDS)
def test_every_candidate_on_the_first_lines_has_an_effect_or_is_an_add_on(name: str) -> None:
    i, k = indication(name), knowledge()
    reached = {drug for rule in i.effects for about in rule.about for drug in k.members[about]}

    for rule in i.candidates:
        if rule.alone and rule.line <= 2:
            drugs = {drug for about in rule.about for drug in k.members[about] if k.drugs[drug].depth == "rankable"}
            assert drugs <= reached, f"{rule.text}: {sorted(drugs - reached)}"


@pytest.mark.parametrize("name", IDS)
def test_every_harm_has_a_weight_and_every_weight_a_harm(name: str) -> None:
    i = indication(name)

    assert {harm.event for harm in i.harms} == {weight.event for weight in i.weights}
    for weight in i.weights:
        assert weight.weight is None or (weight.source and weight.status and 0 < weight.weight <= 2)


@pytest.mark.parametrize("name", IDS)
def test_a_harm_that_counts_has_a_size(name: str) -> None:
    i = indication(name)
    counted = {weight.event for weight in i.weights if weight.weight is not None}

    assert all(harm.percent or harm.points for harm in i.harms if harm.event in counted)


@pytest.mark.parametrize("name", IDS)
def test_benefit_needs_only_changes_baseline_and_constants_and_is_nought_without_change(name: str) -> None:
    i = indication(name)
    allowed = {f"delta_{m.key}" for m in i.measures} | {"baseline"} | {c.name for c in i.constants}
    facts: dict[str, Any] = {c.name: c.value for c in i.constants} | {"baseline": 0.2}
    formula = expression(i.benefit)

    assert formula.names <= allowed
    assert formula.value(Given(facts | {f"delta_{m.key}": 0.0 for m in i.measures})) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", IDS)
def test_the_last_baseline_needs_no_laboratory_value(name: str) -> None:
    facts = {"cha2ds2_vasc": 4.0}

    values = [expression(b.formula).value(Given(facts)) for b in indication(name).baselines]

    assert any(v is not UNKNOWN and 0 < v < 1 for v in values)


@pytest.mark.parametrize("name", IDS)
def test_points_are_ordered_and_lie_in_their_intervals(name: str) -> None:
    i = indication(name)

    for rule in (*i.effects, *i.harms):
        doses = [point.dose for point in rule.points]
        assert doses == sorted(doses)
        for point in rule.points:
            if point.low is not None and point.high is not None:
                assert point.low <= point.value <= point.high
    for constant in i.constants:
        if constant.low is not None and constant.high is not None:
            assert constant.low <= constant.value <= constant.high


@pytest.mark.parametrize("name", IDS)
def test_statement_ids_are_unique_and_carry_the_indication(name: str) -> None:
    ids = [statement.id for statement in indication(name).preferences]

    assert len(ids) == len(set(ids))
    assert all(statement.startswith(f"{name}.preference.") for statement in ids)


def test_no_start_joins_two_renin_angiotensin_blockers() -> None:
    k = knowledge()
    blockers = {"ACE inhibitor", "ARB", "ARNI", "direct renin inhibitor", "RAAS blocker"}

    for name in IDS:
        for pair in indication(name).pairs:
            first = set().union(*(k.members[about] for about in pair.first))
            second = set().union(*(k.members[about] for about in pair.second))
            kinds = [any(k.drugs[d].groups & blockers for d in side) for side in (first, second)]
            assert not all(kinds), pair.text


def test_the_two_pressure_targets_stay_apart() -> None:
    def target(guideline: str, measure: str, **facts: Any) -> tuple[float | None, float | None]:
        rule = next(
            t for t in indication("hypertension").targets
            if t.guideline == guideline and t.measure == measure
            and expression(t.when).match(Given(facts)).truth is True
        )  # fmt: skip
        return rule.low, rule.high

    plain: dict[str, Any] = {
        "pregnant": False, "age": 60, "dx(orthostatic_hypotension)": False, "dx(cvd)": False, "dx(diabetes)": False,
        "dx(ckd)": False, "prevent_total_cvd_10y": 0.05,
    }  # fmt: skip

    assert target("US25", "sbp", **plain) == (None, 130)
    assert target("ESC24", "sbp", **plain) == (120, 129)
    assert target("US25", "sbp", **plain | {"pregnant": True}) == (None, 140)
    assert target("ESC24", "sbp", **plain | {"age": 88}) == (None, 140)


def test_two_drugs_start_at_140_over_90_only() -> None:
    for pair in indication("hypertension").pairs:
        low_ejection = pair.when.endswith("and dx(heart_failure_reduced_ef)")
        facts = {
            "age": 60, "dx(orthostatic_hypotension)": False, "dx(heart_failure_reduced_ef)": low_ejection,
            "dx(myocardial_infarction)": True,
        }  # fmt: skip
        assert expression(pair.when).match(Given(facts | {"sbp": 138, "dbp": 88})).truth is False
        assert expression(pair.when).match(Given(facts | {"sbp": 138, "dbp": 92})).truth is True


def test_ten_mmhg_at_a_risk_of_one_fifth_avoid_forty_events_in_a_thousand() -> None:
    i = indication("hypertension")

    value = expression(i.benefit).value(Given({"rr10": 0.80, "baseline": 0.2, "delta_sbp": -10.0}))

    assert value == pytest.approx(40.0)


def test_doubling_adds_one_and_a_half_mmhg_and_half_for_beta_blockers() -> None:
    def systolic(about: str) -> EffectRule:
        return next(e for e in indication("hypertension").effects if e.measure == "sbp" and about in e.about)

    for about, gain in (("ACE inhibitor", 1.5), ("ARB", 1.5), ("calcium channel blocker", 1.5), ("beta-blocker", 0.5)):
        half, standard, double = (point.value for point in systolic(about).points)
        assert half - standard == pytest.approx(gain)
        assert standard - double == pytest.approx(gain)


def test_poor_metabolisers_on_metoprolol_have_more_bradycardia_and_a_slow_heart_has_it_for_certain() -> None:
    harms = [h for h in indication("hypertension").harms if h.event == "bradycardia"]
    poor: dict[str, Any] = {"gene(CYP2D6)": "Poor Metabolizer", "heart_rate": 62, "dx(bradycardia)": False}
    poor |= {"dx(severe_bradycardia)": False}

    def percent(drug: str, facts: dict[str, Any]) -> float:
        groups = knowledge().drugs[next(d for d in knowledge().drugs if d == drug)].groups
        reaching = sorted((h for h in harms if groups & set(h.about)), key=lambda h: drug not in h.about)
        rule = next(h for h in reaching if expression(h.when).match(Given(facts)).truth is True)
        return float(expression(rule.percent).value(Given(facts)))

    assert percent("metoprolol", poor | {"gene(CYP2D6)": "Normal Metabolizer"}) == pytest.approx(3.8)
    assert percent("metoprolol", poor) == pytest.approx(13.23, abs=0.01)
    assert percent("metoprolol", poor | {"heart_rate": 46}) == 100
    assert percent("atenolol", poor) == pytest.approx(3.8)


def test_pregnancy_rules_out_what_harms_the_fetus_and_favours_labetalol_and_nifedipine() -> None:
    k = knowledge()
    acts: dict[str, set[str]] = {}
    for statement in indication("hypertension").preferences:
        if expression(statement.when).match(Given({"pregnant": True})).truth is True:
            for about in statement.about:
                for drug in k.members[about]:
                    acts.setdefault(statement.action, set()).add(drug)

    assert {"lisinopril", "losartan", "aliskiren", "spironolactone", "atenolol"} <= acts["contraindicated"]
    assert acts["prefer"] >= {"labetalol", "nifedipine"}
    assert not acts["prefer"] & acts["contraindicated"]


def test_clopidogrel_loses_its_effect_in_carriers_of_lost_function() -> None:
    i = indication("acs-pci-antiplatelet")
    (modifier,) = i.modifiers
    shift = {
        phenotype: expression(modifier.shift).value(Given({}))
        if expression(modifier.when).match(Given({"gene(CYP2C19)": phenotype})).truth else 0.0
        for phenotype in ("Normal Metabolizer", "Intermediate Metabolizer", "Poor Metabolizer")
    }  # fmt: skip

    assert shift["Normal Metabolizer"] == 0
    assert shift["Intermediate Metabolizer"] == shift["Poor Metabolizer"] == pytest.approx(math.log(1.57))


def test_unknown_genotype_changes_nothing() -> None:
    for name in IDS:
        for rule in (*indication(name).modifiers, *indication(name).harms):
            if "gene(" in rule.when:
                assert expression(rule.when).match(Given({})).truth is None


def test_statin_effect_is_a_share_of_the_patients_own_cholesterol() -> None:
    i = indication("dyslipidaemia")
    facts: dict[str, Any] = {c.name: c.value for c in i.constants} | {"baseline": 0.2, "ldl": 160.0}
    fall = -49 * float(expression(i.modifiers[0].factor).value(Given(facts)))

    benefit = expression(i.benefit).value(Given(facts | {"delta_ldl": fall}))

    assert fall == pytest.approx(-78.4)
    assert benefit == pytest.approx(1000 * 0.2 * (1 - 0.78 ** (78.4 / 38.67)))


def test_the_stated_benefit_of_statins_is_reproduced_by_the_derived_rates() -> None:
    i = indication("dyslipidaemia")
    ratio = next(c.value for c in i.constants if c.name == "rr_mmol")
    rates = [b.formula for b in i.baselines if "exp(" in b.formula]
    after_ten = [float(expression(formula).value(Given({}))) for formula in rates]

    for risk, events in zip(after_ten, (1000, 500), strict=True):
        after_five = 1 - math.sqrt(1 - risk)
        assert 10_000 * after_five * (1 - ratio**2) == pytest.approx(events, rel=0.01)


def test_anticoagulation_avoids_more_strokes_at_a_higher_score() -> None:
    i = indication("atrial-fibrillation-stroke-prevention")
    rule = i.baselines[-1]

    risks = [float(expression(rule.formula).value(Given({"cha2ds2_vasc": float(s)}))) for s in range(7)]

    assert risks == sorted(risks)
    assert risks[0] == 0
    assert risks[2] == pytest.approx(1 - math.exp(-0.11))


def test_response_to_an_ssri_is_that_of_its_odds_ratio() -> None:
    i = indication("depression")
    ssri = next(e for e in i.effects if "SSRI" in e.about).points[0].value

    gained = expression(i.benefit).value(Given({"baseline": 0.375, "delta_log_odds_response": ssri}))

    odds = 0.375 / 0.625 * 1.69
    assert gained == pytest.approx(1000 * (odds / (1 + odds) - 0.375), rel=1e-3)
