"""Levels and population models inside a recommendation: findings of the twin, and exposure by models or by the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from patients import a_patient
from posologist.core.patient import Source
from posologist.core.recommendation import Recommendation
from posologist.core.regimen import Regimen
from posologist.core.settings import Settings
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.knowledge.models import PkModel
from posologist.recommend.exposed import curve_of, exposure_of
from posologist.recommend.opened import case_of
from posologist.recommend.pipeline import recommend
from posologist.records.table import EventRow, LevelRow
from posologist.twin.exposure import Exposure
from posologist.twin.kinetics import MissingKinetics
from tracing import evidence_faults, prose_faults

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
SOURCE = Source(document="made.csv", place="line 2")
SETTINGS = Settings(as_of=date(2026, 11, 20))
KNOWLEDGE = load_knowledge()


def given(n: int = 4, amount: float = 1000.0, drug: str = "vancomycin") -> tuple[EventRow, ...]:
    return tuple(
        EventRow(
            at=START + timedelta(hours=12 * k), amount=amount, unit="mg", route="iv", duration_h=2.0, drug=drug,
            source=SOURCE,
        )
        for k in range(n)
    )  # fmt: skip


def measured(*levels: tuple[float, float], analyte: str = "vancomycin") -> tuple[LevelRow, ...]:
    return tuple(
        LevelRow(at=START + timedelta(hours=hours), value=value, unit="mg/L", analyte=analyte, source=SOURCE)
        for hours, value in levels
    )


def recommended(**more: Any) -> Recommendation:
    who = a_patient(
        age=62, weight=80.0, height=178.0, creatinine=1.0, sbp=155.0, dbp=95.0, conditions=("hypertension",)
    )
    return recommend(who, "hypertension", knowledge=KNOWLEDGE, settings=SETTINGS, **more)


def test_high_levels_are_a_serious_finding_with_what_they_come_to() -> None:
    document = recommended(events=given(), levels=measured((35.5, 30.0), (38.0, 45.0)))
    (finding,) = [f for f in document.findings if f.title.startswith("Levels of vancomycin")]
    assert finding.severity == "serious"
    assert finding.title.endswith("likely toxic")
    assert "1000 mg iv over 2 h q12h" in finding.detail
    assert not any(entry.what.startswith("levels of vancomycin") for entry in document.not_checked)


def test_levels_in_the_target_are_no_alarm() -> None:
    document = recommended(events=given(amount=750.0), levels=measured((23.5, 9.0), (35.5, 11.0), (38.0, 20.0)))
    (finding,) = [f for f in document.findings if f.title.startswith("Levels of vancomycin")]
    assert finding.severity == "monitor"


def test_every_word_about_levels_has_its_evidence() -> None:
    document = recommended(events=given(), levels=measured((35.5, 30.0), (38.0, 45.0)))
    assert not evidence_faults(document)
    assert not prose_faults(document)


@pytest.mark.parametrize(
    ("levels", "events", "why"),
    [
        (measured((35.5, 12.0)), (), "first dose"),
        (measured((35.5, 12.0), analyte="ramipril"), (), "no complete population model"),
        (measured((35.5, 12.0), analyte="moonlight"), (), "moonlight"),
        ((), given(), "no levels of their drug"),
    ],
)
def test_what_nothing_was_made_of_is_listed_with_the_reason(
    levels: tuple[LevelRow, ...], events: tuple[EventRow, ...], why: str
) -> None:
    document = recommended(levels=levels, events=events)
    reasons = " ".join(f"{entry.what}: {entry.why}" for entry in document.not_checked)
    assert why in reasons
    assert not any(f.title.startswith("Levels of") for f in document.findings)


def test_levels_do_not_change_the_plans() -> None:
    with_levels = recommended(events=given(), levels=measured((35.5, 30.0), (38.0, 45.0)))
    assert [option.plan.text for option in with_levels.options] == [o.plan.text for o in recommended().options]


def verified(model: PkModel) -> PkModel:
    rows = {
        name: tuple(row.model_copy(update={"status": "verified"}) for row in getattr(model, name))
        for name in ("parameters", "residual")
    }
    return model.model_copy(update={**rows, "status": "verified"})


class WithModels(Knowledge):
    """The same facts, with the models of one drug replaced."""

    def models(self, drug: str) -> tuple[PkModel, ...]:
        found = super().models(drug)
        return tuple(verified(model) for model in found) if drug == "amlodipine" else found


def knowledge_with_verified_models() -> Knowledge:
    fields: Mapping[str, Any] = {name: getattr(KNOWLEDGE, name) for name in KNOWLEDGE.__dataclass_fields__}
    return replace(WithModels(**fields), _remembered={})


def exposures(knowledge: Knowledge, weight: float = 80.0) -> tuple[Exposure, Any]:
    who = a_patient(age=50, weight=weight, height=178.0, creatinine=1.0)
    case = case_of(who, knowledge.indication("hypertension"), genome=None, knowledge=knowledge, settings=SETTINGS)
    regimen = Regimen(drug=DrugId("amlodipine"), dose=5.0, interval_h=24.0, text="5 mg orally once daily")
    found = exposure_of(case, (DrugId("amlodipine"),), regimen)
    assert not isinstance(found, MissingKinetics)
    return found, curve_of(case, (DrugId("amlodipine"),), regimen)


def test_unverified_models_leave_the_exposure_to_the_drugs_file() -> None:
    assert any(model.status == "to verify" for model in KNOWLEDGE.models("amlodipine"))
    by_file, _ = exposures(KNOWLEDGE)
    by_model, _ = exposures(knowledge_with_verified_models())
    assert by_file.auc24.value != by_model.auc24.value


def test_verified_models_tell_the_exposure_and_its_curve() -> None:
    found, curve = exposures(knowledge_with_verified_models())
    (model,) = KNOWLEDGE.models("amlodipine")
    typical = model.typical({**model.reference, "weight": 80.0})
    assert found.auc24.value == pytest.approx(5.0 / typical["CL"], rel=0.1)
    assert found.trough is not None
    assert found.peak is not None
    assert found.trough.value < found.average.value < found.peak.value
    assert curve.unit == model.concentration_unit
    assert max(curve.y) > 0
