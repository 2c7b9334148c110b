"""Demographics, conditions, allergies, procedures and family history of FHIR R4 resources."""

from __future__ import annotations

from datetime import date
from typing import Literal

from posologist.core.patient import (
    Allergy,
    Code,
    Condition,
    FamilyHistory,
    Procedure,
    Sex,
    Source,
)
from posologist.records.allergies import NO_OTHER_ALLERGY, AllergyGroups, reaction_words, says_none, substance
from posologist.records.fhir_document import Entry
from posologist.records.json_tools import (
    Resource,
    child,
    children,
    codes_of,
    codings,
    concept_text,
    day,
    last_day,
    number,
    string,
    strings,
)
from posologist.records.problems import note_unmapped
from posologist.records.reading import Reading

_RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_ETHNICITY = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity"
_SEX_EXTENSIONS = tuple(
    f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{name}" for name in ("birthsex", "sex", "individual-sex")
)
_SEX_CODES: dict[str, Sex] = {"M": "male", "F": "female", "248153007": "male", "248152002": "female"}
_OVER = frozenset({"resolved", "inactive", "remission"})
_GOING_ON = frozenset({"active", "recurrence", "relapse"})
_PREGNANCY_DAYS = 300
_OLDEST = 125  # years; the oldest documented age is 122


def demographics(entry: Entry, reading: Reading) -> dict[str, object]:
    """Members of `Patient` that the Patient resource states."""
    resource, source = entry.resource, entry.source
    born = _birth_date(string(resource, "birthDate"), source, reading)
    died = day(string(resource, "deceasedDateTime"))
    deceased = resource.get("deceasedBoolean") is True or died is not None
    if died is not None and reading.as_of is not None and died > reading.as_of:
        deceased = False
    if deceased:
        when = f" on {died}" if died else ""
        reading.findings.add("deceased", f"the record says that the patient died{when}", source, severity="serious")
    if resource.get("active") is False:
        reading.findings.add("identity", "the patient's record is marked as not in use", source, severity="monitor")
    return {
        "id": string(resource, "id") or entry.place.partition("/")[2],
        "identifiers": tuple(dict.fromkeys(v for i in children(resource, "identifier") if (v := string(i, "value")))),
        "name": _name(resource),
        "sex": _sex(resource, source, reading),
        "gender": string(resource, "gender"),
        "birth_date": born,
        "deceased": deceased,
        "deceased_on": died,
        "race": _extension_texts(resource, _RACE),
        "ethnicity": ", ".join(_extension_texts(resource, _ETHNICITY)),
    }


def _birth_date(text: str, source: Source, reading: Reading) -> date | None:
    born = day(text)
    if born is None:
        word = "cannot be read" if text else "is missing"
        reading.findings.add("missing", f"birth date {word}: age is not known", source, severity="serious")
    elif reading.as_of is not None and not 0 <= (reading.as_of - born).days / 365.25 <= _OLDEST:
        text = f"birth date {born} cannot be at {reading.as_of}: age is not used"
        reading.findings.add("out of range", text, source, severity="serious")
        return None
    elif len(text) < len("YYYY-MM-DD"):
        reading.findings.add("missing", f"birth date is only known as {text}: age may be a year off", source)
    return born


def _name(resource: Resource) -> str:
    names = children(resource, "name")
    chosen = next((n for n in names if string(n, "use") == "official"), names[0] if names else {})
    return string(chosen, "text") or " ".join([*strings(chosen, "given"), string(chosen, "family")]).strip()


def _sex(resource: Resource, source: Source, reading: Reading) -> Sex | None:
    gender = string(resource, "gender").lower()
    recorded = [
        string(e, "valueCode") or string(child(e, "valueCoding"), "code")
        for url in _SEX_EXTENSIONS
        for e in children(resource, "extension")
        if string(e, "url") == url
    ]
    born_as = next((_SEX_CODES[code] for code in recorded if code in _SEX_CODES), None)
    stated: Sex | None = "male" if gender == "male" else "female" if gender == "female" else None
    if born_as and stated and born_as != stated:
        text = f"recorded sex is {born_as}, gender is {stated}: the recorded sex is used in formulas"
        reading.findings.add("conflict", text, source, severity="monitor")
    if born_as is None and stated is None:
        text = "sex is not recorded: formulas that need it have no value"
        reading.findings.add("missing", text, source, severity="serious")
    return born_as or stated


