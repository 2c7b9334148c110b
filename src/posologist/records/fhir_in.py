"""One patient's record from FHIR R4 (bundle, list, NDJSON, folder) or from the CSV layout of `records/table.py`.

Everything that is in the document is either a fact of the patient or is counted in a finding. The order of entries
does not matter for the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from posologist.core.errors import InputError
from posologist.core.patient import Observation, Patient, Source
from posologist.knowledge.load import Knowledge
from posologist.records import fhir_facts as facts
from posologist.records.allergies import AllergyGroups
from posologist.records.fhir_document import (
    Entry,
    References,
    addresses,
    as_path,
    digest,
    read_entries,
    refuse_other_releases,
    relative,
)
from posologist.records.fhir_medication import medication
from posologist.records.fhir_observation import observations
from posologist.records.json_tools import Resource, child, children, codes_of, codings, day, string
from posologist.records.medication import Resolver
from posologist.records.observations import deduplicated
from posologist.records.quality import Findings
from posologist.records.reading import Reading
from posologist.records.rxnorm import RxNormMap
from posologist.records.shape import misshapen
from posologist.records.table import read_csv_patient

T = TypeVar("T")

_MEDICINES = ("MedicationRequest", "MedicationStatement", "MedicationAdministration")
_READ = ("Condition", "Observation", *_MEDICINES, "AllergyIntolerance", "Procedure", "FamilyMemberHistory")
_LOOKED_UP = ("Patient", "Medication", "DiagnosticReport", "Encounter", "List")
_LIST_OF = {"52472-8": "allergy", "48765-2": "allergy", "10160-0": "medication", "11450-4": "problem"}
_ALL_DATES = (
    "birthDate", "deceasedDateTime", "effectiveDateTime", "effectiveInstant", "authoredOn", "recordedDate", "issued",
    "onsetDateTime", "abatementDateTime", "performedDateTime", "dateAsserted",
)  # fmt: skip
_DATED = ("effectiveDateTime", "authoredOn", "recordedDate", "performedDateTime", "dateAsserted", "issued")


def read_patient(
    source: Path | str | bytes | Sequence[Path],
    *,
    knowledge: Knowledge,
    as_of: date | None = None,
    patient_id: str | None = None,
    document: str = "",
    rxnorm: RxNormMap | None = None,
) -> Patient:
    """The one patient of a record.

    Parameters
    ----------
    source
        A FHIR R4 file (JSON bundle, list of resources, NDJSON), a folder or several of them, or bytes of one; or a
        CSV folder (with `patient.csv`).
    as_of
        Entries after this day are ignored, with a finding that counts them.
    patient_id
        Which patient, when the document holds several: id or identifier. For a document without a Patient resource
        (the prefetch of a CDS Hooks request), the id whose entries are read; age and sex are then missing.
    document
        Name of the document for findings, when `source` is bytes.
    rxnorm
        The site's own RxNorm map, if it imported one.

    Raises
    ------
    InputError
        If the document is no FHIR R4 JSON, holds no patient, or several and none was chosen.
    """
    if _is_table(source):
        return read_csv_patient(
            Path(str(source)), knowledge=knowledge, as_of=as_of, patient_id=patient_id, rxnorm=rxnorm
        )
    entries = read_entries(source, document)
    name = entries[0].document if entries else document or _name_of(source)
    if patient_id is not None and entries and not any(entry.kind == "Patient" for entry in entries):
        stub = {"resourceType": "Patient", "id": patient_id.removeprefix("Patient/")}
        entries = [*entries, Entry(resource=stub, full_url="", document=name)]
    with _deep_nesting(name):
        chosen = _chosen(_patients(entries, name), patient_id, name)
        return _Document(entries, knowledge, as_of, rxnorm).patient(chosen)


def read_patients(
    source: Path | str | bytes | Sequence[Path],
    *,
    knowledge: Knowledge,
    as_of: date | None = None,
    document: str = "",
    rxnorm: RxNormMap | None = None,
) -> tuple[Patient, ...]:
    """All patients of a document, in the order of their ids; parameters and errors as for `read_patient`."""
    entries = read_entries(source, document)
    name = entries[0].document if entries else document or _name_of(source)
    with _deep_nesting(name):
        patients = _patients(entries, name)
        whole = _Document(entries, knowledge, as_of, rxnorm)
        return tuple(whole.patient(entry) for entry in sorted(patients, key=lambda entry: entry.place))


@contextmanager
def _deep_nesting(document: str) -> Iterator[None]:
    """Turns Python's limit on nested structures into an error of ours."""
    try:
        yield
    except RecursionError as error:
        raise InputError("nested too deeply to be a FHIR record", where=document, hint="check the file") from error


