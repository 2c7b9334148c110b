"""Levels of the drug itself in `dose`, where a model tells its metabolite as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from posologist.core.evidence import Ledger
from posologist.core.patient import Source
from posologist.knowledge.models import load_model
from posologist.records.table import EventRow, LevelRow
from posologist.twin.patient_model import Since, history_of
from posologist.twin.twin import Twin

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
EXAMPLES = Path(__file__).parent.parent / "examples" / "models"


def test_a_level_of_the_drug_teaches_a_model_with_two_outputs() -> None:
    model = load_model(EXAMPLES / "metabolite.toml")
    source = Source(document="made.csv", place="line 2")
    doses = [
        EventRow(at=START + timedelta(hours=24 * n), amount=500.0, unit="mg", route="oral", source=source)
        for n in range(3)
    ]
    level = LevelRow(at=START + timedelta(hours=71), value=40.0, unit="mg/L", analyte=str(model.drug), source=source)
    history = history_of(
        model, doses, [level], is_drug={str(model.drug): True}, course=[Since(None, dict(model.reference))],
        subject="p1", now=START + timedelta(days=9), ledger=Ledger(),
    )  # fmt: skip
    before = Twin(model, "p1", tuple(r for r in history.table.records if r.is_dose), model.reference)
    after = Twin(model, "p1", history.table.records, model.reference)

    assert after.people.found is not None
    assert after.people.found.enough
    assert np.median(after.people.parameters["CL"]) < np.median(before.people.parameters["CL"])
