"""The documents of `simulate --model` and `fit`: a model file, an event table, curves and most probable parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.fit import FitDocument, SubjectFit
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, Reason
from posologist.core.settings import Settings
from posologist.core.simulation import SimulationDocument
from posologist.core.values import DrugId, Estimate, EvidenceKey, Series, rounded
from posologist.knowledge.models import PkModel
from posologist.twin import linear, nonlinear
from posologist.twin.events import EventTable, Record
from posologist.twin.individual import factor_of, individual, typical_values
from posologist.twin.map import MapResult, map_estimates
from posologist.twin.randomness import generator_for, normal_draws
from posologist.twin.remarks import remarks_on

Array = npt.NDArray[np.float64]


def predict(model: PkModel, parameters: Sequence[Mapping[str, Array]], table: EventTable) -> Array:
    """Central concentrations (the model's unit) at every record, shape (n_draws, n_records).

    By closed forms; where elimination saturates by integration, for estimation and dosing: each step keeps six digits,
    which moves an estimate by less than 1e-6 standard deviations. `predict_closely` keeps eight.
    """
    if model.elimination == "linear":
        return np.asarray(linear.predict(model, parameters, table))
    return nonlinear.predict_nonlinear(model, parameters, table, rtol=1e-6, atol=1e-8)


def predict_closely(model: PkModel, parameters: Sequence[Mapping[str, Array]], table: EventTable) -> Array:
    """As `predict`; where elimination saturates each step keeps eight digits."""
    run = linear.predict if model.elimination == "linear" else nonlinear.predict_nonlinear
    return np.asarray(run(model, parameters, table))


def predict_outputs(model: PkModel, parameters: Sequence[Mapping[str, Array]], table: EventTable) -> dict[str, Array]:
    """Every output of the model at every record, each (n_draws, n_records) in its unit of `model.units`."""
    if model.elimination == "linear":
        return linear.predict_outputs(model, parameters, table)
    return nonlinear.predict_outputs(model, parameters, table)


def simulate_model(
    model: PkModel,
    table: EventTable,
    *,
    times: Sequence[float] | None,
    parameters: Mapping[str, float] | None,
    settings: Settings,
    versions: Versions,
) -> SimulationDocument:
    """Concentrations of one subject of an event table, and those of the metabolite where the model has one.

    Parameters
    ----------
    times
        Hours at which the curve is wanted; None: at the table's own records that are no doses.
    parameters
        Values for all structural parameters; None: the model's typical values for the subject's covariates, with a
        band over its variability between people.

    Raises
    ------
    InputError
        If a parameter that the structure needs is not given, or one is given that it does not have.
    """
    ledger = Ledger()
    table = named_as(model, table)
    keys = _sources(model, table, ledger)
    shown, wanted = _with_times(model, table, times)
    if parameters is not None:
        given = _checked(model, parameters)
        keys = (*keys, ledger.add("setting", f"parameters as given: {_listed(parameters)}", source="--parameters"))
        drawn = [given] * len(shown.records)
        typical = drawn
    else:
        values = typical_values(model, shown.records)
        typical = [individual(model, value, np.zeros((1, len(model.random)))) for value in values]
        etas = _draws(model, settings, table)
        drawn = [individual(model, value, etas) for value in values]
    middle = predict_outputs(model, typical, shown)
    spread = predict_outputs(model, drawn, shown) if parameters is None and model.random else {}
    because = (ledger.add("derived", f"{model.id}: concentrations of subject {table.subject}", because=keys),)
    return SimulationDocument(
        schema="posologist/simulation/1",
        drug=DrugId(model.drug),
        model=model.id,
        patient=table.subject,
        outputs={
            name: _series(unit, shown, wanted, middle[name], spread.get(name), settings, because)
            for name, unit in model.units.items()
        },
        parameters=_estimates(drawn[-1], typical[-1], settings, because) if spread else {},
        findings=_findings(model, table, keys, ledger),
        assumptions=_stated(model, parameters, ledger),
        evidence=ledger.entries(),
        versions=versions,
    )


def _findings(model: PkModel, table: EventTable, keys: tuple[EvidenceKey, ...], ledger: Ledger) -> tuple[Finding, ...]:
    drugs = (str(model.drug),)
    return tuple(
        Finding(
            severity="serious", title="Outside of what the model knows", detail=remark, drugs=drugs,
            because=(ledger.add("derived", remark, because=keys),),
        )
        for remark in remarks_on(model, table)
    )  # fmt: skip


def named_as(model: PkModel, table: EventTable) -> EventTable:
    """The table with its covariates named as the model writes them: "WT" of a table is "wt" of a model."""
    names = {covariate.name.lower(): covariate.name for covariate in model.covariates}
    records = tuple(
        replace(r, covariates={names.get(key.lower(), key): value for key, value in r.covariates.items()})
        for r in table.records
    )
    return replace(table, records=records)


def _stated(model: PkModel, parameters: Mapping[str, float] | None, ledger: Ledger) -> tuple[Reason, ...]:
    if not model.missing or parameters is not None:
        return ()
    text = f"{model.id} is not complete: {'; '.join(model.missing)}"
    return (Reason(text=text, because=(ledger.add("assumption", text),)),)


def _sources(model: PkModel, table: EventTable, ledger: Ledger) -> tuple[EvidenceKey, ...]:
    source = str(model.about.source)
    known = ledger.add("knowledge", f"model {model.id}: {model.title}", source=source, version=model.about.version)
    given = ledger.add("patient", f"events of subject {table.subject}", source="event table")
    return known, given


def _with_times(model: PkModel, table: EventTable, times: Sequence[float] | None) -> tuple[EventTable, list[int]]:
    """The table with a record at each time asked for, and where these stand; doses come before levels at one time."""
    if times is None:
        wanted = [n for n, record in enumerate(table.records) if not record.is_dose and record.evid != 3]
        if not wanted:
            raise InputError("no times are asked for", where="--times", hint="give T0:T1:STEP, or records with EVID 0")
        return table, wanted
    added = [_at(model, table, time) for time in times]
    rows = [(record.time, 0, n, record) for n, record in enumerate(table.records)]
    rows += [(record.time, 1, n, record) for n, record in enumerate(added)]
    rows.sort(key=lambda row: row[:3])
    records = tuple(row[3] for row in rows)
    return replace(table, records=records), [n for n, row in enumerate(rows) if row[1] == 1]


def _at(model: PkModel, table: EventTable, time: float) -> Record:
    """An observation without a value, with the covariates that hold at its time."""
    before = [record for record in table.records if record.time <= time] or [table.records[0]]
    after = [record for record in table.records if record.time >= time] or [table.records[-1]]
    backward = {covariate.name for covariate in model.covariates if covariate.carry == "backward"}
    values = {
        name: (after[0] if name in backward else before[-1]).covariates.get(name, value)
        for name, value in before[-1].covariates.items()
    }
    return Record(time=time, evid=0, mdv=1, covariates=values, where=f"time {time:g} h")


def _checked(model: PkModel, parameters: Mapping[str, float]) -> dict[str, Array]:
    names = set(model.structural)
    extra = set(parameters) & set(model.optional)
    if set(parameters) - extra != names:
        lacking, strange = sorted(names - set(parameters)), sorted(set(parameters) - names - extra)
        text = "; ".join(filter(None, (_said("is missing", lacking), _said("is not one of the model's", strange))))
        raise InputError(text, where="--parameters", hint=f"give {', '.join(sorted(names))}")
    return {name: np.array([float(value)]) for name, value in parameters.items()}


def _said(what: str, names: Sequence[str]) -> str:
    return f"{', '.join(names)} {what}" if names else ""


def _listed(parameters: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in sorted(parameters.items()))


def _draws(model: PkModel, settings: Settings, table: EventTable) -> Array:
    """Random effects of possible people, shape (n_draws, n_eta); a single person without effects if there are none."""
    if not model.random:
        return np.zeros((1, 0))
    chance = generator_for("simulate", model.id, table.subject, str(settings.draws))
    factor = factor_of(model.omega)
    return np.asarray(normal_draws(settings.draws, factor.shape[1], chance).T @ factor.T)


def _series(
    unit: str,
    table: EventTable,
    wanted: Sequence[int],
    middle: Array,
    spread: Array | None,
    settings: Settings,
    because: tuple[EvidenceKey, ...],
) -> Series:
    tail = (1 - settings.interval_level) / 2
    band = None if spread is None else np.quantile(spread[:, wanted], (tail, 1 - tail), axis=0)
    return Series(
        unit=unit,
        because=because,
        x=tuple(table.records[n].time for n in wanted),
        y=tuple(float(value) for value in middle[0, wanted]),
        low=() if band is None else tuple(float(value) for value in band[0]),
        high=() if band is None else tuple(float(value) for value in band[1]),
        level=None if band is None else settings.interval_level,
    )


def _estimates(
    drawn: Mapping[str, Array], typical: Mapping[str, Array], settings: Settings, because: tuple[EvidenceKey, ...]
) -> dict[str, Estimate]:
    tail = (1 - settings.interval_level) / 2
    found = {}
    for name, values in drawn.items():
        low, high = (rounded(float(v)) for v in np.quantile(values, (tail, 1 - tail)))
        value = rounded(float(typical[name][0]))
        found[name] = Estimate(
            value=value, unit=UNITS.get(name, ""), low=min(low, value), high=max(high, value),
            level=settings.interval_level, because=because,
        )  # fmt: skip
    return found


UNITS = {"CL": "L/h", "V1": "L", "Q": "L/h", "V2": "L", "Q3": "L/h", "V3": "L", "KA": "1/h", "KTR": "1/h"}
UNITS |= {"LAG": "h", "D": "h", "CLM": "L/h", "VM": "L", "QM": "L/h", "VM2": "L", "FM": "1", "FP": "1"}
"""Units of the structural parameters that have one whatever the model's dose and concentration."""


def fit_document(model: PkModel, tables: Sequence[EventTable], *, versions: Versions) -> FitDocument:
    """The most probable parameters of each subject of an event table.

    Raises
    ------
    InputError
        If there is no level in any of the tables, or the model says nothing of people and errors.
    """
    if not model.random or not model.residual:
        raise InputError(
            f"{model.id} has no random effects and no residual error, so nothing can be estimated",
            where="--model", hint="give `random`, `omega` and `residual`",
        )  # fmt: skip
    if not any(record.is_level or record.limit is not None for table in tables for record in table.records):
        raise InputError("the table has no levels (EVID 0 with a DV)", where="--data", hint="give at least one level")
    ledger = Ledger()
    tables = [named_as(model, table) for table in tables]
    results = map_estimates(model, tables)
    subjects = {
        table.subject: _subject(model, table, result, ledger) for table, result in zip(tables, results, strict=True)
    }
    failed = [name for name, found in subjects.items() if not found.converged]
    return FitDocument(
        schema="posologist/fit/1",
        model=model.id,
        subjects=subjects,
        findings=(f"no convergence for {', '.join(failed)}",) if failed else (),
        evidence=ledger.entries(),
        versions=versions,
    )


def _subject(model: PkModel, table: EventTable, result: MapResult, ledger: Ledger) -> SubjectFit:
    keys = _sources(model, table, ledger)
    text = f"{model.id}: most probable parameters of subject {table.subject}"
    usable = not result.problem
    findings = (*((result.problem,) if result.problem else ()), *remarks_on(model, table))
    said = tuple(ledger.add("derived", finding, because=keys) for finding in findings)
    return SubjectFit(
        eta={effect.eta: float(v) for effect, v in zip(model.random, result.eta, strict=True)} if usable else {},
        parameters={name: float(value) for name, value in result.parameters.items()} if usable else {},
        objective=float(result.objective) if usable else None,
        converged=bool(result.converged),
        iterations=result.iterations,
        predictions=tuple(float(value) for value in result.predictions) if usable else (),
        findings=findings,
        because=(ledger.add("derived", text, because=keys), *said),
    )
