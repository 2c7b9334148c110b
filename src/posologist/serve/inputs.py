"""What the command line is given: record, genome, levels, preferences, settings; each file read once, or refused."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from posologist.core.errors import InputError

if TYPE_CHECKING:
    from posologist.core.genotype import GeneticProfile
    from posologist.core.patient import Patient, Preference
    from posologist.core.settings import Settings
    from posologist.knowledge.load import Knowledge
    from posologist.records.table import LevelRow

Absent = Literal["missing", "reference"]
Build = Literal["auto", "GRCh37", "GRCh38"]
_PREFERENCE_COLUMNS = ("about", "wish", "points", "cost_per_month")


class GivenGenes(NamedTuple):
    """Where the genes of a question are read."""

    genome: Path | None
    profile: Path | None
    sample: str | None
    absent: Absent
    outside_calls: Path | None


class Given(NamedTuple):
    """What a question about one patient is answered from."""

    facts: Knowledge
    patient: Patient
    genome: GeneticProfile | None
    settings: Settings


def knowledge_of(folders: Sequence[Path] | None) -> Knowledge:
    """The package's facts, with those of the user's folders."""
    from posologist.knowledge.load import load_knowledge

    return load_knowledge(*(folders or ()))


def day_of(as_of: str | None) -> date | None:
    """The day of the question as given; None: the record decides (`patient_of`)."""
    if as_of is None:
        return None
    try:
        return date.fromisoformat(as_of)
    except ValueError as error:
        raise InputError(f"'{as_of}' is not a date", where="--as-of", hint="write YYYY-MM-DD") from error


def settings_of(as_of: str | None, **chosen: Any) -> Settings:
    """Settings with what the user chose; a value beyond a safety floor is refused."""
    from pydantic import ValidationError

    from posologist.core.settings import Settings

    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        return Settings(as_of=day_of(as_of), **given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(str(first["msg"]), where=option, hint="safety floors cannot be lowered") from error


def patient_of(
    path: Path,
    patient_id: str | None,
    *,
    knowledge: Knowledge,
    settings: Settings,
    folders: Sequence[Path] | None = None,
) -> tuple[Patient, Settings]:
    """The patient of a FHIR document or of a folder of CSV tables, and the settings with the day of the question.

    The day is the one given, else the newest date of the record, else today.

    `folders` are the user's knowledge folders: the first that holds an imported RxNorm map resolves drug codes.
    """
    from posologist.records.rxnorm import load_rxnorm

    rxnorm = next((found for folder in folders or () if (found := load_rxnorm(folder)) is not None), None)
    asked: dict[str, Any] = {"as_of": settings.as_of, "patient_id": patient_id, "rxnorm": rxnorm}
    if path.suffix.lower() == ".csv" or (path.is_dir() and (path / "patient.csv").is_file()):
        from posologist.records.table import read_csv_patient

        who = read_csv_patient(path, knowledge=knowledge, **asked)
    else:
        from posologist.records.fhir_in import read_patient

        who = read_patient(path, knowledge=knowledge, **asked)
    day = settings.as_of or who.latest_entry or date.today()
    return who, settings.model_copy(update={"as_of": day})


def genome_of(
    genome: Path | None,
    profile: Path | None = None,
    *,
    sample: str | None,
    absent: Absent,
    outside_calls: Path | None,
    build: Build = "auto",
    patient: Patient | None = None,
    settings: Settings,
    folders: list[Path] | None = None,
) -> GeneticProfile | None:
    """The genes, from a VCF, a table of calls, or a profile that was written before; None when nothing was given."""
    if profile is not None:
        if genome is not None or outside_calls is not None:
            raise InputError("given together with --profile", where="--genome", hint="give one of them")
        from posologist.genome.outside import read_profile

        return read_profile(profile)
    if genome is None and outside_calls is None:
        return None
    from posologist.genome.document import call_genome

    identifiers = () if patient is None else (patient.id, *patient.identifiers)
    return call_genome(
        genome, sample=sample, identifiers=identifiers, absent=absent, build=build, outside_calls=outside_calls,
        settings=settings, genes_folder=gene_folders(folders),
    )  # fmt: skip


def given_of(
    patient: Path, patient_id: str | None, genes: GivenGenes, *, settings: Settings, folders: list[Path] | None
) -> Given:
    """Facts, record and genes of a question about one patient; the day is settled by the record (`patient_of`)."""
    facts = knowledge_of(folders)
    who, settled = patient_of(patient, patient_id, knowledge=facts, settings=settings, folders=folders)
    called = genome_of(
        genes.genome, genes.profile, sample=genes.sample, absent=genes.absent, outside_calls=genes.outside_calls,
        patient=who, settings=settled, folders=folders,
    )  # fmt: skip
    return Given(facts, who, called, settled)


def gene_folders(folders: list[Path] | None) -> tuple[Path, ...]:
    """Where gene facts are read: the package, then the folders of the user's own that hold some."""
    from posologist.knowledge.genes import GENES_FOLDER

    return (GENES_FOLDER, *(place for folder in folders or () if (place := folder / "genes").is_dir()))


