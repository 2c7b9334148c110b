"""What a population model is told of one patient: covariates from the record, doses given, levels measured.

A covariate names its fact. `phenotype:GENE` takes the gene's expressed phenotype and `alleles:GENE` counts alleles,
both with the numbers of the covariate's `codes`; `drug:NAME` is 1 where the drug is taken now, 0 where the list of
medicines is there without it. Nothing is guessed: what the record does not hold and the model has
no default for is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from posologist.core.errors import InputError, ModelError
from posologist.core.evidence import Ledger
from posologist.core.genotype import PhenotypeProfile
from posologist.core.recommendation import Finding, Reason
from posologist.core.situation import KnownFact, Situation
from posologist.core.twin import TwinRecord
from posologist.core.units import convert
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.knowledge.models import CONCENTRATION, Covariate, PkModel
from posologist.records.table import EventRow, LevelRow
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.events import DOSE, OTHER, EventTable, Record
from posologist.twin.twin import carried, replayed

_STORED = "the stored twin"
CENTRAL_OF_ABSORBED = 2  # compartment of doses into a vein where the model has a depot


@dataclass(frozen=True)
class Told:
    """Covariates in the model's units, the evidence they rest on, and what must be said of them.

    `by_name` is the evidence of each covariate that is known.
    """

    values: dict[str, float]
    by_name: dict[str, EvidenceKey]
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[Reason, ...] = ()

    @property
    def keys(self) -> tuple[EvidenceKey, ...]:
        """Evidence of all of them."""
        return tuple(self.by_name.values())


@dataclass(frozen=True)
class Since:
    """Covariates that hold from a moment on; None: from the beginning."""

    at: datetime | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Before:
    """What a stored twin already holds: its records, and the time from which its hours count."""

    records: tuple[Record, ...]
    origin: datetime

    @classmethod
    def of(cls, stored: TwinRecord, model: PkModel) -> Before | None:
        """Of a stored twin of this model; None where nothing is in its log.

        Raises
        ------
        InputError
            If it was made with another model, or another content of it.
        """
        log = replayed(stored, model).log
        return None if stored.origin is None else cls(log, datetime.fromisoformat(stored.origin))

    def keys(self, model: PkModel, ledger: Ledger) -> tuple[tuple[EvidenceKey, ...], list[tuple[float, EvidenceKey]]]:
        """Evidence of the doses, and of each level with its time."""
        doses = tuple(
            ledger.add("patient", f"{r.amt:g} {model.dose_unit} at {r.time:g} h", source=r.where or _STORED)
            for r in self.records
            if r.is_dose
        )
        unit = model.concentration_unit
        measured = [r for r in self.records if r.evid == 0 and not r.mdv]
        texts = [f"level of {r.dv or r.limit} {unit} at {r.time:g} h" for r in measured]
        levels = [
            (r.time, ledger.add("patient", text, source=r.where or _STORED))
            for r, text in zip(measured, texts, strict=True)
        ]
        return doses, levels


@dataclass(frozen=True)
class History:
    """Doses, levels and changes of covariates of a patient on one time line, hours from the first dose.

    `level_keys` are the evidence of each level in the order of the table's levels.
    """

    table: EventTable
    origin: datetime | None
    keys: tuple[EvidenceKey, ...] = ()
    level_keys: tuple[EvidenceKey, ...] = ()
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[Reason, ...] = field(default=())

    @property
    def doses(self) -> tuple[Record, ...]:
        """The doses that were given."""
        return tuple(record for record in self.table.records if record.is_dose)


def covariates_of(
    model: PkModel,
    situation: Situation,
    profile: PhenotypeProfile | None,
    *,
    molar_masses: Mapping[str, float],
    ledger: Ledger,
    given: Mapping[str, float] | None = None,
) -> Told:
    """Covariates of a patient, in the model's units.

    Parameters
    ----------
    molar_masses
        g/mol by name of the fact, where a value may have to go between mass and moles.
    given
        Values by name that take the place of the record's, in the model's units.

    Raises
    ------
    InputError
        If a covariate without default is not known; every one that is missing is named.
    """
    known = known_covariates(model, situation, profile, molar_masses=molar_masses, ledger=ledger)
    for name, value in (given or {}).items():
        known[name] = value, ledger.add("setting", f"{name} = {value:g} as given", source="--covariate")
    missing: list[str] = []
    assumed: list[Reason] = []
    for covariate in model.covariates:
        if covariate.name in known:
            continue
        if covariate.default is None:
            missing.append(f"{covariate.name} ({covariate.meaning}, {covariate.unit})")
        else:
            text = f"{covariate.name} ({covariate.meaning}) is not known: {covariate.default:g} {covariate.unit} used"
            assumed.append(_reason(text, ledger))
    if missing:
        raise InputError(
            f"the model {model.id} needs {'; '.join(missing)}",
            where="--patient",
            hint="record it (a gene: give --genome or --profile), or choose a model that does without",
        )
    values = {name: value for name, (value, _) in known.items()}
    keys = {name: key for name, (_, key) in known.items()}
    return Told(values, keys, _outside(model, values, tuple(keys.values()), ledger), tuple(assumed))


def known_covariates(
    model: PkModel,
    situation: Situation,
    profile: PhenotypeProfile | None,
    *,
    molar_masses: Mapping[str, float],
    ledger: Ledger,
) -> dict[str, tuple[float, EvidenceKey]]:
    """Those covariates that the record holds, each with its evidence; what is not known is left out."""
    found = {}
    for covariate in model.covariates:
        shared = {code for other in model.covariates if other.fact == covariate.fact for code in other.codes}
        value = _found(covariate, shared, situation, profile, molar_masses, ledger)
        if value is not None:
            found[covariate.name] = value
    return found


def _reason(text: str, ledger: Ledger, because: Sequence[EvidenceKey] = ()) -> Reason:
    return Reason(text=text, because=(ledger.add("assumption", text, because=because),))


def _found(
    covariate: Covariate,
    alleles: set[str],
    situation: Situation,
    profile: PhenotypeProfile | None,
    molar_masses: Mapping[str, float],
    ledger: Ledger,
) -> tuple[float, EvidenceKey] | None:
    kind, _, name = covariate.fact.partition(":")
    if kind == "drug":
        return _of_drug(name, situation, ledger)
    if name:
        return None if profile is None else _of_gene(covariate, kind, GeneSymbol(name), alleles, profile, ledger)
    fact = situation.facts.get(covariate.fact)
    return None if fact is None else (_number(covariate, fact, molar_masses), fact.because)


def _number(covariate: Covariate, fact: KnownFact, molar_masses: Mapping[str, float]) -> float:
    if isinstance(fact.value, str):
        if fact.value not in covariate.codes:
            raise InputError(
                f"{covariate.fact} '{fact.value}' has no number in the model",
                where=covariate.name,
                hint=f"the model knows {', '.join(covariate.codes) or 'none'}",
            )
        return covariate.codes[fact.value]
    if isinstance(fact.value, bool) or not fact.unit or covariate.unit == "1":
        return float(fact.value)
    try:
        return convert(float(fact.value), fact.unit, covariate.unit, molar_mass=molar_masses.get(covariate.fact))
    except InputError as error:
        raise InputError(error.message, where=covariate.name, hint=error.hint) from error


def _of_drug(name: str, situation: Situation, ledger: Ledger) -> tuple[float, EvidenceKey] | None:
    taken = [current.because for current in situation.current if current.drug == name]
    if taken:
        return 1.0, taken[0]
    if not situation.medication_list_given or situation.unresolved_medicines:
        return None
    return 0.0, ledger.add("patient", f"no {name} on the list of medicines", source="the record")


def _of_gene(
    covariate: Covariate, kind: str, gene: GeneSymbol, known: set[str], profile: PhenotypeProfile, ledger: Ledger
) -> tuple[float, EvidenceKey] | None:
    """A gene's number; None where it was not called, or the model does not know what was."""
    called = profile.genes.get(gene)
    if kind == "phenotype":
        value = None if called is None or called.clinical is None else covariate.codes.get(called.clinical)
        return None if value is None or called is None else (value, called.because[0])
    if kind != "alleles" or called is None or called.diplotype is None:
        return None
    alleles = called.diplotype.split("/")
    if len(alleles) != 2 or not known.issuperset(alleles):
        return None
    text = f"{covariate.meaning}: {gene} {called.diplotype}"
    key = ledger.add("derived", text, because=called.because)
    return sum(covariate.codes.get(allele, 0.0) for allele in alleles), key


