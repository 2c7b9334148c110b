"""The options that several verbs share, and how a verb prints a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posologist.serve.inputs import Absent, Build
from posologist.serve.output import emit, json_text

if TYPE_CHECKING:
    from pydantic import BaseModel

PatientOption = Annotated[
    Path, typer.Option("--patient", help="FHIR R4 bundle, NDJSON file or folder, or a folder of CSV tables.")
]
PatientIdOption = Annotated[
    str | None, typer.Option("--patient-id", help="Which patient, when the file holds several.")
]
GenomeOption = Annotated[Path | None, typer.Option("--genome", help="VCF (plain or bgzipped).")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="JSON that `posologist phenotype --json` wrote.")]
SampleOption = Annotated[str | None, typer.Option("--sample", help="Sample of a VCF with several.")]
AbsentOption = Annotated[Absent, typer.Option("--absent", help="What a position without a record in the VCF is.")]
OutsideOption = Annotated[
    Path | None, typer.Option("--outside-calls", help="TSV of a laboratory's calls: gene, diplotype.")
]
BuildOption = Annotated[Build, typer.Option("--build", help="Reference genome of the VCF.")]
AsOfOption = Annotated[
    str | None, typer.Option("--as-of", help="The day of the question (YYYY-MM-DD); else the record's newest date.")
]
KnowledgeOption = Annotated[
    list[Path] | None,
    typer.Option("--knowledge", help="Folder with drugs, guidance, ... of your own; may be repeated."),
]
LevelsOption = Annotated[Path | None, typer.Option("--levels", help="CSV of drug levels: time, value, unit, analyte.")]
EventsOption = Annotated[
    Path | None, typer.Option("--events", help="CSV of administrations: time, amount, unit, route, duration_h, drug.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def print_json(document: BaseModel) -> None:
    """A document as JSON on standard output."""
    emit(json_text(document))
