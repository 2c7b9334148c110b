"""The verb `follow-up`: where an accepted plan stands, and what changed in the advice."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posologist.core.errors import InputError
from posologist.serve import cli_options as options

if TYPE_CHECKING:
    from posologist.core.recommendation import Recommendation

verbs = typer.Typer()


@verbs.command(
    "follow-up",
    epilog="Example: posologist follow-up --patient bundle.json --decision demo.json --started 2026-11-21 "
    "--profile phenotype.json",
)
def follow_up(
    patient: options.PatientOption,
    decision: Annotated[Path, typer.Option("--decision", help="JSON that `posologist recommend --json` wrote.")],
    started: Annotated[str, typer.Option("--started", help="First day on the plan (YYYY-MM-DD).")],
    rank: Annotated[int, typer.Option("--rank", min=1, help="Which plan was accepted.")] = 1,
    observations: Annotated[
        Path | None, typer.Option("--observations", help="CSV of new results: key or loinc, value, unit, time.")
    ] = None,
    levels: options.LevelsOption = None,
    events: options.EventsOption = None,
    genome: options.GenomeOption = None,
    profile: options.ProfileOption = None,
    sample: options.SampleOption = None,
    absent: options.AbsentOption = "missing",
    outside_calls: options.OutsideOption = None,
    as_of: options.AsOfOption = None,
    patient_id: options.PatientIdOption = None,
    knowledge: options.KnowledgeOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """An accepted plan: what is due, overdue or not as expected, and the advice made again with what changed and why.

    --patient is the record of the decision or a newer one; results dated after the decision count as new wherever they
    stand. Without --as-of the day is that of the newest entry.
    """
    from posologist.recommend.followup_report import follow_up as run
    from posologist.serve import inputs
    from posologist.serve.followup_input import read_observations

    facts = inputs.knowledge_of(knowledge)
    chosen = _decision(decision)
    given = inputs.settings_of(as_of)
    who, _ = inputs.patient_of(patient, patient_id, knowledge=facts, settings=given, folders=knowledge)
    new = () if observations is None else read_observations(observations, knowledge=facts)
    measured = inputs.measured_of(levels, events)
    began = _day(started, "--started")
    days = [o.at.date() for o in new if o.at is not None] + [row.at.date() for row in measured["levels"]]
    newest = max(day for day in (who.latest_entry, began, *days) if day is not None)
    today = given.as_of or newest
    genes = inputs.genome_of(
        genome, profile, sample=sample, absent=absent, outside_calls=outside_calls, patient=who,
        settings=chosen.settings, folders=knowledge,
    )  # fmt: skip
    report = run(
        chosen, rank, patient=who, observations=new, started_on=began, today=today, genome=genes, knowledge=facts,
        **measured,
    )  # fmt: skip
    if as_json:
        options.print_json(report)
    else:
        from posologist.serve.followup_table import print_follow_up

        print_follow_up(report)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"'{text}' is not a date", where=option, hint="write YYYY-MM-DD") from error


def _decision(path: Path) -> Recommendation:
    """The recommendation that was decided upon.

    Raises
    ------
    InputError
        If the file is not JSON of this document, or of a version that can no longer be read.
    """
    from pydantic import ValidationError

    from posologist.core.recommendation import Recommendation

    hint = "give the JSON that `posologist recommend --json` wrote"
    try:
        return Recommendation.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"not a recommendation: {place} {first['msg']}".strip()
        raise InputError(what, where=str(path), hint=hint) from error