def _outside(
    model: PkModel, values: Mapping[str, float], keys: tuple[EvidenceKey, ...], ledger: Ledger
) -> tuple[Finding, ...]:
    found = []
    for covariate in model.outside(values):
        value = values.get(covariate.name, covariate.default)
        low, high = ("any" if bound is None else f"{bound:g}" for bound in (covariate.low, covariate.high))
        detail = (
            f"{covariate.meaning} is {value:g} {covariate.unit}; the model {model.id} was studied from {low} to "
            f"{high}. The answer extrapolates."
        )
        key = ledger.add("derived", detail, because=keys)
        title = f"{covariate.name} is outside the studied range"
        found.append(Finding(severity="serious", title=title, detail=detail, drugs=(str(model.drug),), because=(key,)))
    return tuple(found)


def history_of(
    model: PkModel,
    events: Sequence[EventRow],
    levels: Sequence[LevelRow],
    *,
    is_drug: Mapping[str, bool],
    course: Sequence[Since],
    subject: str,
    now: datetime,
    ledger: Ledger,
    before: Before | None = None,
) -> History:
    """Doses and levels as one event table in the model's units.

    Parameters
    ----------
    is_drug
        Whether each name written in the columns `drug` and `analyte` means the model's drug.
    course
        Covariates from the beginning on, then each later change, in the order of time.
    now
        Nothing may lie after it.
    before
        What is gone on from.

    Raises
    ------
    InputError
        For a time after `now`, a level without a dose before it, another analyte, a unit that does not convert, or a
        route that the model does not describe.
    """
    given = [row for row in events if not row.drug or is_drug[row.drug]]
    first = min((row.at for row in given), default=None) if before is None else before.origin
    _check_times(model, given, levels, is_drug, now, first)
    origin = first
    line = _Line(model, origin, course)
    rows = [(record.time, 0, record) for record in line.changes(now)]
    rows += [(record.time, 2, record) for record in map(line.dose, given)]
    rows += [(record.time, 1, record) for record in map(line.level, levels)]
    rows += [(r.time, 2 if r.is_dose else 1 if r.evid == 0 else 0, r) for r in (before.records if before else ())]
    rows.sort(key=lambda row: row[:2])
    dosed, measured = before.keys(model, ledger) if before else ((), [])
    keys = (*dosed, *(_event_key(row, ledger) for row in given))
    measured += [(line.hours(row.at), _level_key(row, ledger)) for row in levels]
    level_keys = tuple(key for _, key in sorted(measured, key=lambda pair: pair[0]))
    records = tuple(row[2] for row in rows)
    return History(
        EventTable(subject, records), origin, keys, level_keys,
        findings=_left_out(model, len(events) - len(given), (*keys, *level_keys), ledger),
        assumptions=_ties(records, level_keys, model, ledger),
    )  # fmt: skip


