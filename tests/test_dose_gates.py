"""What regimens may be offered: gates, infusion times, loading, averages of models, contributions, missed doses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from posologist.core.drug import Drug, InfusionRule, LoadingRule, Product, Window
from posologist.core.evidence import Ledger
from posologist.core.genotype import Versions
from posologist.core.regimen import Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument
from posologist.core.values import CitationKey, DrugId, EvidenceKey
from posologist.knowledge.models import PkModel, load_models
from posologist.twin.contributions import dose_apart
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.goals import Goal, Shape, dose_reaching, steady_curve
from posologist.twin.individual_dose import Question, individual_dose_document
from posologist.twin.map import map_estimates
from posologist.twin.missed import missed_dose
from posologist.twin.mixture import Exposures, Member, shared
from posologist.twin.patient_model import History, Told
from posologist.twin.twin import Twin

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
PLAIN = Settings(as_of=START.date())
KNOWN = {"crcl": 60.0, "weight": 80.0, "dialysis": 0.0}
AREA = Target(measure="auc24", low=400, high=600, unit="h.mg/L", text="auc24 400-600 h.mg/L")
TROUGH = Target(measure="trough", low=8, high=25, unit="mg/L", text="trough 8-25 mg/L")
CITED: dict[str, Any] = {"source": CitationKey("label"), "status": "verified"}


def model_named(name: str) -> PkModel:
    """A model of the library, as if every fact of it had been read in its source."""
    model = next(model for model in load_models() if model.id == name)
    rows = {
        part: tuple(row.model_copy(update={"status": "verified"}) for row in getattr(model, part))
        for part in ("parameters", "residual", "targets", "toxicity")
    }
    return model.model_copy(update={**rows, "status": "verified"})


GOTI, THOMSON = model_named("vancomycin_goti2018"), model_named("vancomycin_thomson2009")


def a_drug(**more: Any) -> Drug:
    vials = Product(form="vial", route="iv", strengths=(500.0, 1000.0), unit="mg", **CITED)
    facts = {"products": (vials,), "infusion": (), "loading": (), **more}
    return Drug(
        id=DrugId("vancomycin"), name="vancomycin", pharmacological_class="glycopeptide", depth="known", **facts
    )


def member(*records: Record, model: PkModel = GOTI, known: dict[str, float] | None = None) -> Member:
    ledger = LEDGER
    values = {name: value for name, value in (known or KNOWN).items() if name in {c.name for c in model.covariates}}
    keys = {name: ledger.add("patient", f"{name} {value:g}", source="made") for name, value in values.items()}
    given = tuple(sorted(records, key=lambda record: (record.time, record.is_dose)))
    log = tuple(Record(**{**record.__dict__, "covariates": values}) for record in given)
    levels = tuple(
        ledger.add("patient", f"level of {record.dv:g} mg/L at {record.time:g} h", source="made")
        for record in log
        if record.evid == 0
    )
    history = History(EventTable("p1", log), START if log else None, level_keys=levels)
    return Member(Twin(model, "p1", log, values, draws=400), Told(values, keys), history, "iv")


LEDGER = Ledger()
LIMITS = Limits(drug=DrugId("vancomycin"), unit="mg/kg/day", max=60.0, start=30.0, doses_per_day=(2, 3))


def dose(time: float, amount: float = 1000.0) -> Record:
    return Record(time, evid=DOSE, amt=amount, rate=amount, mdv=1)


def level(time: float, value: float) -> Record:
    return Record(time, dv=value)


def answer(*members: Member, target: Target | None = AREA, drug: Drug | None = None, **more: Any) -> DoseDocument:
    asked = drug or a_drug()
    question = Question(
        asked, more.pop("limits", LIMITS), target, 80.0, infusion=asked.infusion, loading=asked.loading, **more
    )
    versions = Versions(posologist="0", knowledge="test")
    return individual_dose_document(
        members or (member(),), question, settings=PLAIN, ledger=LEDGER, versions=versions, patient="p1"
    )


def hours(text: str) -> float:
    return float(text.split("over ")[1].split(" h")[0])


def amount(text: str) -> float:
    return float(text.split(" mg")[0])


SLOW = InfusionRule(min_duration_h=1.0, max_rate=10.0, rate_unit="mg/min", **CITED)


def test_no_dose_runs_faster_than_its_label_allows() -> None:
    free, slow = answer(target=TROUGH), answer(target=TROUGH, drug=a_drug(infusion=(SLOW,)))
    listed = [row.text for row in slow.regimens]
    assert any(hours(row.text) < max(1.0, amount(row.text) / 600.0) for row in free.regimens)
    assert listed
    assert all(hours(text) >= max(1.0, amount(text) / 600.0) - 1e-9 for text in listed)


def test_a_rate_that_no_rule_limits_is_named_and_one_that_a_rule_limits_is_not() -> None:
    open_rate = "rate of infusion of vancomycin"
    assert open_rate in {row.what for row in answer(target=TROUGH).not_checked}
    assert open_rate not in {row.what for row in answer(target=TROUGH, drug=a_drug(infusion=(SLOW,))).not_checked}
    recalled = SLOW.model_copy(update={"status": "to verify"})
    assert open_rate in {row.what for row in answer(target=TROUGH, drug=a_drug(infusion=(recalled,))).not_checked}


def test_a_continuous_infusion_is_offered_only_where_a_source_describes_one() -> None:
    rule = InfusionRule(continuous=True, **CITED)
    css = Target(measure="css", low=10, high=22, unit="mg/L", text="css 10-22 mg/L")
    known = member(dose(0.0), level(11.0, 9.0), level(23.0, 6.0))
    offered = answer(known, target=css, drug=a_drug(infusion=(rule,)))
    without = answer(known, target=css)
    texts = {row.text for row in offered.regimens}
    assert any("continuous infusion" in text for text in texts)
    assert not any("continuous infusion" in row.text for row in without.regimens)


def test_a_continuous_infusion_is_flat_at_rate_over_clearance() -> None:
    parameters = Twin(GOTI, "p1", (), KNOWN).people.parameters
    curve = steady_curve(GOTI, parameters, Shape(24.0, 24.0, 0), 2400.0)
    assert curve.points == pytest.approx(np.repeat(100.0 / parameters["CL"][:, None], len(curve.times), 1), rel=1e-9)


LOAD = LoadingRule(low=20.0, high=35.0, unit="mg/kg", max=3000.0, **CITED)


def test_a_loading_dose_lies_in_its_range_and_brings_the_first_day_to_the_target() -> None:
    document = answer(drug=a_drug(loading=(LOAD,)), target=TROUGH)
    loading = document.regimens[0].loading
    assert loading is not None
    assert 20 * 80 <= loading.dose.value <= min(35 * 80, 3000)
    assert loading.dose.value % 125 == 0
    assert loading.first_day.value > loading.without.value


def test_no_loading_dose_without_a_source_or_once_treatment_has_begun() -> None:
    assert answer(target=TROUGH).regimens[0].loading is None
    begun = answer(member(dose(0.0)), drug=a_drug(loading=(LOAD,)), target=TROUGH)
    assert begun.regimens[0].loading is None


def test_a_maximum_dose_per_kg_binds() -> None:
    limits = Limits(drug=DrugId("vancomycin"), unit="mg/kg/day", max=20.0, start=10.0)
    document = answer(target=TROUGH, limits=limits)
    for row in document.regimens:
        assert amount(row.text) * 24.0 / float(row.text.rsplit("q", 1)[1].removesuffix("h")) <= 20 * 80


def test_the_therapeutic_index_is_the_ratio_of_the_two_doses() -> None:
    document = answer()
    assert document.therapeutic_index is not None
    toxic = next(row.high for row in GOTI.toxicity if row.metric == "AUC24")
    assert toxic is not None
    assert document.therapeutic_index.value == pytest.approx(toxic / 400.0)
    titles = {finding.title for finding in document.findings}
    assert ("Narrow therapeutic index" in titles) == (toxic / 400.0 <= PLAIN.min_therapeutic_index)


def test_a_narrow_window_closes_the_gate_of_a_model_that_cannot_learn_from_levels() -> None:
    blind = GOTI.model_copy(update={"residual": ()})
    document = answer(member(model=blind))
    assert not document.regimens
    assert document.binding_constraint is not None
    assert "therapeutic index" in document.binding_constraint.what
    assert document.binding_constraint.nearest_regimen


def test_a_drug_that_needs_a_toxic_bound_and_has_none_is_not_ranked() -> None:
    harmless = GOTI.model_copy(update={"toxicity": ()})
    document = answer(member(model=harmless), narrow=True)
    assert not document.regimens
    assert document.binding_constraint is not None
    assert "toxic bound" in document.binding_constraint.what
    window = Window(low=400, high=600, toxic_above=700, unit="mg*h/L", matrix="AUC24", **CITED)
    covered = answer(member(model=harmless), narrow=True, drug=a_drug(window=(window,)), target=TROUGH)
    assert all(row.toxic_probability is not None for row in covered.regimens)
    assert covered.regimens


def test_without_a_maximum_dose_on_file_nothing_is_ranked() -> None:
    document = answer(target=TROUGH, limits=None)
    assert not document.regimens
    assert document.unranked
    assert any("no maximum dose" in row.why for row in document.not_checked)


def test_limits_that_are_not_verified_keep_regimens_from_being_ranked() -> None:
    document = answer(target=TROUGH, unverified=("dose of vancomycin",))
    assert not document.regimens
    assert document.unranked
    assert any("dose of vancomycin" in row.why for row in document.not_checked)


def test_the_shares_of_models_are_their_posterior_probabilities() -> None:
    records = (dose(0.0), dose(12.0), level(11.5, 9.0), level(20.0, 14.0))
    both = (member(*records), member(*records, model=THOMSON))
    mixed = {one.model.id: one.share for one in shared(both)}
    evidence = [one.twin.people.found.log_evidence for one in both if one.twin.people.found is not None]
    ratio = float(np.exp(evidence[0] - evidence[1]))
    assert mixed[GOTI.id] / mixed[THOMSON.id] == pytest.approx(ratio, rel=1e-9)
    assert sum(mixed.values()) == pytest.approx(1.0)


def test_a_model_in_other_units_has_the_same_share() -> None:
    records = (dose(0.0), dose(12.0), level(11.5, 9.0), level(20.0, 14.0))
    residual = tuple(r.model_copy(update={"additive": 1000.0 * r.additive}) for r in THOMSON.residual)
    small = THOMSON.model_copy(update={"concentration_unit": "ug/L", "scale": 1000.0, "residual": residual})
    in_small = tuple(Record(**{**r.__dict__, "dv": None if r.dv is None else 1000.0 * r.dv}) for r in records)
    usual = shared((member(*records), member(*records, model=THOMSON)))
    other = shared((member(*records), member(*in_small, model=small)))
    assert {m.model.id: m.share for m in other} == pytest.approx({m.model.id: m.share for m in usual}, rel=1e-6)
    shape = Shape(12.0, 1.0, 0)
    one, two = Exposures(usual).curve(shape, 1000.0), Exposures(other).curve(shape, 1000.0)
    assert one is not None
    assert two is not None
    unit = 1.0 if usual[0].model.concentration_unit == other[0].model.concentration_unit else 1000.0
    assert np.median(two.auc24) == pytest.approx(unit * np.median(one.auc24), rel=1e-9)


def test_the_exposures_of_an_average_are_those_of_its_models_in_their_shares() -> None:
    both = shared((member(), member(model=THOMSON)))
    assert [one.share for one in both] == [0.5, 0.5]
    curve = Exposures(both).curve(Shape(12.0, 1.0, 0), 1000.0)
    alone = [Exposures((one,)).curve(Shape(12.0, 1.0, 0), 1000.0) for one in both]
    assert curve is not None
    assert len(curve.auc24) == 400
    means = [one.auc24[:200].mean() for one in alone if one is not None]
    assert curve.auc24.mean() == pytest.approx(np.mean(means), rel=1e-9)


def test_what_moves_the_dose_adds_up_to_it() -> None:
    document = answer(member(dose(0.0), dose(12.0), level(11.5, 20.0), level(23.5, 28.0)))
    apart = document.contributions
    assert apart is not None
    assert apart.rest == pytest.approx(0.0, abs=1e-6)
    parts = {part.text.split(":")[0].split(" at ")[0]: part.value for part in apart.parts}
    kidney = next(value for name, value in parts.items() if name.startswith("creatinine clearance"))
    assert kidney < 0
    assert parts["level of 20 mg/L"] + parts["level of 28 mg/L"] < 0
    assert apart.output < apart.base


def test_the_dose_that_is_taken_apart_is_the_one_that_meets_the_target() -> None:
    one = member(dose(0.0), dose(12.0), level(11.5, 20.0))
    goal = Goal("auc24", 400.0, 600.0, "h.mg/L")
    apart = dose_apart(one, goal, Shape(12.0, 1.0, 0))
    (found,) = map_estimates(GOTI, [one.twin.table])
    own = {name: np.array([value]) for name, value in found.parameters.items()}
    asked = dose_reaching(
        lambda amt: float(steady_curve(GOTI, own, Shape(12.0, 1.0, 0), amt).auc24[0]), goal.middle, first=100.0
    )
    assert apart is not None
    assert asked is not None
    assert apart.output == pytest.approx(2.0 * asked, rel=1e-6)


def test_a_covariate_alone_has_the_whole_step_between_the_reference_and_the_patient() -> None:
    known = {**GOTI.reference, "crcl": 60.0}
    goal = Goal("auc24", 400.0, 600.0, "h.mg/L")
    apart = dose_apart(member(known=known), goal, Shape(12.0, 1.0, 0))
    assert apart is not None
    (part,) = apart.parts
    ratio = GOTI.typical(known)["CL"] / GOTI.typical(GOTI.reference)["CL"]
    assert part.value == pytest.approx(apart.base * (ratio - 1.0), rel=1e-9)


def test_time_above_a_concentration_is_taken_apart_too() -> None:
    goal = Goal("time_above", 50.0, None, "%", at=5.0)
    apart = dose_apart(member(), goal, Shape(12.0, 1.0, 0))
    assert apart is not None
    parameters = {name: np.array([v]) for name, v in GOTI.typical(KNOWN).items()}
    curve = steady_curve(GOTI, parameters, Shape(12.0, 1.0, 0), apart.output / 2.0)
    assert curve.value(goal)[0] == pytest.approx(50.0, abs=0.05)


def test_a_dose_in_time_is_not_missed_and_a_late_one_has_three_ways_on() -> None:
    twin = member(dose(0.0), dose(12.0)).twin
    assert missed_dose(twin, now=24.5, interval=12.0) is None
    found = missed_dose(twin, now=30.0, interval=12.0)
    assert found is not None
    assert found.late == pytest.approx(6.0)
    assert found.number == 1
    now, usual, shifted = found.ways
    assert (now.times[0], usual.times[0], shifted.times[0]) == (30.0, 36.0, 30.0)
    assert now.times[1] == 36.0
    assert shifted.times[1] == 42.0
    assert np.all(now.highest >= usual.highest)
    assert np.median(usual.lowest) < np.median(now.lowest)


def test_several_missed_doses_are_counted() -> None:
    found = missed_dose(member(dose(0.0)).twin, now=37.0, interval=12.0)
    assert found is not None
    assert found.number == 3
    assert found.ways[1].times[0] == 48.0


def test_a_missed_dose_reaches_the_document() -> None:
    late = answer(member(dose(0.0), dose(12.0)), now=START + timedelta(hours=30))
    assert late.missed is not None
    assert late.missed.late.value == pytest.approx(6.0)
    assert len(late.missed.ways) == 3
    assert answer(member(dose(0.0), dose(12.0))).missed is None


def test_every_number_of_the_document_has_its_evidence() -> None:
    document = answer(
        member(dose(0.0), dose(12.0), level(11.5, 20.0)), now=START + timedelta(hours=30), target=TROUGH,
        drug=a_drug(infusion=(SLOW,)),
    )  # fmt: skip
    assert document.missed is not None
    assert document.contributions is not None
    for key in (*document.missed.because, *document.contributions.because, *document.models[0].share.because):
        assert LEDGER[EvidenceKey(key)].because
