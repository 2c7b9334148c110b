"""A learned model of symptoms moves a published risk as one of the response moves an effect: bounded and in sight."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from patients import AS_OF, a_medicine, a_patient, an_allergy
from posologist.core.patient import Patient
from posologist.core.recommendation import Opinion, Recommendation
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.learn import artefact
from posologist.learn.predict import Served
from posologist.learn.tasks import pressure
from posologist.recommend.effects import Dosed, Harm, Scale, scale_of
from posologist.recommend.learned import models_of
from posologist.recommend.learned_effect import LearnedFigures, learned_effect, learned_figures
from posologist.recommend.learned_figures import RISK
from posologist.recommend.opened import case_of
from posologist.recommend.pipeline import recommend
from posologist.recommend.utility import outcome_of, worth_of
from posologist.serve.cli import app
from posologist.serve.explain import as_tree
from posologist.serve.table import print_table
from toy_pressure import facts, toy_model, toy_symptoms, toy_symptoms_engine
from tracing import evidence_faults, prose_faults, text_faults

SETTINGS = Settings(as_of=AS_OF)
MEASURED = {"sbp": 155.0, "dbp": 95.0, "creatinine": 1.0, "potassium": 4.2, "height": 175.0, "weight": 82.0}
TASK = pressure.SYMPTOMS_TASK
AMLODIPINE, LISINOPRIL = Dosed("amlodipine", 5.0), Dosed("lisinopril", 10.0)  # type: ignore[arg-type]


def both() -> dict[str, Served]:
    return {pressure.TASK: toy_model(), TASK: toy_symptoms()}


def asked(
    who: Patient | None = None, *, held: Mapping[str, Served] | None = None, settings: Settings = SETTINGS
) -> Recommendation:
    return recommend(
        who or a_patient(**MEASURED), "hypertension", knowledge=load_knowledge(), settings=settings,
        models={TASK: toy_symptoms()} if held is None else held,
    )  # fmt: skip


def told(document: Recommendation) -> tuple[Opinion, ...]:
    return tuple(opinion for opinion in document.opinions if opinion.task == TASK)


def parts_of(document: Recommendation, prefix: str = "learned-risk:") -> dict[str, float]:
    return {
        part.feature: part.value
        for option in document.options
        if option.contributions is not None
        for part in option.contributions.parts
        if part.feature.startswith(prefix)
    }


def scales(served: Served, settings: Settings = SETTINGS) -> tuple[Scale, Scale]:
    """The scale as published and as moved by this model alone."""
    who, knowledge = a_patient(**MEASURED), load_knowledge()
    case = case_of(who, knowledge.indication("hypertension"), genome=None, knowledge=knowledge, settings=settings)
    learned, scale = learned_effect(case, who, {TASK: served}, adult=True, figure=RISK), scale_of(case)
    assert learned is not None
    assert scale is not None
    return scale, scale.moved_by(LearnedFigures((learned,)))


def symptoms(scale: Scale, dosed: Dosed) -> Harm:
    return next(harm for harm in scale.harms(dosed, (dosed.drug,)) if harm.event == "symptoms")


def moved_percent(scale: Scale, dosed: Dosed) -> float:
    harm = symptoms(scale, dosed)
    return harm.expected() / harm.factor


def test_the_risk_is_the_published_one_plus_a_quarter_of_what_simulated_patients_teach() -> None:
    published, moved = scales(toy_symptoms())
    mover = moved.mover
    assert isinstance(mover, LearnedFigures)

    answer = mover.held[0].answer(AMLODIPINE, (AMLODIPINE.drug,))
    assert answer.change is not None
    assert -8.0 < answer.change < -2.0
    assert symptoms(published, AMLODIPINE).percent == pytest.approx(8.3)
    assert moved_percent(moved, AMLODIPINE) == pytest.approx(8.3 + 0.25 * answer.change, abs=1e-5)


@pytest.mark.parametrize(("label", "limit"), [("simulated patients", 3.0), ("real patients", 15.0)])
def test_no_answer_moves_a_risk_past_its_limit(label: str, limit: float) -> None:
    published, moved = scales(toy_symptoms(label, gain=20.0))  # type: ignore[arg-type]

    for dosed, sign in ((AMLODIPINE, -1.0), (LISINOPRIL, 1.0)):
        before = moved_percent(published, dosed)
        assert moved_percent(moved, dosed) - before == pytest.approx(max(sign * limit, -before))


@pytest.mark.parametrize(("drug", "amount"), [("amlodipine", 2.5), ("losartan", 50.0)])
def test_no_answer_moves_a_share_below_zero(drug: str, amount: float) -> None:
    dosed = Dosed(drug, amount)  # type: ignore[arg-type]
    published, moved = scales(toy_symptoms("real patients", gain=20.0))

    harm = symptoms(moved, dosed)
    assert moved_percent(published, dosed) < 6.0
    assert harm.expected() == 0.0
    assert harm.shift is not None
    told = [published.case.ledger.entries()[key].text for key in harm.shift.because()]
    assert any("not moved below 0" in text for text in told)
    assert any("published " in text and "in 100" in text for text in told)


def test_the_models_own_uncertainty_shifts_and_widens_the_draws() -> None:
    published, moved = scales(toy_symptoms("real patients"), Settings(as_of=AS_OF, draws=20_000))

    one, two = symptoms(published, AMLODIPINE), symptoms(moved, AMLODIPINE)
    assert two.shift is not None
    assert two.shift.sd > 0.5
    assert np.mean(two.draw()) == pytest.approx(two.expected(), abs=0.02)
    assert np.std(two.draw()) == pytest.approx(np.hypot(np.std(one.draw()), two.shift.sd * two.factor), rel=0.02)


def test_a_share_that_is_held_at_zero_has_its_numbers_traced(capsys: pytest.CaptureFixture[str]) -> None:
    document = asked(held={TASK: toy_symptoms("real patients", gain=20.0)})
    print_table(document)

    assert "not moved below 0" in document.model_dump_json()
    assert text_faults(capsys.readouterr().out, document) == []
    assert evidence_faults(document) == []
    assert prose_faults(document) == []


@pytest.mark.parametrize("several", [False, True], ids=["one drug", "two drugs"])
def test_the_parts_of_a_moved_risk_add_up_to_it(several: bool) -> None:
    published, moved = scales(toy_symptoms())
    plan = (AMLODIPINE, LISINOPRIL) if several else (AMLODIPINE,)

    plain, outcome, worth = outcome_of(published, plan, ()), outcome_of(moved, plan, ()), worth_of(moved, plan, ())
    assert plain is not None
    assert outcome is not None
    assert worth is not None
    assert math.fsum(part.value for part in outcome.parts) == pytest.approx(worth.utility, abs=1e-4)
    benefit = math.fsum(part.value for part in outcome.parts if part.feature.startswith("with:"))
    risk = math.fsum(part.value for part in outcome.parts if not part.feature.startswith("with:"))
    assert risk == pytest.approx(-SETTINGS.harm_aversion * worth.risk, abs=1e-6)
    assert benefit == pytest.approx(worth.benefit, abs=1e-6)
    unlearned = [(p.feature, p.value) for p in outcome.parts if not p.feature.startswith("learned-risk:")]
    assert unlearned == [(p.feature, p.value) for p in plain.parts]
    assert outcome.benefit == plain.benefit


@pytest.mark.parametrize("medicines", [(), (a_medicine("metoprolol", 50, per_day=2),)], ids=["none", "metoprolol"])
def test_contributions_stay_additive_with_both_models(medicines: tuple[object, ...]) -> None:
    document = asked(a_patient(**MEASURED, medicines=medicines), held=both())

    assert document.options
    for option in document.options:
        apart = option.contributions
        assert apart is not None
        total = math.fsum((apart.base, *(part.value for part in apart.parts), apart.rest))
        assert total == pytest.approx(apart.output, abs=1e-6)
        assert abs(apart.rest) < 1e-3
    assert parts_of(document)
    assert parts_of(document, "learned:")


@pytest.mark.parametrize(("held", "other"), [(TASK, pressure.TASK), (pressure.TASK, TASK)])
def test_either_model_may_be_there_without_the_other(held: str, other: str) -> None:
    document, plain = asked(held={held: both()[held]}), asked(held={})

    assert set(document.versions.models) == {held}
    assert {o.task for o in document.opinions if o.moves is not None} == {held}
    assert other not in {o.task for o in document.opinions}
    unmoved = {o.plan.text: o for o in plain.options}
    same = [o for o in document.options if o.plan.text in unmoved]
    assert same
    for option in same:
        before = unmoved[option.plan.text]
        assert (option.risk == before.risk) is (held == pressure.TASK)
        assert (option.benefit == before.benefit) is (held == TASK)


@pytest.mark.parametrize("response", ["simulated patients", "real patients"])
def test_symptoms_of_simulated_patients_order_the_plans_shown_and_choose_none(response: str) -> None:
    held = {pressure.TASK: toy_model(response), TASK: toy_symptoms(gain=20.0)}  # type: ignore[arg-type]

    assert {o.plan.text for o in asked(held=held).options} == {o.plan.text for o in asked(held={}).options}


@pytest.mark.parametrize(
    ("labels", "decides"),
    [
        (("real patients", "real patients"), True),
        (("real patients", "simulated patients"), False),
        (("real patients", "agreement with practice"), True),
        (("simulated patients", "real patients"), False),
    ],
)
def test_models_decide_what_is_shown_only_where_all_that_are_asked_may(labels: tuple[str, str], decides: bool) -> None:
    who, knowledge = a_patient(**MEASURED), load_knowledge()
    case = case_of(who, knowledge.indication("hypertension"), genome=None, knowledge=knowledge, settings=SETTINGS)
    held = {pressure.TASK: toy_model(labels[0]), TASK: toy_symptoms(labels[1])}  # type: ignore[arg-type]

    learned = learned_figures(case, who, held, adult=True)
    assert learned is not None
    assert learned.decides is decides


def test_fewer_symptoms_raise_a_plan_and_more_lower_it() -> None:
    gains = parts_of(asked())

    assert gains["learned-risk:amlodipine"] > 0.0
    assert gains["learned-risk:lisinopril"] < 0.0


def test_a_drug_without_a_published_share_is_not_moved_and_this_is_said() -> None:
    tablets = tuple(
        a_medicine(name, amount) for name, amount in (("amlodipine", 10), ("lisinopril", 40), ("chlorthalidone", 25))
    )
    document = asked(a_patient(**MEASURED, medicines=tablets))

    started = {start.drug for option in document.options for start in option.plan.start}
    opinion = next(o for o in told(document) if o.drug == "spironolactone")
    assert "spironolactone" in started
    assert "nothing to move" in opinion.unasked
    assert opinion.moves is None
    assert opinion.model is None


def test_each_started_drug_has_an_opinion_with_published_share_shift_and_weight() -> None:
    document = asked()

    opinions = {opinion.drug: opinion for opinion in told(document)}
    assert {start.drug for option in document.options for start in option.plan.start} <= set(opinions)
    moves = opinions["amlodipine"].moves  # type: ignore[index]
    assert moves is not None
    assert (moves.kind, moves.measure, moves.shift.unit) == ("harm", "symptoms", "in 100")
    assert moves.label == "simulated patients"
    assert moves.weight.value == 0.25
    assert moves.limit.value == 3.0
    tree = json.dumps([as_tree(document.evidence, key) for key in (*moves.because, *moves.published.because)])
    assert f"published {moves.published.value:.3g} in 100" in tree
    assert f"{moves.shift.value:+.3g} in 100 = 0.25 x " in tree
    assert "learned from 600 simulated patients" in tree


def test_the_gate_lifts_and_bars_nothing_for_a_model_of_symptoms() -> None:
    who = a_patient(**MEASURED, allergies=(an_allergy("calcium channel blocker"), an_allergy("amlodipine")))
    praised = asked(who, held={TASK: toy_symptoms("real patients", gain=20.0)})

    assert praised.ruled_out == asked(who, held={}).ruled_out
    assert "amlodipine" not in {start.drug for option in praised.options for start in option.plan.start}


@pytest.mark.parametrize(
    ("who", "served", "weight", "why"),
    [
        (a_patient(age=12, **MEASURED), toy_symptoms(), 1.0, "child"),
        (a_patient(age=32, sex="female", conditions=("hypertension", "pregnancy"), **MEASURED), toy_symptoms(), 1.0,
         "pregnant"),
        (a_patient(sex=None, **MEASURED), toy_symptoms(), 1.0, "lacks inputs"),
        (a_patient(**MEASURED), toy_symptoms("agreement with practice"), 1.0, "nothing of harm"),
        (a_patient(**MEASURED), toy_model(), 1.0, "not in 1"),
        (a_patient(**MEASURED), toy_symptoms(), 0.0, "learned_weight"),
    ],
    ids=["child", "pregnant", "lacking", "practice", "unit", "off"],
)  # fmt: skip
def test_a_refusal_is_told_and_no_risk_moves(who: Patient, served: Served, weight: float, why: str) -> None:
    document = asked(who, held={TASK: served}, settings=Settings(as_of=AS_OF, learned_weight=weight))

    (opinion,) = told(document)
    assert why in opinion.unasked
    assert "symptoms" in opinion.outcome
    assert parts_of(document) == {}


def test_outside_its_training_population_the_model_moves_no_risk() -> None:
    strange = a_patient(age=104, **(MEASURED | {"weight": 240.0, "potassium": 8.5, "sbp": 240.0, "dbp": 60.0}))
    document = asked(strange)

    assert any(o.model is not None for o in told(document))
    assert all(o.moves is None for o in told(document))
    assert [o.risk for o in document.options] == [o.risk for o in asked(strange, held={}).options]


def test_each_model_is_asked_once_about_all_drugs_of_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    answers = Served.answers

    def counted(self: Served, frame: object) -> object:
        calls.append(self.manifest.task)
        return answers(self, frame)  # type: ignore[arg-type]

    held = both()
    monkeypatch.setattr(Served, "answers", counted)
    asked(held=held)

    assert sorted(calls) == sorted((pressure.TASK, TASK))


def test_a_folder_and_the_package_may_hold_a_model_of_symptoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefact, "DEFAULTS", tmp_path / "default")
    toy_symptoms_engine().save(tmp_path / "default" / TASK, facts(task=TASK))
    site = tmp_path / "site"
    toy_symptoms_engine().save(site / "learned" / "own", facts("real patients", TASK))

    shipped = recommend(a_patient(**MEASURED), "hypertension", knowledge=load_knowledge(), settings=SETTINGS)
    checked = CliRunner().invoke(app, ["check", str(site)])

    assert shipped.versions.models == {TASK: "toy symptoms 1 (simulated patients)"}
    assert models_of(load_knowledge(site))[TASK].manifest.training.label == "real patients"
    assert checked.exit_code == 0, checked.output