def _check_times(
    model: PkModel,
    given: Sequence[EventRow],
    levels: Sequence[LevelRow],
    is_drug: Mapping[str, bool],
    now: datetime,
    first: datetime | None,
) -> None:
    both: tuple[EventRow | LevelRow, ...] = (*given, *levels)
    for row in both:
        if row.at > now:
            raise InputError(f"{row.at:%Y-%m-%d %H:%M} lies in the future", where=str(row.source), hint="check --as-of")
    for level in levels:
        if not is_drug[level.analyte]:
            hint = f"give levels of {model.drug} only"
            raise InputError(f"the level is of {level.analyte}", where=str(level.source), hint=hint)
    if levels and (first is None or min(row.at for row in levels) <= first):
        raise InputError("a level is not after the first dose", where="--levels", hint="give the doses with --events")


@dataclass(frozen=True)
class _Line:
    """Rows as records on the time line that begins with the first dose."""

    model: PkModel
    origin: datetime | None
    course: Sequence[Since]

    def hours(self, at: datetime) -> float:
        return 0.0 if self.origin is None else (at - self.origin).total_seconds() / 3600.0

    def covariates(self, at: datetime) -> dict[str, float]:
        held = [since.values for since in self.course if since.at is None or since.at <= at]
        return carried(self.model, held[-1] if held else self.course[0].values)

    def changes(self, now: datetime) -> list[Record]:
        """A record at each change of covariates after the first dose."""
        return [
            Record(self.hours(since.at), evid=OTHER, mdv=1, covariates=carried(self.model, since.values))
            for since in self.course
            if self.origin is not None and since.at is not None and self.origin < since.at <= now
        ]

    def dose(self, row: EventRow) -> Record:
        try:
            amount = convert(row.amount, row.unit, self.model.dose_unit) * self.model.dose_content
        except InputError as error:
            raise InputError(error.message, where=str(row.source), hint=f"give {self.model.dose_unit}") from error
        cmt = compartment_of(self.model, row.route, str(row.source))
        infused = row.duration_h > 0
        if infused and short_route(row.route) not in INTRAVENOUS:
            raise InputError("an absorbed dose has an infusion time", where=str(row.source), hint="clear duration_h")
        rate = amount / row.duration_h if infused else 0.0
        return Record(
            self.hours(row.at), evid=DOSE, amt=amount, rate=rate, cmt=cmt, mdv=1,
            covariates=self.covariates(row.at), where=str(row.source),
        )  # fmt: skip

    def level(self, row: LevelRow) -> Record:
        unit = self.model.concentration_unit
        try:
            value = convert(row.value, row.unit, unit, molar_mass=self.model.molar_mass)
        except InputError as error:
            raise InputError(error.message, where=str(row.source), hint=f"give {unit}") from error
        covariates = {**self.covariates(row.at), **self.output}
        return Record(self.hours(row.at), dv=value, covariates=covariates, where=str(row.source))

    @property
    def output(self) -> dict[str, float]:
        """Which output a level of the drug is, where the model has several (DVID counts them from 1)."""
        names = [residual.output for residual in self.model.residual]
        return {"DVID": 1.0 + names.index(CONCENTRATION)} if len(names) > 1 and CONCENTRATION in names else {}


