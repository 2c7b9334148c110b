"""A learned model moves a published effect: by a bounded shift, in sight, and never past the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from patients import AS_OF, a_medicine, a_patient, an_allergy
from posologist.core.patient import FamilyHistory, Patient
from posologist.core.recommendation import Opinion, Recommendation
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.learn import artefact
from posologist.learn.predict import Served
from posologist.learn.tasks import pressure
from posologist.recommend.assess import dosed_present
from posologist.recommend.effects import Dosed, Scale, scale_of
from posologist.recommend.learned import models_of
from posologist.recommend.learned_effect import Learned, LearnedFigures, learned_effect
from posologist.recommend.opened import case_of
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient
from posologist.serve.cli import app
from posologist.serve.explain import as_tree
from toy_pressure import a_record, facts, toy_engine, toy_model

SETTINGS = Settings(as_of=AS_OF)
MEASURED = {"sbp": 155.0, "dbp": 95.0, "creatinine": 1.0, "potassium": 4.2, "height": 175.0, "weight": 82.0}


def models(served: Served | None = None) -> dict[str, Served]:
    return {pressure.TASK: served or toy_model()}


def asked(
    who: Patient | None = None, *, held: Mapping[str, Served] | None = None, settings: Settings = SETTINGS
) -> Recommendation:
    return recommend(
        who or a_patient(**MEASURED), "hypertension", knowledge=load_knowledge(), settings=settings,
        models=models() if held is None else held,
    )  # fmt: skip


def told(document: Recommendation) -> tuple[Opinion, ...]:
    return tuple(opinion for opinion in document.opinions if opinion.task == pressure.TASK)


def a_scale(who: Patient, served: Served, settings: Settings = SETTINGS) -> tuple[Scale, Scale, Learned]:
    """The scale as published and as moved, and what moves it."""
    case = case_of(who, load_knowledge().indication("hypertension"), genome=None, knowledge=load_knowledge(),
                   settings=settings)  # fmt: skip
    learned, scale = learned_effect(case, who, models(served), adult=True), scale_of(case)
    assert learned is not None
    assert scale is not None
    return scale, scale.moved_by(LearnedFigures((learned,))), learned


def learned_parts(document: Recommendation) -> dict[str, float]:
    return {
        part.feature: part.value
        for option in document.options
        if option.contributions is not None
        for part in option.contributions.parts
        if part.feature.startswith("learned:")
    }


AMLODIPINE, LISINOPRIL = Dosed("amlodipine", 5.0), Dosed("lisinopril", 10.0)  # type: ignore[arg-type]


def test_the_effect_is_the_published_one_plus_a_quarter_of_what_simulated_patients_teach() -> None:
    published, moved, learned = a_scale(a_patient(**MEASURED), toy_model())

    answer = learned.answer(AMLODIPINE, ("amlodipine",))  # type: ignore[arg-type]
    one, two = (s.effect(AMLODIPINE, ("amlodipine",)) for s in (published, moved))  # type: ignore[arg-type]
    assert one is not None
    assert two is not None
    assert answer.change is not None
    assert answer.change < -2.0
    assert two.expected("sbp") - one.expected("sbp") == pytest.approx(0.25 * answer.change, abs=1e-6)
    assert two.expected("dbp") == one.expected("dbp")


@pytest.mark.parametrize(("label", "limit"), [("simulated patients", 3.0), ("real patients", 10.0)])
def test_no_answer_moves_an_effect_past_its_limit(label: str, limit: float) -> None:
    published, moved, _ = a_scale(a_patient(**MEASURED), toy_model(label, gain=20.0))  # type: ignore[arg-type]

    for dosed, sign in ((AMLODIPINE, -1.0), (LISINOPRIL, 1.0)):
        one, two = (s.effect(dosed, (dosed.drug,)) for s in (published, moved))
        assert one is not None
        assert two is not None
        assert two.expected("sbp") - one.expected("sbp") == pytest.approx(sign * limit)


def test_no_setting_raises_the_weight_of_simulated_patients() -> None:
    with pytest.raises(ValidationError):
        Settings(as_of=AS_OF, learned_weight=1.5)

    full, tenth = (a_scale(a_patient(**MEASURED), toy_model(), Settings(as_of=AS_OF, learned_weight=w))[2].weight
                   for w in (1.0, 0.1))  # fmt: skip

    assert full == 0.25
    assert tenth == 0.1


def test_the_models_own_uncertainty_widens_the_spread_as_the_root_of_the_sum_of_squares() -> None:
    many = Settings(as_of=AS_OF, draws=20_000)
    published, moved, _ = a_scale(a_patient(**MEASURED), toy_model("real patients"), many)

    one, two = (s.effect(AMLODIPINE, ("amlodipine",)) for s in (published, moved))  # type: ignore[arg-type]
    assert one is not None
    assert two is not None
    assert two.shift is not None
    before, after = float(np.std(one.draws("sbp"))), float(np.std(two.draws("sbp")))

    assert two.shift.sd > 0.5
    assert after == pytest.approx(np.hypot(before, two.shift.sd), rel=0.02)
    assert np.mean(two.draws("sbp")) == pytest.approx(two.expected("sbp"), abs=0.1)


def test_published_parts_stay_as_they_are_and_what_was_learned_is_a_part_of_its_own() -> None:
    who = a_patient(**MEASURED, medicines=(a_medicine("metoprolol", 50, per_day=2),))
    without, beside = asked(who, held={}), asked(who)

    plain = {option.plan.text: option for option in without.options}
    for option in beside.options:
        assert option.contributions is not None
        parts = {part.feature: part.value for part in option.contributions.parts}
        published = plain[option.plan.text].contributions
        assert published is not None
        assert {f: v for f, v in parts.items() if not f.startswith("learned:")} == {
            part.feature: part.value for part in published.parts
        }
        assert abs(option.contributions.rest) < 1e-3
        assert sum(parts.values()) == pytest.approx(option.utility.value, abs=1e-3)
    assert {"learned:amlodipine", "learned:metoprolol"} <= set(learned_parts(beside))


def test_a_model_that_says_much_changes_the_order_of_the_plans() -> None:
    without, beside = asked(held={}), asked()

    gains = learned_parts(beside)
    assert gains["learned:amlodipine"] > 1.0
    assert gains["learned:lisinopril"] < -1.0
    assert [o.plan.text for o in without.options] != [o.plan.text for o in beside.options]


def test_without_a_model_nothing_is_told_and_nothing_moves() -> None:
    document = asked(held={})

    assert told(document) == ()
    assert document.versions.models == {}
    assert learned_parts(document) == {}


def test_a_weight_of_zero_turns_it_off_and_says_so() -> None:
    off = asked(settings=Settings(as_of=AS_OF, learned_weight=0.0))

    (opinion,) = told(off)
    assert "learned_weight" in opinion.unasked
    assert learned_parts(off) == {}
    assert [o.utility for o in off.options] == [o.utility for o in asked(held={}).options]


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (a_patient(age=12, **MEASURED), "child"),
        (a_patient(age=32, sex="female", conditions=("hypertension", "pregnancy"), **MEASURED), "pregnant"),
    ],
    ids=["child", "pregnant"],
)
def test_nothing_is_moved_in_a_child_or_in_pregnancy_and_the_reason_is_told(who: Patient, why: str) -> None:
    document = asked(who)

    (opinion,) = told(document)
    assert why in opinion.unasked
    assert opinion.moves is None
    assert learned_parts(document) == {}


def test_what_was_learned_from_practice_moves_nothing() -> None:
    document = asked(held=models(toy_model("agreement with practice")))

    (opinion,) = told(document)
    assert "nothing of benefit" in opinion.unasked
    assert learned_parts(document) == {}


def test_a_record_without_the_inputs_moves_nothing_and_names_them() -> None:
    document = asked(a_patient(sex=None, **MEASURED))

    (opinion,) = told(document)
    assert opinion.lacking == ("male sex",)
    assert learned_parts(document) == {}


def test_a_patient_outside_the_training_population_keeps_the_published_effects() -> None:
    strange = a_patient(age=104, **(MEASURED | {"weight": 240.0, "potassium": 8.5, "sbp": 240.0, "dbp": 60.0}))
    document = asked(strange)

    opinions = told(document)
    assert opinions
    assert all(o.model is not None and o.model.estimate is None and o.moves is None for o in opinions)
    assert learned_parts(document) == {}
    assert [o.benefit for o in document.options] == [o.benefit for o in asked(strange, held={}).options]


def test_each_started_drug_of_a_shown_plan_has_an_opinion_and_the_leading_plan_the_models_own_parts() -> None:
    document = asked()

    opinions = {opinion.drug: opinion for opinion in told(document)}
    started = {start.drug for option in document.options for start in option.plan.start}
    assert started <= set(opinions)
    for drug in started:
        opinion = opinions[drug]
        assert opinion.moves is not None
        assert opinion.moves.label == "simulated patients"
        assert opinion.moves.weight.value == 0.25
        assert opinion.moves.shift.low <= opinion.moves.shift.value <= opinion.moves.shift.high
        assert [part.name for part in opinion.parts] == ["linear-1"]
    leading = {start.drug for start in document.options[0].plan.start}
    assert leading < started
    assert {drug for drug, opinion in opinions.items() if opinion.model is not None} == leading
    for drug in leading:
        moves, model = opinions[drug].moves, opinions[drug].model
        assert moves is not None
        assert model is not None
        assert model.estimate is not None
        assert model.contributions is not None
        assert moves.shift.value == pytest.approx(-0.25 * model.estimate.value, abs=1e-3)


def test_the_gate_lifts_nothing_for_a_model() -> None:
    who = a_patient(**MEASURED, allergies=(an_allergy("calcium channel blocker"), an_allergy("amlodipine")))
    praised = asked(who, held=models(toy_model("real patients", gain=20.0)))

    plain = asked(who, held={})
    assert praised.ruled_out == plain.ruled_out
    assert "amlodipine" not in {start.drug for option in praised.options for start in option.plan.start}


def test_every_number_that_was_learned_is_explained_to_its_leaves() -> None:
    document = asked()

    shift = next(opinion.moves for opinion in told(document) if opinion.moves is not None)
    tree = json.dumps([as_tree(document.evidence, key) for key in (*shift.because, *shift.published.because)])
    leaves = {e.kind for e in document.evidence.values() if not e.because and e.text in tree}
    assert {"model", "setting", "patient", "knowledge"} <= leaves
    assert "learned from 600 simulated patients" in tree
    assert "= 0.25 x " in tree
    assert "published -" in tree


def test_medicines_that_no_plan_for_pressure_touches_reach_the_model() -> None:
    alone = a_patient(**MEASURED, medicines=(a_medicine("metoprolol", 50, per_day=2),))
    inhibited = a_patient(**MEASURED, medicines=(a_medicine("metoprolol", 50, per_day=2), a_medicine("paroxetine", 20)))
    folds = []
    for who in (alone, inhibited):
        _, moved, learned = a_scale(who, toy_model())
        row = learned.answer(dosed_present(moved.case, moved)[0], ("metoprolol",)).row  # type: ignore[arg-type]
        assert row is not None
        folds.append(row.values[pressure.SCHEMA.names.index("exposure_fold")])

    assert folds[1] > 1.5 * folds[0]


def test_the_packages_model_moves_effects_and_a_hospitals_own_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact, "DEFAULTS", tmp_path / "default")
    toy_engine().save(tmp_path / "default" / pressure.TASK, facts())
    site = tmp_path / "site"
    toy_engine(2.0).save(site / "learned" / "own", facts("real patients"))
    who, given = a_patient(**MEASURED), {"settings": SETTINGS}

    shipped = recommend(who, "hypertension", knowledge=load_knowledge(), **given)  # type: ignore[arg-type]
    own = recommend(who, "hypertension", knowledge=load_knowledge(site), **given)  # type: ignore[arg-type]

    assert {o.moves.label for o in told(shipped) if o.moves is not None} == {"simulated patients"}
    assert {o.moves.label for o in told(own) if o.moves is not None} == {"real patients"}
    assert shipped.versions.models == {pressure.TASK: "toy response 1 (simulated patients)"}
    assert set(models_of(load_knowledge(site))) == {pressure.TASK}


def test_the_command_line_gives_the_same_answer_as_python(tmp_path: Path) -> None:
    site, record = tmp_path / "site", tmp_path / "bundle.json"
    toy_engine().save(site / "learned" / "own", facts())
    record.write_bytes(a_record())
    asked_for = ["recommend", "--patient", str(record), "--for", "hypertension", "--as-of", AS_OF.isoformat()]

    printed = CliRunner().invoke(app, [*asked_for, "--knowledge", str(site), "--json"], catch_exceptions=False).stdout

    knowledge = load_knowledge(site)
    who = read_patient(record, knowledge=knowledge, as_of=AS_OF)
    document = recommend(who, "hypertension", knowledge=knowledge, settings=SETTINGS)
    assert json.loads(printed) == json.loads(document.model_dump_json(by_alias=True))
    assert any(opinion.moves is not None for opinion in told(document))


def test_a_relatives_disease_is_absent_only_where_a_family_history_was_given() -> None:
    def known(who: Patient) -> float:
        row = a_scale(who, toy_model())[2].answer(AMLODIPINE, ("amlodipine",)).row  # type: ignore[arg-type]
        assert row is not None
        return row.values[pressure.SCHEMA.names.index("family_hypertension")]

    bare = a_patient(**MEASURED)
    father = FamilyHistory(relation="father", codes=("hypertension",), source=bare.source)
    mother = FamilyHistory(relation="mother", codes=("gout",), source=bare.source)

    assert np.isnan(known(bare))
    assert known(bare.model_copy(update={"family_history": (father,)})) == 1.0
    assert known(bare.model_copy(update={"family_history": (mother,)})) == 0.0
