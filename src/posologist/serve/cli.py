"""The command line: `posologist VERB`. Its verbs, JSON and exit codes are a public interface."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from posologist.core.errors import PosologistError
from posologist.serve import (
    cli_explore,
    cli_followup,
    cli_genome,
    cli_serve,
    cli_server,
    cli_study,
    cli_train,
    cli_twin,
)
from posologist.serve.cli_options import (
    AbsentOption,
    AsOfOption,
    EventsOption,
    GenomeOption,
    JsonOption,
    KnowledgeOption,
    LevelsOption,
    OutsideOption,
    PatientIdOption,
    PatientOption,
    ProfileOption,
    SampleOption,
    print_json,
)
from posologist.serve.output import ReaderGoneError, emit

if TYPE_CHECKING:
    from posologist.core.recommendation import Recommendation
    from posologist.knowledge.load import Knowledge

app = typer.Typer(
    name="posologist",
    help="The right drug, at the right dose, for this patient, with the reasons. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_genome.verbs)
app.add_typer(cli_twin.verbs)
app.add_typer(cli_study.verbs)
app.add_typer(cli_train.verbs)
app.add_typer(cli_explore.verbs)
app.add_typer(cli_followup.verbs)
app.add_typer(cli_genome.knowledge_verbs, name="knowledge")
app.add_typer(cli_server.verbs)
app.add_typer(cli_server.account_verbs, name="account")
app.add_typer(cli_serve.audit_verbs, name="audit")
app.add_typer(cli_serve.store_verbs, name="store")


def main() -> None:
    """Entry point: runs a verb; an error becomes one line on stderr and an exit code, never a traceback.

    A reader that closes the pipe early (`| head`) has what it wanted: that ends with code 0.
    """
    # No plug-in may change how values are validated; not looking for one also saves 10 ms of every call.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except (typer.Abort, KeyboardInterrupt):
        _fail("input", "stopped", 2, message="stopped")
    except (ReaderGoneError, BrokenPipeError):
        _close_output()
        sys.exit(0)
    except PosologistError as error:
        _fail(error.kind, str(error), error.code, where=error.where, hint=error.hint, message=error.message)
    except OSError as error:
        place, what = str(error.filename or "the output"), error.strerror or str(error)
        _fail("input", f"{place}: {what}; check the path", 2, where=place, hint="check the path", message=what)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line instead of a traceback
        if type(error).__name__ == "NoArgsIsHelpError":
            print(_usage(error))
            sys.exit(0)
        if type(error).__module__.startswith(("click", "typer")):
            _fail("input", f"{_usage(error)} See --help.", 2, message=_usage(error), hint="see --help")
        where, name = _place_of(error), type(error).__name__
        _fail("defect", f"defect in posologist: {name}: {error} ({where})", 1, where=where, message=f"{name}: {error}")


def _usage(error: Exception) -> str:
    return str(getattr(error, "format_message", lambda: str(error))()) or "The command cannot be read."


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""


def _fail(kind: str, line: str, code: int, *, where: str = "", hint: str = "", message: str = "") -> NoReturn:
    print(" ".join(line.split()), file=sys.stderr)
    try:
        if "--json" in sys.argv[1:]:
            print(json.dumps({"error": {"code": kind, "message": message, "where": where, "hint": hint}}))
        sys.stdout.flush()
    except OSError:  # standard output itself is what failed; the line on stderr has been printed
        _close_output()
    sys.exit(code)


def _close_output() -> None:
    """Nothing more reaches standard output, not even what Python flushes when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from posologist.core.version import VERSION

        emit(f"posologist {VERSION}")
        raise typer.Exit