def compartment_of(model: PkModel, route: str, where: str = "--events") -> int:
    """Compartment of a dose by this route.

    Raises
    ------
    InputError
        If the model does not describe the route.
    """
    way = short_route(route)
    intravenous = way in INTRAVENOUS
    if intravenous == (model.absorption == "none"):
        return 0
    if intravenous and not model.apparent:
        return CENTRAL_OF_ABSORBED
    described = "doses into a vein" if model.absorption == "none" else "absorbed doses"
    raise InputError(f"the model {model.id} describes {described}, not '{route}'", where=where, hint="choose a model")


def _event_key(row: EventRow, ledger: Ledger) -> EvidenceKey:
    over = f" over {row.duration_h:g} h" if row.duration_h else ""
    text = f"{row.amount:g} {row.unit} {row.route}{over} at {row.at:%Y-%m-%d %H:%M}"
    return ledger.add("patient", text, source=str(row.source))


def _level_key(row: LevelRow, ledger: Ledger) -> EvidenceKey:
    text = f"level of {row.analyte}: {row.value:g} {row.unit} at {row.at:%Y-%m-%d %H:%M}"
    return ledger.add("patient", text, source=str(row.source))


def _left_out(model: PkModel, n: int, keys: tuple[EvidenceKey, ...], ledger: Ledger) -> tuple[Finding, ...]:
    if not n:
        return ()
    text = f"{n} administrations of other drugs stand in the table and are not used for {model.drug}."
    key = ledger.add("derived", text, because=keys) if keys else ledger.add("patient", text, source="--events")
    return (Finding(severity="information", title="Rows of other drugs", detail=text, because=(key,)),)


def _ties(
    records: Sequence[Record], keys: tuple[EvidenceKey, ...], model: PkModel, ledger: Ledger
) -> tuple[Reason, ...]:
    said = []
    dosed = {record.time for record in records if record.is_dose}
    if any(record.is_level and record.time in dosed for record in records):
        said.append(_reason("A level at the time of a dose is taken as drawn before the dose.", ledger, keys))
    if model.occasion:
        said.append(_reason("All levels and the coming doses are taken as one occasion.", ledger, keys))
    return tuple(said)


def check_usable(model: PkModel, drug: str) -> None:
    """Refuse a model that is of another drug or not complete.

    Raises
    ------
    InputError
        If it is of another drug.
    ModelError
        If something is missing in it.
    """
    if model.drug != drug:
        raise InputError(f"the model {model.id} is of {model.drug}, not {drug}", where="--model", hint="choose another")
    if model.missing:
        raise ModelError(
            f"{model.id} cannot give a dose, it lacks: {'; '.join(model.missing)}",
            where="--model",
            hint="complete the file with a source, or choose another model",
        )
