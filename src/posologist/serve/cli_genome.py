"""The verbs on genomes: `phenotype`, `guidance`, `knowledge import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from posologist.core.errors import InputError
from posologist.serve.cli_options import (
    AbsentOption,
    AsOfOption,
    BuildOption,
    JsonOption,
    KnowledgeOption,
    OutsideOption,
    PatientIdOption,
    SampleOption,
    print_json,
)
from posologist.serve.inputs import Absent, Build
from posologist.serve.output import emit

verbs = typer.Typer()
knowledge_verbs = typer.Typer(help="Bring reference data into a knowledge folder of your own.", no_args_is_help=True)


@verbs.command(epilog="Example: posologist phenotype sample.vcf --json")
def phenotype(
    vcf: Annotated[Path, typer.Argument(help="VCF (plain or bgzipped).")],
    sample: SampleOption = None,
    outside_calls: OutsideOption = None,
    absent: AbsentOption = "missing",
    build: BuildOption = "auto",
    as_json: JsonOption = False,
    as_tsv: Annotated[bool, typer.Option("--tsv", help="Print PharmCAT's calls-only table.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report, with the guidance, here.")] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="Day (YYYY-MM-DD) that the report shows.")] = None,
    all_samples: Annotated[bool, typer.Option("--all-samples", help="Every sample, as Parquet; needs --out.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file for --all-samples.")] = None,
    knowledge: KnowledgeOption = None,
) -> None:
    """Diplotypes and phenotypes of one sample, with what the file could not exclude."""
    from posologist.serve import inputs

    if all_samples or out is not None:
        _phenotype_all(vcf, out, all_samples, sample or outside_calls or html, absent, build, knowledge)
        return

    settings = inputs.settings_of(as_of)
    profile = inputs.genome_of(
        vcf, sample=sample, absent=absent, outside_calls=outside_calls, build=build, settings=settings,
        folders=knowledge,
    )  # fmt: skip
    assert profile is not None
    if html is not None:
        from posologist.genome.guidance import guidance_document
        from posologist.serve.profile_page import render_profile

        facts = inputs.knowledge_of(knowledge)
        page = render_profile(
            profile, guidance_document(profile, knowledge=facts), citations=facts.citations, day=settings.as_of
        )
        html.write_text(page, encoding="utf-8")
    if as_json:
        print_json(profile)
    elif as_tsv:
        from posologist.serve.profile_tsv import profile_tsv

        emit(profile_tsv(profile))
    elif html is None:
        from posologist.serve.profile_text import print_profile

        print_profile(profile)


def _phenotype_all(
    vcf: Path,
    out: Path | None,
    asked: bool,
    other: object,
    absent: Absent,
    build: Build,
    knowledge: list[Path] | None,
) -> None:
    from posologist.serve import inputs
    from posologist.serve.cohort_file import write_cohort

    if not asked or out is None:
        raise InputError("are given together", where="--all-samples and --out", hint="--all-samples --out FILE.parquet")
    if other is not None:
        raise InputError(
            "is for one sample", where="--sample, --outside-calls or --html", hint="leave it out with --all-samples"
        )
    rows = write_cohort(
        vcf, out, absent=absent, build=build, genes_folder=inputs.gene_folders(knowledge),
        settings=inputs.settings_of(None), progress=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    emit(f"{rows} rows written to {out}")


@verbs.command(epilog="Example: posologist guidance --profile phenotype.json --drug clopidogrel --json")
def guidance(
    profile: Annotated[Path, typer.Option("--profile", help="JSON that `posologist phenotype --json` wrote.")],
    drug: Annotated[list[str] | None, typer.Option("--drug", help="Drug name; may be repeated; all if absent.")] = None,
    patient: Annotated[Path | None, typer.Option("--patient", help="Record that chooses the population.")] = None,
    as_of: AsOfOption = None,
    patient_id: PatientIdOption = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report to this file.")] = None,
) -> None:
    """What CPIC and DPWG advise for these phenotypes, resolved to this patient where a record is given."""
    from posologist.genome.guidance import guidance_document
    from posologist.genome.outside import read_profile
    from posologist.recommend.opened import situation_of
    from posologist.serve import inputs

    facts = inputs.knowledge_of(knowledge)
    situation, day = None, inputs.day_of(as_of)
    if patient is not None:
        who, settings = inputs.patient_of(
            patient, patient_id, knowledge=facts, settings=inputs.settings_of(as_of), folders=knowledge
        )
        situation = situation_of(who, knowledge=facts, settings=settings)
        day = situation.as_of
    names = [facts.drug(name).id for name in drug] if drug else None
    genes = read_profile(profile)
    document = guidance_document(genes, names or (), knowledge=facts, situation=situation)
    if html is not None:
        from posologist.serve.profile_page import render_profile

        page = render_profile(genes, document, citations=facts.citations, day=day, situation=situation)
        html.write_text(page, encoding="utf-8")
    if as_json:
        print_json(document)
    elif html is None:
        from posologist.serve.profile_text import print_guidance

        print_guidance(document)


@knowledge_verbs.command("import", epilog="Example: posologist knowledge import rxnorm RxNorm/rrf --to my-knowledge")
def import_source(
    source: Annotated[str, typer.Argument(help="rxnorm or pharmcat")],
    path: Annotated[Path, typer.Argument(help="Folder with the source's files.")],
    to: Annotated[Path, typer.Option("--to", help="Knowledge folder to write into.")] = Path("knowledge"),
) -> None:
    """Reads a source into a knowledge folder of your own: RxNorm's products, or a newer release of gene tables."""
    if source == "rxnorm":
        from posologist.records.rxnorm import import_rxnorm

        emit(f"{import_rxnorm(path, to)} products written to {to}")
    elif source == "pharmcat":
        from datetime import date

        from posologist.knowledge.upstream import import_release

        changes = import_release(path, to, retrieved=date.today().isoformat())
        for change in changes:
            emit(change.text())
        emit(f"{len(changes)} genes written to {to / 'genes'}; use them with --knowledge {to}")
    else:
        raise InputError(f"no importer for '{source}'", where="SOURCE", hint="the importers: rxnorm, pharmcat")