def _patients(entries: Sequence[Entry], document: str) -> list[Entry]:
    patients = _merged_patients([entry for entry in entries if entry.kind == "Patient"])
    if not patients:
        raise InputError(_no_patient(entries), where=document, hint="add the Patient resource to the document")
    return patients


def _name_of(source: Path | str | bytes | Sequence[Path]) -> str:
    return Path(source).name if isinstance(source, str | Path) else "record"


def _is_table(source: Path | str | bytes | Sequence[Path]) -> bool:
    if not isinstance(source, str | Path):
        return False
    path = as_path(source)
    return path.suffix == ".csv" or (path.is_dir() and (path / "patient.csv").is_file())


def _no_patient(entries: Sequence[Entry]) -> str:
    held = Counter(entry.kind or "no resource" for entry in entries)
    listed = ", ".join(f"{kind} ({n})" for kind, n in sorted(held.items())) or "nothing"
    return f"no Patient resource; it holds {listed}"


def _merged_patients(patients: Sequence[Entry]) -> list[Entry]:
    """Patients once each: of versions with different dates the newest; others stay apart, to be chosen from."""
    distinct = {(entry.place, digest(entry.resource)): entry for entry in patients}
    by_place: dict[str, list[Entry]] = {}
    for entry in distinct.values():
        by_place.setdefault(entry.place, []).append(entry)
    found: list[Entry] = []
    for versions in by_place.values():
        dates = [string(child(entry.resource, "meta"), "lastUpdated") for entry in versions]
        dated = all(dates) and len(set(dates)) == len(dates)
        found += [versions[dates.index(max(dates))]] if dated else versions
    return found


def _chosen(patients: Sequence[Entry], patient_id: str | None, document: str) -> Entry:
    if patient_id is not None:
        wanted = [
            entry
            for entry in patients
            if patient_id in (string(entry.resource, "id"), entry.full_url, entry.place)
            or any(string(i, "value") == patient_id for i in children(entry.resource, "identifier"))
        ]
        patients_named = wanted
    else:
        patients_named = list(patients)
    if len(patients_named) == 1:
        return patients_named[0]
    listed = ", ".join(sorted(f"{e.place.partition('/')[2]}" for e in patients))[:400]
    if not patients_named:
        raise InputError(
            f"no patient '{patient_id}'; it holds {listed}", where=document, hint="choose one of these ids"
        )
    raise InputError(
        f"{len(patients_named)} patients in one document: {listed}", where=document, hint="choose one by its id"
    )


