"""The verbs on concentrations: `simulate` and `fit`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posologist.core.errors import InputError
from posologist.serve.cli_options import (
    AsOfOption,
    EventsOption,
    JsonOption,
    KnowledgeOption,
    PatientIdOption,
    print_json,
)
from posologist.serve.output import emit

if TYPE_CHECKING:
    from posologist.core.genotype import GeneticProfile, Versions
    from posologist.core.patient import Patient
    from posologist.core.settings import Settings
    from posologist.core.simulation import DoseDocument, SimulationDocument
    from posologist.knowledge.load import Knowledge
    from posologist.knowledge.models import PkModel

verbs = typer.Typer()
_EXAMPLE = 'e.g. {"CL": 5.2, "V1": 40}'
ModelOption = Annotated[
    str | None, typer.Option("--model", help="A model file (docs/model-file.md), or the id of one of ours.")
]


@verbs.command(
    epilog='Example: posologist simulate amlodipine --regimen "5 mg orally once daily" --times 0:72:1 --json'
)
def simulate(
    drug: Annotated[str | None, typer.Argument(help="Drug name; or give --model.")] = None,
    model: ModelOption = None,
    regimen: Annotated[str | None, typer.Option("--regimen", help='e.g. "5 mg orally once daily".')] = None,
    events: EventsOption = None,
    parameters: Annotated[
        str | None, typer.Option("--parameters", help="Structural parameters as JSON, or a file of it; with --model.")
    ] = None,
    times: Annotated[str | None, typer.Option("--times", help="T0:T1:STEP in hours.")] = None,
    patient: Annotated[Path | None, typer.Option("--patient", help="Record; a typical adult if absent.")] = None,
    as_of: AsOfOption = None,
    patient_id: PatientIdOption = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Concentration against time under a regimen or a list of administrations, of a drug or of a model file.

    With --model, --events is an event table in NONMEM's columns; without --times its own records are answered.
    """
    from posologist.serve.table import print_simulation

    if (drug is None) == (model is None):
        raise InputError("give one of them", where="DRUG and --model", hint="a drug name, or --model FILE.toml")
    if model is not None:
        if regimen is not None or patient is not None:
            raise InputError("is for a drug", where="--regimen or --patient", hint="give --events with --model")
        document = _of_model(model, events, parameters, times, knowledge)
    else:
        if parameters is not None:
            raise InputError("is for a model file", where="--parameters", hint="give it with --model")
        document = _of_drug(str(drug), regimen, events, times or "0:72:1", patient, as_of, patient_id, knowledge)
    if as_json:
        print_json(document)
    else:
        print_simulation(document)


def _of_drug(
    drug: str,
    regimen: str | None,
    events: Path | None,
    times: str,
    patient: Path | None,
    as_of: str | None,
    patient_id: str | None,
    knowledge: list[Path] | None,
) -> SimulationDocument:
    from posologist.recommend.dose import doses_from, simulate_for
    from posologist.serve import inputs

    if (regimen is None) == (events is None):
        raise InputError("give one of them", where="--regimen and --events", hint='e.g. --regimen "5 mg once daily"')
    facts = inputs.knowledge_of(knowledge)
    settings = inputs.settings_of(as_of)
    who = None
    if patient is not None:
        who, settings = inputs.patient_of(patient, patient_id, knowledge=facts, settings=settings, folders=knowledge)
    doses = doses_from(inputs.measured_of(None, events)["events"], facts.drug(drug).id)
    return simulate_for(
        drug, regimen=regimen, events=doses, times=times, patient=who, knowledge=facts, settings=settings
    )


def _of_model(
    model: str, events: Path | None, parameters: str | None, times: str | None, knowledge: list[Path] | None
) -> SimulationDocument:
    from posologist.recommend.dose import parse_times
    from posologist.serve import inputs
    from posologist.twin.events import read_events
    from posologist.twin.modelled import simulate_model

    if events is None:
        raise InputError(
            "an event table is needed with --model", where="--events", hint="give a CSV (docs/model-file.md)"
        )
    tables = read_events(events)
    if len(tables) != 1:
        raise InputError(f"{len(tables)} subjects", where=str(events), hint="give one subject at a time")
    return simulate_model(
        model_named(model, knowledge), tables[0], times=None if times is None else parse_times(times),
        parameters=_parameters(parameters), settings=inputs.settings_of(None), versions=versions(),
    )  # fmt: skip


