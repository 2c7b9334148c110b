"""What populations teach stands beside plans, orders and doses: published scores, and a learned model where it can."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from patients import AS_OF, a_patient
from posologist.core.errors import ModelError
from posologist.core.patient import Observation, Patient
from posologist.core.recommendation import Opinion
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.learn.features import Cell, frame_of
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Linear, Recipe
from posologist.learn.fit.save import Facts
from posologist.learn.tasks import cardiovascular, warfarin
from posologist.recommend.dose_by_model import Given
from posologist.recommend.dosing import dose
from posologist.recommend.learned import models_of
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.serve.checking import check_all
from posologist.serve.opinion_words import said_of

N = 400
SETTINGS = Settings(as_of=AS_OF)
NOW = datetime(AS_OF.year, AS_OF.month, AS_OF.day, 12, tzinfo=UTC)
FACTS = Facts(
    name="made model", version="1", outcome="outcome", unit="mg/week", data="made rows", digest="none",
    licence="none", label="simulated patients",
)  # fmt: skip


@lru_cache(maxsize=1)
def a_warfarin_engine() -> FittedEngine:
    """A dose that falls with age and rises with weight, learned from made rows."""
    rng = np.random.default_rng(0)
    age, weight, height = rng.integers(3, 9, N), rng.uniform(50, 110, N), rng.uniform(155, 190, N)
    cells: list[dict[str, Cell]] = [
        {"age_decade": float(a), "weight": float(w), "height": float(h), "male": bool(h > 170)}
        for a, w, h in zip(age, weight, height, strict=True)
    ]
    target = 50.0 - 4.0 * age + 0.2 * weight + rng.normal(0, 2, N)
    recipe = Recipe(parts=(Linear(penalty=1.0),), link="identity", folds=2)
    frame = frame_of(warfarin.SCHEMA, cells)
    return fit_engine(frame, target, kind="regression", group=np.arange(N), recipe=recipe, seed=0)


def one(opinions: tuple[Opinion, ...], task: str) -> Opinion:
    found = [opinion for opinion in opinions if opinion.task == task]
    assert len(found) == 1
    return found[0]


def a_smoker(**measured: float) -> Patient:
    who = a_patient(**measured)
    told = Observation(key="smoking_status", text="current", at=NOW, source=who.observations[0].source)
    return who.model_copy(update={"observations": (*who.observations, told)})


def test_published_scores_stand_without_a_model() -> None:
    who = a_smoker(sbp=155, dbp=95, creatinine=1.0, total_cholesterol=210, hdl=45, height=175, weight=82)

    document = recommend(who, "hypertension", knowledge=load_knowledge(), settings=SETTINGS)

    opinion = one(document.opinions, cardiovascular.TASK)
    assert opinion.model is None
    assert opinion.unasked == "no model of this outcome is held"
    assert {"prevent_total_cvd_10y", "framingham_cvd_lipids_10y"} <= {score.score for score in opinion.published}
    assert all(set(score.quantity.because) <= set(document.evidence) for score in opinion.published)


def test_what_the_record_lacks_for_a_model_is_named() -> None:
    who = a_patient(sbp=155, dbp=95)

    document = recommend(who, "hypertension", knowledge=load_knowledge(), settings=SETTINGS)

    assert one(document.opinions, cardiovascular.TASK).lacking == ("smoking now",)


def test_a_trained_model_is_asked_beside_the_dose() -> None:
    who = a_patient(
        age=65, weight=82.0, height=175.0, conditions=(), problem_list_given=False, medication_list_given=False
    )

    document = dose(
        who, "warfarin", Given(now=NOW), knowledge=load_knowledge(), settings=SETTINGS,
        learned={warfarin.TASK: a_warfarin_engine().served},
    )  # fmt: skip

    prediction = one(document.opinions, warfarin.TASK).model
    assert prediction is not None
    assert prediction.estimate is not None
    assert prediction.estimate.value == pytest.approx(50.0 - 4.0 * 6 + 0.2 * 82.0, abs=2.0)
    assert prediction.estimate.low < prediction.estimate.value < prediction.estimate.high
    assert set(prediction.because) <= set(document.evidence)
    assert any("simulated patients" in said.what for said in said_of(one(document.opinions, warfarin.TASK)))


def test_the_model_changes_no_regimen() -> None:
    who = a_patient(age=65, weight=82.0, height=175.0)
    asked = {"knowledge": load_knowledge(), "settings": SETTINGS}

    without = dose(who, "warfarin", Given(now=NOW), learned={}, **asked)  # type: ignore[arg-type]
    beside = dose(who, "warfarin", Given(now=NOW), learned={warfarin.TASK: a_warfarin_engine().served}, **asked)  # type: ignore[arg-type]

    assert beside.regimens == without.regimens
    assert beside.computed == without.computed


def test_a_patient_unlike_those_of_the_training_gets_no_estimate() -> None:
    who = a_patient(age=19, weight=290.0, height=110.0)

    document = dose(
        who, "warfarin", Given(now=NOW), knowledge=load_knowledge(), settings=SETTINGS,
        learned={warfarin.TASK: a_warfarin_engine().served},
    )  # fmt: skip

    opinion = one(document.opinions, warfarin.TASK)
    assert opinion.model is not None
    assert opinion.model.estimate is None
    assert any("gives no answer" in said.says for said in said_of(opinion))


def test_a_model_in_a_knowledge_folder_is_asked_wherever_the_folder_is_given(tmp_path: Path) -> None:
    a_warfarin_engine().save(tmp_path / "learned" / "warfarin", FACTS)
    knowledge = load_knowledge(tmp_path)

    screening = screen_order(
        a_patient(age=65, weight=82.0, height=175.0), ["warfarin 5 mg po q24h"], knowledge=knowledge, settings=SETTINGS
    )

    assert set(models_of(knowledge)) == set(models_of(load_knowledge())) | {warfarin.TASK}
    assert warfarin.TASK not in models_of(load_knowledge())
    assert one(screening.opinions, warfarin.TASK).model is not None
    assert knowledge.version != load_knowledge().version


def test_an_order_of_another_drug_has_no_opinion() -> None:
    screening = screen_order(a_patient(), ["ramipril 5 mg po q24h"], knowledge=load_knowledge(), settings=SETTINGS)

    assert screening.opinions == ()


def test_a_checkpoint_inhibitor_says_what_the_record_lacks() -> None:
    screening = screen_order(a_patient(), ["pembrolizumab 200 mg iv"], knowledge=load_knowledge(), settings=SETTINGS)

    assert "tumour mutational burden" in one(screening.opinions, "immunotherapy").lacking


def test_a_model_of_a_task_that_nobody_asks_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "learned" / "strange"
    a_warfarin_engine().save(place, FACTS)
    told = json.loads((place / "manifest.json").read_text()) | {"task": "strange"}
    (place / "manifest.json").write_text(json.dumps(told))

    with pytest.raises(ModelError, match="strange"):
        models_of(load_knowledge(tmp_path))


def test_a_damaged_model_is_found_by_check_before_a_patient_is_asked(tmp_path: Path) -> None:
    place = tmp_path / "learned" / "warfarin"
    a_warfarin_engine().save(place, FACTS)
    assert check_all(tmp_path, as_json=True) == []
    (place / "graph.onnx").write_bytes(b"not a graph")

    found = check_all(tmp_path, as_json=True)

    assert [problem.file for problem in found] == ["learned"]
    assert "graph.onnx" in found[0].where