class _Document:
    """A document's entries, sorted to their patients once."""

    def __init__(
        self, entries: Sequence[Entry], knowledge: Knowledge, as_of: date | None, rxnorm: RxNormMap | None
    ) -> None:
        self._older = refuse_other_releases(entries)
        self._codes = knowledge.codes
        self._as_of = as_of
        self._resolver = Resolver(knowledge, rxnorm)
        self._groups = knowledge.remember("allergy groups", lambda: AllergyGroups(knowledge))
        self._references = References([entry for entry in entries if entry.kind in ("Medication", "Observation")])
        self._owners = {address: e for e in entries if e.kind == "Patient" for address in addresses(e)}
        self._by_identifier = {
            value: e
            for e in entries
            if e.kind == "Patient"
            for i in children(e.resource, "identifier")
            if (value := string(i, "value"))
        }
        people = {e.place: e for e in entries if e.kind == "Patient"}
        self._alone = next(iter(people.values())) if len(people) == 1 else None
        self._common = Findings()
        self._of: dict[str, list[Entry]] = {}
        self._sort(_without_doubles(entries, self._common))

    def _sort(self, entries: Sequence[Entry]) -> None:
        unread: Counter[str] = Counter()
        for entry in entries:
            if entry.kind not in _READ and entry.kind not in _LOOKED_UP:
                unread[entry.kind or "entry without a resource"] += 1
            elif entry.kind not in ("Patient", "Medication"):
                owner = self._owner(entry)
                if owner is not None:
                    self._of.setdefault(owner.place, []).append(entry)
        if unread:
            listed = ", ".join(f"{kind} ({n})" for kind, n in sorted(unread.items()))
            place = Source(document=entries[0].document)
            self._common.add("left out", f"types that are not read: {listed}", place, count=unread.total())

    def _owner(self, entry: Entry) -> Entry | None:
        """The patient whom an entry concerns; None, with a finding, when it is another's or nobody's."""
        subject = child(entry.resource, "subject") or child(entry.resource, "patient")
        address = string(subject, "reference")
        place = Source(document=entry.document)
        owner = self._owners.get(address) or self._owners.get(relative(address))
        if owner is None:
            identifier = string(child(subject, "identifier"), "value") or address.rpartition("|")[2]
            owner = self._by_identifier.get(identifier) if "|" in address or subject.get("identifier") else None
        if owner is not None:
            return owner
        if address.startswith("#") or not address:
            if self._alone is not None:
                self._common.add("identity", f"{entry.kind}: names no patient, taken as this one's", place)
                return self._alone
            self._common.add("identity", f"{entry.kind}: names no patient, not read", place, severity="serious")
            return None
        self._common.add("identity", f"{entry.kind}: about another patient, not read", place, severity="serious")
        return None

    def patient(self, entry: Entry) -> Patient:
        """One patient with all facts and findings."""
        reading = Reading(self._codes, self._resolver, Findings(), self._as_of)
        owned = self._of.get(entry.place, [])
        for sign, older in self._older.items():
            if any(e in owned for e in older[:50]):
                text = f"FHIR STU3 shape ({sign}): what coincides with R4 is read"
                reading.findings.add("version", text, older[0].source, severity="monitor", count=len(older))
        people = _guarded(entry, reading, lambda: facts.demographics(entry, reading)) or {"id": entry.place}
        by_kind: dict[str, list[Entry]] = {}
        for each in owned:
            by_kind.setdefault(each.kind, []).append(each)
        given = _lists_given(by_kind, reading)
        members: dict[str, Any] = {
            "observations": self._observations(by_kind, reading),
            "conditions": _read(by_kind.get("Condition", ()), reading, lambda e: facts.condition(e, reading)),
            "medications": _read(
                (e for kind in _MEDICINES for e in by_kind.get(kind, ())),
                reading,
                lambda e: medication(e, reading, self._references),
            ),
            "allergies": _read(
                by_kind.get("AllergyIntolerance", ()), reading, lambda e: facts.allergy(e, reading, self._groups)
            ),
            "procedures": _read(by_kind.get("Procedure", ()), reading, lambda e: facts.procedure(e, reading)),
            "family_history": _read_many(
                by_kind.get("FamilyMemberHistory", ()), reading, lambda e: facts.family_history(e, reading)
            ),
        }
        return Patient.model_validate(
            {
                **people,
                **members,
                **given,
                "quality": reading.findings.merged(self._common.merged()),
                "latest_entry": self._latest(owned),
                "source": entry.source,
            }
        )

    def _observations(self, by_kind: dict[str, list[Entry]], reading: Reading) -> tuple[Observation, ...]:
        entries = list(by_kind.get("Observation", ()))
        for report in by_kind.get("DiagnosticReport", ()):
            entries += [
                Entry(resource=inside, full_url="", document=report.document)
                for inside in children(report.resource, "contained")
                if string(inside, "resourceType") == "Observation"
            ]
        found = _read_many(entries, reading, lambda e: observations(e, reading))
        return deduplicated(found, reading)

    def _latest(self, owned: Sequence[Entry]) -> date | None:
        """Newest day of any dated entry that is not after the day asked for."""
        days = [found for entry in owned for found in _days(entry.resource)]
        return max((d for d in days if self._as_of is None or d <= self._as_of), default=None)


def _days(resource: Resource) -> Iterable[date]:
    for name in _DATED:
        if found := day(string(resource, name)):
            yield found
    for name in ("period", "effectivePeriod", "performedPeriod"):
        if found := day(string(child(resource, name), "start")):
            yield found