@verbs.command(epilog="Example: posologist fit --model model.toml --data levels.csv --json")
def fit(
    model: Annotated[str, typer.Option("--model", help="A model file, or the id of one of ours.")],
    data: Annotated[Path, typer.Option("--data", help="Event table in NONMEM's columns.")],
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """The most probable parameters (MAP) of each subject of an event table."""
    from posologist.serve.charts import number
    from posologist.twin.events import read_events
    from posologist.twin.modelled import fit_document

    document = fit_document(model_named(model, knowledge), read_events(data), versions=versions())
    if as_json:
        print_json(document)
        return
    emit(f"Model {document.model}")
    for name, subject in document.subjects.items():
        values = ", ".join(f"{parameter} {number(value)}" for parameter, value in subject.parameters.items())
        state = "" if subject.converged else f" (no convergence: {'; '.join(subject.findings)})"
        emit(f"{name}: {values or 'no estimate'}{state}")


def dose_of_model(
    who: Patient,
    drug: str,
    model: str,
    *,
    levels: Path | None,
    events: Path | None,
    indication: str | None,
    target: str | None,
    genome: GeneticProfile | None,
    facts: Knowledge,
    settings: Settings,
    as_of: str | None,
    folders: list[Path] | None,
) -> DoseDocument:
    """The answer of `dose --model`; nothing may lie after the day of the question, which is today where not given."""
    from posologist.recommend.dose_by_model import dose_by_model
    from posologist.serve import inputs

    day = inputs.day_of(as_of) or datetime.now(UTC).date()
    return dose_by_model(
        who, drug, model_named(model, folders), **inputs.measured_of(levels, events),
        now=datetime.combine(day, time.max, UTC), indication=indication, target=target, genome=genome,
        knowledge=facts, settings=settings,
    )  # fmt: skip


def is_response(target: str) -> bool:
    """Whether a target is one of a response (INR, pressure)."""
    from posologist.recommend.dose_by_response import is_response as found

    return found(target)


def dose_of_response(
    who: Patient,
    drug: str,
    target: str,
    *,
    levels: Path | None,
    events: Path | None,
    indication: str | None,
    genome: GeneticProfile | None,
    facts: Knowledge,
    settings: Settings,
    as_of: str | None,
) -> DoseDocument:
    """The answer of `dose` for a target of a response; the day of the question is as in `dose_of_model`."""
    from posologist.recommend.dose_by_response import dose_by_response
    from posologist.serve import inputs

    day = inputs.day_of(as_of) or datetime.now(UTC).date()
    return dose_by_response(
        who, drug, target=target, **inputs.measured_of(levels, events), now=datetime.combine(day, time.max, UTC),
        indication=indication, genome=genome, knowledge=facts, settings=settings,
    )  # fmt: skip


def model_named(name: str, knowledge: list[Path] | None) -> PkModel:
    from posologist.knowledge.models import load_model, load_models

    if Path(name).is_file():
        return load_model(Path(name))
    held = load_models(_model_folders(knowledge))
    found = next((model for model in held if model.id == name), None)
    if found is None:
        known: Sequence[str] = [model.id for model in held]
        raise InputError(f"no model '{name}'", where="--model", hint=f"give a file, or one of {', '.join(known)}")
    return found


def _model_folders(knowledge: list[Path] | None) -> tuple[Path, ...]:
    from posologist.knowledge.models import MODELS_FOLDER

    return (MODELS_FOLDER, *(place for folder in knowledge or () if (place := folder / "models").is_dir()))


def _parameters(given: str | None) -> dict[str, float] | None:
    if given is None:
        return None
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON: {error}", where="--parameters", hint=_EXAMPLE) from error
    if not isinstance(values, dict) or not all(isinstance(v, int | float) for v in values.values()):
        raise InputError("holds no object of numbers", where="--parameters", hint=_EXAMPLE)
    return {str(name): float(value) for name, value in values.items()}


def versions() -> Versions:
    from posologist.core.genotype import Versions
    from posologist.core.version import VERSION

    return Versions(posologist=VERSION, knowledge="")