def _level_rows(path: Path | None) -> tuple[LevelRow, ...]:
    if path is None:
        return ()
    from posologist.records.table import read_levels

    return read_levels(path)


def measured_of(levels: Path | None, events: Path | None) -> dict[str, Any]:
    """Levels and administrations as the rows of their tables."""
    from posologist.records.table import read_events

    return {"levels": _level_rows(levels), "events": read_events(events) if events is not None else ()}


def up_to_measured(settings: Settings, measured: dict[str, Any]) -> Settings:
    """Settings whose day is not before the newest level or administration: the day of a question without --as-of."""
    days = [row.at.date() for rows in measured.values() for row in rows]
    newest = max((settings.as_of, *days)) if settings.as_of is not None else None
    return settings if newest is None else settings.model_copy(update={"as_of": newest})


def preferences_of(path: Path | None, knowledge: Knowledge) -> tuple[Preference, ...]:
    """Wishes and costs of a CSV with the columns about, wish (avoid or prefer), points, cost_per_month.

    Raises
    ------
    InputError
        With file, line and column, if a column is missing, a drug or group is unknown, or a cell is no number.
    """
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("not a text file", where=str(path), hint="give a CSV file in UTF-8") from error
    reader = csv.DictReader(lines)
    if "about" not in (reader.fieldnames or ()):
        columns = ", ".join(_PREFERENCE_COLUMNS)
        raise InputError("the column 'about' is missing", where=str(path), hint=f"give the columns {columns}")
    return tuple(_preference(row, path, number, knowledge) for number, row in enumerate(reader, start=2))


def _preference(row: dict[str, str | None], path: Path, line: int, knowledge: Knowledge) -> Preference:
    from posologist.core.patient import Preference, Source

    where = f"{path}:{line}"
    about = (row.get("about") or "").strip()
    name = about if about in knowledge.groups else str(knowledge.drug(about).id)
    wish = (row.get("wish") or "prefer").strip().lower()
    if wish not in ("avoid", "prefer"):
        raise InputError(f"wish '{wish}'", where=where, hint="write avoid or prefer")
    return Preference(
        about=name,
        wish="avoid" if wish == "avoid" else "prefer",
        points=_amount(row.get("points"), where, "points") or 0.0,
        cost_per_month=_amount(row.get("cost_per_month"), where, "cost_per_month"),
        source=Source(document=path.name, place=f"line {line}"),
    )


def _amount(text: str | None, where: str, column: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        value = float(str(text))
    except ValueError as error:
        raise InputError(f"{column} '{text}' is not a number", where=where, hint="write e.g. 12.5") from error
    if not 0 <= value < float("inf"):
        raise InputError(f"{column} '{text}' is not a positive number", where=where, hint="write e.g. 12.5")
    return value