def _extension_texts(resource: Resource, url: str) -> tuple[str, ...]:
    found: list[str] = []
    for extension in children(resource, "extension"):
        if string(extension, "url") == url:
            parts = children(extension, "extension")
            coded = [string(child(p, "valueCoding"), "display") for p in parts if string(p, "url") == "ombCategory"]
            found += [text for text in coded if text] or [string(p, "valueString") for p in parts]
    return tuple(dict.fromkeys(text for text in found if text))


def condition(entry: Entry, reading: Reading) -> Condition | None:
    """A problem; None when it was entered in error or lies in the future, which a finding says."""
    resource, source = entry.resource, entry.source
    checked = codes_of(resource.get("verificationStatus"))
    if "entered-in-error" in checked:
        reading.findings.add("left out", "Condition: entered in error", source)
        return None
    given = codings(resource.get("code"))
    text = concept_text(resource.get("code"))
    if not given and not text:
        reading.findings.add("unreadable", "Condition without a code or text", source, severity="monitor")
        return None
    onset = _first_day(resource, "onsetDateTime", "onsetPeriod", "recordedDate", "assertedDate")
    end = last_day(string(resource, "abatementDateTime")) or last_day(string(child(resource, "abatementPeriod"), "end"))
    if reading.is_future(onset, "Condition", source):
        return None
    ended_later = reading.as_of is not None and end is not None and end > reading.as_of
    original, meant = _meaning(given, text, source, reading)
    status = _condition_status(resource, checked, end)
    if status == "resolved" and ended_later:
        status = "active"
    found = Condition(
        codes=meant, original=original, onset=onset, end=None if ended_later else end, status=status, source=source
    )
    _note_old_pregnancy(found, reading)
    return found


def _condition_status(
    resource: Resource, checked: set[str], end: date | None
) -> Literal["active", "resolved", "refuted", "unknown"]:
    if "refuted" in checked:
        return "refuted"
    clinical = codes_of(resource.get("clinicalStatus"))
    if clinical & _OVER or end is not None or resource.get("abatementBoolean") is True or "abatementString" in resource:
        return "resolved"
    return "active" if clinical & _GOING_ON else "unknown"


def _meaning(given: list[Code], text: str, source: Source, reading: Reading) -> tuple[Code, tuple[str, ...]]:
    """The coding that is mapped with our codes, or the first coding, with a finding of what could not be mapped."""
    meant = [(code, reading.codes.meaning(code.system, code.code)) for code in given if code.code]
    mapped = [(code, ours) for code, ours in meant if ours is not None]
    chosen = mapped[0][0] if mapped else given[0] if given else Code(display=text)
    if not chosen.display and text:
        chosen = chosen.model_copy(update={"display": text})
    if not mapped:
        note_unmapped(chosen, source, reading)
    return chosen, tuple(sorted({code for _, ours in mapped for code in ours}))


def _note_old_pregnancy(found: Condition, reading: Reading) -> None:
    if "pregnancy" not in found.codes or found.status not in ("active", "unknown") or found.onset is None:
        return
    if reading.as_of is not None and (reading.as_of - found.onset).days > _PREGNANCY_DAYS:
        text = f"pregnancy since {found.onset} without an end: confirm whether it still holds"
        reading.findings.add("stale", text, found.source, severity="monitor")


def says_no_problem(entry: Entry) -> bool:
    """Whether a Condition states that there is no current problem (SNOMED CT 160245001)."""
    return "160245001" in codes_of(entry.resource.get("code"))