@app.command(epilog="Example: posologist demo")
def demo(
    html: Annotated[Path, typer.Option("--html", help="Where to write the page.")] = Path("demo.html"),
    as_json: JsonOption = False,
) -> None:
    """The founding case end to end: prints the ranked table and writes demo.html."""
    from posologist.serve.demo import founding_recommendation
    from posologist.serve.report import render_html

    document = founding_recommendation()
    html.write_text(render_html(document), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        from posologist.serve.table import print_outcome, print_table
        from posologist.study.founding import compare_with_published

        print_table(document)
        print_outcome(compare_with_published(document))
    print(f"The page: {html}", file=sys.stderr)


@app.command(
    epilog="Example: posologist recommend --patient bundle.json --for hypertension --genome sample.vcf --html page.html"
)
def recommend(
    patient: PatientOption,
    indication: Annotated[str, typer.Option("--for", help="What is treated, e.g. hypertension.")],
    genome: GenomeOption = None,
    profile: ProfileOption = None,
    sample: SampleOption = None,
    absent: AbsentOption = "missing",
    outside_calls: OutsideOption = None,
    levels: LevelsOption = None,
    events: EventsOption = None,
    as_of: AsOfOption = None,
    guideline: Annotated[str | None, typer.Option("--guideline", help="US25 or ESC24.")] = None,
    harm_aversion: Annotated[
        float | None, typer.Option("--harm-aversion", help="lambda, weight of harm against benefit.")
    ] = None,
    preferences: Annotated[
        Path | None, typer.Option("--preferences", help="CSV: about, wish (avoid|prefer), points, cost_per_month.")
    ] = None,
    patient_id: PatientIdOption = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
    table: Annotated[bool, typer.Option("--table", help="Print the ranked table (default).")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file.")] = None,
    fhir: Annotated[Path | None, typer.Option("--fhir", help="Write FHIR R4 proposals to this file.")] = None,
) -> None:
    """Ranked plans for one patient, each with its dose and reasons; what was ruled out; what was not checked."""
    from posologist.recommend.pipeline import recommend as run
    from posologist.serve import inputs

    genes = inputs.GivenGenes(genome, profile, sample, absent, outside_calls)
    chosen = inputs.settings_of(as_of, guideline=guideline, harm_aversion=harm_aversion)
    facts, who, called, settings = inputs.given_of(patient, patient_id, genes, settings=chosen, folders=knowledge)
    if preferences is not None:
        who = who.model_copy(update={"preferences": inputs.preferences_of(preferences, facts)})
    measured = inputs.measured_of(levels, events)
    if as_of is None:
        settings = inputs.up_to_measured(settings, measured)
    document = run(who, indication, genome=called, knowledge=facts, settings=settings, **measured)
    _write(document, facts, html, fhir)
    if as_json:
        print_json(document)
    elif table or (html is None and fhir is None):
        from posologist.serve.table import print_table

        print_table(document)


def _write(document: Recommendation, knowledge: Knowledge, html: Path | None, fhir: Path | None) -> None:
    if html is not None:
        from posologist.serve.report import render_html

        html.write_text(render_html(document), encoding="utf-8")
    if fhir is not None:
        from posologist.records.fhir_out import to_fhir

        codes = {str(drug.id): drug.rxcui for drug in knowledge.drugs.values() if drug.rxcui}
        bundle = to_fhir(document, rxcui=codes)
        fhir.write_text(json.dumps(bundle, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@app.command(epilog='Example: posologist screen --patient bundle.json --order "warfarin 5 mg po q24h" --json')
def screen(
    patient: PatientOption,
    order: Annotated[list[str], typer.Option("--order", help="What is to be ordered; may be repeated.")],
    genome: GenomeOption = None,
    profile: ProfileOption = None,
    sample: SampleOption = None,
    absent: AbsentOption = "missing",
    outside_calls: OutsideOption = None,
    as_of: AsOfOption = None,
    patient_id: PatientIdOption = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Safety of an order for this patient: interactions, contraindications, genes, kidney, allergy, duplicates."""
    from posologist.recommend.order import screen_order
    from posologist.serve import inputs

    genes = inputs.GivenGenes(genome, profile, sample, absent, outside_calls)
    given = inputs.given_of(patient, patient_id, genes, settings=inputs.settings_of(as_of), folders=knowledge)
    document = screen_order(
        given.patient, tuple(order), genome=given.genome, knowledge=given.facts, settings=given.settings
    )
    if as_json:
        print_json(document)
    else:
        from posologist.serve.table import print_screening

        print_screening(document)


@app.command(epilog="Example: posologist dose amlodipine --patient bundle.json --json")
def dose(
    drug: Annotated[str, typer.Argument(help="Drug name.")],
    patient: PatientOption,
    genome: GenomeOption = None,
    profile: ProfileOption = None,
    sample: SampleOption = None,
    absent: AbsentOption = "missing",
    outside_calls: OutsideOption = None,
    levels: LevelsOption = None,
    events: EventsOption = None,
    model: cli_twin.ModelOption = None,
    twin: cli_twin.TwinOption = None,
    covariate: cli_twin.CovariateOption = None,
    mic: cli_twin.MicOption = None,
    at: cli_twin.AtOption = None,
    target: Annotated[str | None, typer.Option("--target", help='e.g. "auc24 400-600 h.mg/L", "inr 2-3".')] = None,
    indication: Annotated[str | None, typer.Option("--for", help="Indication whose dose limits apply.")] = None,
    as_of: AsOfOption = None,
    patient_id: PatientIdOption = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Regimens of one drug for this patient, by exposure, within the limits of kidney, liver, age and genes.

    The patient's own kinetics are estimated from --events (doses given) and --levels by the drug's population models:
    the one named with --model, else the average of those that can answer for this patient.
    A target of the INR or of the systolic pressure is answered by what the doses do ("systolic 120-130 mmHg").
    """
    from posologist.serve import inputs
    from posologist.serve.dose_table import print_dose

    genes = inputs.GivenGenes(genome, profile, sample, absent, outside_calls)
    given = inputs.given_of(patient, patient_id, genes, settings=inputs.settings_of(as_of), folders=knowledge)
    document = cli_twin.dose_answer(
        given.patient, drug, model=model, levels=levels, events=events, twin=twin, covariates=covariate, mic=mic, at=at,
        indication=indication, target=target, genome=given.genome, facts=given.facts, settings=given.settings,
        as_of=as_of, folders=knowledge,
    )  # fmt: skip
    if as_json:
        print_json(document)
    else:
        print_dose(document)


@app.command(epilog="Example: posologist check")
def check(
    path: Annotated[Path | None, typer.Argument(help="A knowledge folder of your own, checked on top of ours.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The knowledge: schema, citations, impossible values, self-consistency, every worked case."""
    from posologist.serve.checking import check_all

    problems = check_all(path, as_json=as_json)
    if problems:
        raise typer.Exit(3)


@app.command(epilog='Example: posologist explain demo.json "options[0].benefit"')
def explain(
    document: Annotated[Path, typer.Argument(help="JSON that a verb wrote.")],
    key: Annotated[str, typer.Argument(help="Evidence key, the start of one, or a place such as options[0].benefit.")],
    as_json: JsonOption = False,
) -> None:
    """Follows one number of a document to its leaves: patient facts, cited knowledge, settings, models."""
    from posologist.serve.explain import explain_key

    explain_key(document, key, as_json=as_json)