def _without_doubles(entries: Sequence[Entry], findings: Findings) -> list[Entry]:
    """Entries once each: the same content again is counted; of several versions the newest is taken."""
    by_place: dict[str, list[Entry]] = {}
    for entry in entries:
        by_place.setdefault(entry.place, []).append(entry)
    return [_newest(by_place[place], findings) for place in sorted(by_place)]


def _newest(versions: list[Entry], findings: Findings) -> Entry:
    if len(versions) == 1:
        return versions[0]
    ordered = sorted(versions, key=lambda e: (string(child(e.resource, "meta"), "lastUpdated"), digest(e.resource)))
    newest = ordered[-1]
    place = Source(document=newest.document)
    for other in ordered[:-1]:
        if other.resource == newest.resource:
            findings.add("duplicate", f"{newest.kind or 'empty entry'}: the same resource again, read once", place)
        else:
            text = f"{newest.kind or 'empty entry'}: several versions of one resource, the newest is read"
            findings.add("conflict", text, place, severity="monitor")
    return newest


def _guarded(entry: Entry, reading: Reading, read: Callable[[], T]) -> T | None:
    """What a reader gives; a resource that it cannot read is left out and counted."""
    wrong = misshapen(entry.resource)
    _note_dates(entry, reading)
    if not wrong:
        try:
            return read()
        except (ValidationError, ValueError, TypeError, OverflowError, RecursionError) as error:
            wrong = type(error).__name__
    text = f"{entry.kind}: not in the shape of FHIR R4 ({wrong}), not read"
    reading.findings.add("unreadable", text, entry.source, severity="serious")
    return None


def _note_dates(entry: Entry, reading: Reading) -> None:
    """A date that is there and cannot be read is said; the rest of the resource is still of use."""
    for name in _ALL_DATES:
        text = string(entry.resource, name)
        if text and day(text) is None:
            finding = f"{entry.kind}.{name} is no date that can be read"
            reading.findings.add("unreadable", finding, entry.source, severity="monitor")


def _read(entries: Iterable[Entry], reading: Reading, read: Callable[[Entry], T | None]) -> tuple[T, ...]:
    found = [_guarded(entry, reading, lambda entry=entry: read(entry)) for entry in entries]  # type: ignore[misc]
    return tuple(item for item in found if item is not None)


def _read_many(entries: Iterable[Entry], reading: Reading, read: Callable[[Entry], list[T]]) -> tuple[T, ...]:
    found = [_guarded(entry, reading, lambda entry=entry: read(entry)) for entry in entries]  # type: ignore[misc]
    return tuple(item for items in found if items for item in items)


def _lists_given(by_kind: dict[str, list[Entry]], reading: Reading) -> dict[str, bool]:
    """Whether the record has a list of problems, medicines and allergies that can be read at all."""
    empty = {
        _LIST_OF[code]
        for entry in by_kind.get("List", ())
        for code in codes_of(entry.resource.get("code"))
        if code in _LIST_OF and codes_of(entry.resource.get("emptyReason")) & {"nilknown"}
    }
    problems = by_kind.get("Condition", ())
    readable = any(
        facts.says_no_problem(e) or any(reading.codes.is_read(c.system) for c in codings(e.resource.get("code")))
        for e in problems
    )
    if problems and not readable:
        text = "no problem carries a SNOMED CT or ICD-10 code: what is absent from the list is not known to be absent"
        reading.findings.add("unmapped", text, problems[0].source, severity="serious", count=len(problems))
    allergies = [entry for entry in by_kind.get("AllergyIntolerance", ()) if facts.is_allergy_entry(entry)]
    none_known = [entry for entry in allergies if facts.says_no_allergy(entry)]
    if none_known and len(none_known) < len(allergies):
        text = "the record says that no allergy is known, and lists allergies: the listed ones count"
        reading.findings.add("conflict", text, none_known[0].source, severity="monitor")
    return {
        "problem_list_given": readable or "problem" in empty,
        "medication_list_given": any(by_kind.get(kind) for kind in _MEDICINES) or "medication" in empty,
        "allergy_list_given": bool(allergies) or "allergy" in empty,
    }


__all__ = ["read_patient", "read_patients"]