def allergy(entry: Entry, reading: Reading, groups: AllergyGroups) -> Allergy | None:
    """An allergy or intolerance; None for "no known allergy" and for what was entered in error."""
    resource, source = entry.resource, entry.source
    checked = codes_of(resource.get("verificationStatus"))
    if "entered-in-error" in checked:
        reading.findings.add("left out", "AllergyIntolerance: entered in error", source)
        return None
    if says_no_allergy(entry) or codes_of(resource.get("code")) & NO_OTHER_ALLERGY:
        return None
    recorded = _first_day(resource, "recordedDate", "assertedDate", "onsetDateTime")
    if reading.is_future(recorded, "AllergyIntolerance", source):
        return None
    reactions = children(resource, "reaction")
    given = codings(resource.get("code")) or [c for r in reactions for c in codings(r.get("substance"))]
    text = concept_text(resource.get("code")) or next(
        (t for r in reactions if (t := concept_text(r.get("substance")))), ""
    )
    category = next(iter(strings(resource, "category")), string(resource, "category"))
    found = substance(given, text, category, resolver=reading.resolver, groups=groups)
    original = given[0] if given else Code(display=text)
    if not original.display and text:
        original = original.model_copy(update={"display": text})
    _note_allergy(original, found.groups, found.category, found.how, source, reading)
    if codes_of(resource.get("clinicalStatus")) & _OVER:
        label = original.display or original.code
        note = f"allergy '{label}' is marked as no longer active; it still counts until a clinician refutes it"
        reading.findings.add("stale", note, source, severity="monitor")
    words = [
        w for r in reactions for m in children(r, "manifestation") for w in reaction_words(codings(m), concept_text(m))
    ]
    kind = string(resource, "type")
    return Allergy(
        groups=found.groups,
        original=original,
        reactions=tuple(dict.fromkeys(words)),
        kind="allergy" if kind == "allergy" else "intolerance" if kind == "intolerance" else "unknown",
        severity=string(resource, "criticality") or next((s for r in reactions if (s := string(r, "severity"))), ""),
        category=found.category or category,
        tolerated="refuted" in checked,
        source=source,
    )


def _note_allergy(
    original: Code, groups: tuple[str, ...], category: str, how: str, source: Source, reading: Reading
) -> None:
    label = original.display or original.code or "no substance stated"
    if how.startswith("by name") and groups:
        reading.findings.add("resolved by name", f"allergy '{label}' is to {', '.join(groups)}", source)
    elif not groups and category not in ("food", "environment"):
        text = f"allergy '{label}' is to no known drug or group: it is not checked"
        reading.findings.add("unmapped", text, source, severity="serious")


def says_no_allergy(entry: Entry) -> bool:
    """Whether an AllergyIntolerance states that no allergy, or none to drugs, is known."""
    concept = entry.resource.get("code")
    return says_none(codes_of(concept), [concept_text(concept), *(code.display for code in codings(concept))])


def is_allergy_entry(entry: Entry) -> bool:
    """Whether an AllergyIntolerance says anything about drugs: not one in error, nor "no known food allergy"."""
    in_error = "entered-in-error" in codes_of(entry.resource.get("verificationStatus"))
    return not in_error and not codes_of(entry.resource.get("code")) & NO_OTHER_ALLERGY


def procedure(entry: Entry, reading: Reading) -> Procedure | None:
    """A procedure that was done."""
    resource, source = entry.resource, entry.source
    status = string(resource, "status")
    if status in ("entered-in-error", "not-done", "preparation") or resource.get("notDone") is True:
        reading.findings.add("left out", f"Procedure: {status or 'not done'}", source)
        return None
    given = codings(resource.get("code"))
    text = concept_text(resource.get("code"))
    if not given and not text:
        reading.findings.add("unreadable", "Procedure without a code or text", source)
        return None
    at = _first_day(resource, "performedDateTime", "performedPeriod")
    if reading.is_future(at, "Procedure", source):
        return None
    meant = [ours for code in given if (ours := reading.codes.meaning(code.system, code.code))]
    return Procedure(
        original=given[0] if given else Code(display=text),
        codes=tuple(sorted({code for ours in meant for code in ours})),
        at=at,
        source=source,
    )


def family_history(entry: Entry, reading: Reading) -> list[FamilyHistory]:
    """Conditions of a relative."""
    resource, source = entry.resource, entry.source
    if string(resource, "status") == "entered-in-error":
        reading.findings.add("left out", "FamilyMemberHistory: entered in error", source)
        return []
    relation = concept_text(resource.get("relationship")) or "relative"
    found = []
    for item in children(resource, "condition"):
        given = codings(item.get("code"))
        meant = [ours for code in given if (ours := reading.codes.meaning(code.system, code.code))]
        found.append(
            FamilyHistory(
                relation=relation,
                codes=tuple(sorted({code for ours in meant for code in ours})),
                original=given[0] if given else Code(display=concept_text(item.get("code"))),
                onset_age=number(child(item, "onsetAge"), "value"),
                source=source,
            )
        )
    return found


def _first_day(resource: Resource, *names: str) -> date | None:
    """Day of the first member that states one: a date, a dateTime, or the start of a period."""
    for name in names:
        value = resource.get(name)
        found = day(string(value, "start")) if isinstance(value, dict) else day(string(resource, name))
        if found is not None:
            return found
    return None
