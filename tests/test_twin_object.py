"""The twin: a prior, a log, a posterior; updated, simulated, compared, stored and made again."""

from __future__ import annotations

import numpy as np
import pytest

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.core.twin import TwinRecord
from posologist.knowledge.models import PkModel, load_models
from posologist.twin.events import DOSE, OTHER, EventTable, Record
from posologist.twin.individual import individual
from posologist.twin.modelled import predict
from posologist.twin.posterior import ENOUGH
from posologist.twin.twin import Twin, replayed

VERSIONS = Versions(posologist="0", knowledge="test")
NORMAL = {"crcl": 100.0, "weight": 80.0, "dialysis": 0.0}
FAILING = {**NORMAL, "crcl": 30.0}


def model_named(name: str) -> PkModel:
    return next(model for model in load_models() if model.id == name)


GOTI = model_named("vancomycin_goti2018")


def dose(time: float, amount: float = 1000.0) -> Record:
    return Record(time, evid=DOSE, amt=amount, rate=amount, mdv=1, covariates=NORMAL)


def level(time: float, value: float) -> Record:
    return Record(time, dv=value, covariates=NORMAL)


def a_twin(*records: Record, present: dict[str, float] | None = None) -> Twin:
    return Twin(GOTI, "p1", draws=400, present=present or NORMAL).update(*(records or (dose(0.0), dose(12.0))))


def test_a_twin_without_levels_is_the_population() -> None:
    people = a_twin().people
    typical = GOTI.typical(NORMAL)
    assert people.found is None
    assert np.median(people.parameters["CL"]) == pytest.approx(typical["CL"], rel=0.01)
    assert np.std(np.log(people.parameters["CL"])) == pytest.approx(np.sqrt(GOTI.omega[0][0]), rel=0.05)


def test_a_level_moves_and_narrows_a_new_twin_and_leaves_the_old_one() -> None:
    before = a_twin()
    width = np.std(np.log(before.people.parameters["CL"]))
    after = before.update(level(11.5, 25.0), level(23.5, 40.0))
    assert after.people.found is not None
    assert after.people.found.effective >= ENOUGH
    assert np.median(after.people.parameters["CL"]) < np.median(before.people.parameters["CL"])
    assert np.std(np.log(after.people.parameters["CL"])) < width
    assert not before.people.found


def test_the_order_of_updates_changes_nothing() -> None:
    one = a_twin().update(level(11.5, 9.0)).update(level(20.0, 14.0), dose(24.0))
    two = a_twin().update(dose(24.0), level(20.0, 14.0), level(11.5, 9.0))
    assert one.log == two.log
    assert np.array_equal(one.people.etas, two.people.etas)


def test_simulation_goes_on_from_the_log() -> None:
    twin = a_twin(dose(0.0), dose(12.0), level(11.5, 9.0))
    coming = (dose(24.0, 1500.0),)
    times = np.array([6.0, 23.0, 25.0, 30.0])
    found = twin.simulate(coming, times)
    rows = [dose(0.0), Record(6.0, mdv=1), dose(12.0), Record(23.0, mdv=1), *coming, Record(25.0, mdv=1)]
    table = EventTable("p1", (*rows, Record(30.0, mdv=1)))
    parameters = individual(GOTI, GOTI.typical(NORMAL), twin.people.etas)
    direct = predict(GOTI, [parameters] * len(table.records), table)[:, [1, 3, 5, 6]]
    assert found == pytest.approx(direct, rel=1e-12)


def test_a_change_of_the_kidney_acts_from_its_time_on() -> None:
    change = Record(24.0, evid=OTHER, mdv=1, covariates=FAILING)
    healthy, failing = a_twin(), a_twin(dose(0.0), dose(12.0), change, present=FAILING)
    times = np.array([6.0, 23.0, 36.0, 60.0])
    before, after = healthy.simulate((), times), failing.simulate((), times)
    assert before[:, :2] == pytest.approx(after[:, :2], rel=1e-12)
    assert np.all(after[:, 2:] > before[:, 2:])
    ratio = failing.people.parameters["CL"] / healthy.people.parameters["CL"]
    assert ratio == pytest.approx((30.0 / 100.0) ** 0.8, rel=1e-9)


def test_levels_before_a_change_of_the_kidney_are_read_with_the_old_one() -> None:
    change = Record(24.0, evid=OTHER, mdv=1, covariates=FAILING)
    seen = (dose(0.0), dose(12.0), level(11.5, 9.0))
    same, changed = a_twin(*seen), a_twin(*seen, change, present=FAILING)
    assert changed.people.found is not None
    assert same.people.found is not None
    assert changed.people.found.estimate.eta == pytest.approx(same.people.found.estimate.eta, abs=1e-6)


def test_plans_are_compared_in_the_same_possible_patients() -> None:
    twin = a_twin()
    times = np.linspace(24.0, 48.0, 9)
    found = twin.compare({"less": [dose(24.0, 500.0)], "more": [dose(24.0, 1000.0)]}, times)
    none = twin.simulate((), times)
    assert found["more"] - none == pytest.approx(2.0 * (found["less"] - none), rel=1e-9)


def test_a_stored_twin_is_made_again_to_the_last_digit() -> None:
    twin = a_twin(dose(0.0), dose(12.0), level(11.5, 9.0), Record(24.0, evid=OTHER, mdv=1, covariates=FAILING))
    stored = twin.record(origin="2026-11-02T08:00:00+00:00", versions=VERSIONS)
    again = replayed(TwinRecord.model_validate_json(stored.model_dump_json(by_alias=True)), GOTI)
    assert again.log == twin.log
    assert np.array_equal(again.people.etas, twin.people.etas)
    assert np.array_equal(again.simulate((), np.array([30.0])), twin.simulate((), np.array([30.0])))


def test_a_stored_twin_is_refused_with_another_content_of_its_model() -> None:
    stored = a_twin().record(origin=None, versions=VERSIONS)
    changed = tuple(
        theta.model_copy(update={"value": 5.0}) if theta.name == "cl_pop" else theta for theta in GOTI.parameters
    )
    with pytest.raises(InputError, match="vancomycin_goti2018"):
        replayed(stored, GOTI.model_copy(update={"parameters": changed}))
