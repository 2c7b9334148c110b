"""From a request to the patient and the orders in question: FHIR R4 (and what coincides with it) -> our values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from posologist.core.errors import InputError
from posologist.core.patient import Medication, Patient
from posologist.core.recommendation import NotChecked
from posologist.core.values import DrugId
from posologist.knowledge.contextual import ContextualRule, asked_groups
from posologist.knowledge.load import Knowledge
from posologist.records.fhir_document import release_of
from posologist.records.fhir_in import read_patient
from posologist.records.json_tools import child, children, concept_text, day, string
from posologist.records.rxnorm import RxNormMap
from posologist.serve.hooks.bundles import is_empty_search, told_apart, unpack
from posologist.serve.hooks.requests import HookRequest, Resource

LOOK_BACK_DAYS = 100  # how long a dispensed or given medicine counts as taken; the PDDI-CDS guide's rolling window
_STANDING_DAYS = 30  # an active order that is older, signed again, is no new order
_MEDICINES = ("MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense")
_ORDERS = ("MedicationRequest", "MedicationOrder")
_NO_MEDICINE = frozenset({
    "Appointment", "AppointmentResponse", "CommunicationRequest", "DeviceRequest", "DiagnosticOrder", "Medication",
    "NutritionOrder", "ProcedureRequest", "ReferralRequest", "ServiceRequest", "SupplyRequest", "Task",
    "VisionPrescription",
})  # fmt: skip
_LISTS = {
    "Condition": "problem_list_given", "MedicationRequest": "medication_list_given",
    "MedicationStatement": "medication_list_given", "AllergyIntolerance": "allergy_list_given",
}  # fmt: skip
_KEYS = {"conditions": "Condition", "medications": "MedicationRequest", "statements": "MedicationStatement",
         "allergies": "AllergyIntolerance"}  # fmt: skip
_NOT_DISPENSED = frozenset({"preparation", "cancelled", "on-hold", "entered-in-error", "declined"})
_LOCAL = re.compile(r"\b(?:cream|ointment|gel|lotion|topical|ophthalmic|otic|shampoo|(?:eye|ear) drops?)\b")
_NO_ENTRY = ("an entry that", "a Bundle whose")  # words of `bundles.unpack`
_UNREAD = ("unreadable", "identity")
_DATED = ("authoredOn", "effectiveDateTime", "issued", "recordedDate", "whenHandedOver", "dateWritten", "assertedDate")


@dataclass(frozen=True)
class Draft:
    """A draft order: its resource, the drugs in it, and the words by which it is screened."""

    resource: Resource
    reference: str
    drugs: tuple[DrugId, ...]
    words: str
    display: str
    selected: bool
    local_form: bool
    standing: bool


@dataclass(frozen=True)
class Asked:
    """What a request asks: who, which orders, on which day, and what of it was not understood.

    `doubtful`: the order may be another patient's, or part of the record could not be read.
    """

    patient: Patient
    drafts: tuple[Draft, ...]
    as_of: date
    open_points: tuple[NotChecked, ...]
    record_given: bool
    doubtful: bool


def asked_of(
    request: HookRequest,
    *,
    knowledge: Knowledge,
    rules: Iterable[ContextualRule],
    today: date,
    rxnorm: RxNormMap | None = None,
) -> Asked:
    """The patient and the orders of a request.

    The day is the newest one of the request where its orders are dated, never after today: an order that was written
    long ago is judged as it was then. Draft orders that all name another patient's id than the context are taken as
    the context's own only if nothing in the prefetch speaks against it.
    """
    drafts = tuple(_as_request(draft) for draft in request.drafts)
    resources, open_points, unknown = _readable(request.prefetch)
    resources, identity, doubtful = _one_patient(request, drafts, resources)
    as_of = _day_of(drafts, resources, today)
    reader = _Reader(knowledge, rxnorm)
    patient = _read(request.patient_id, resources, reader, as_of)
    patient = _with_lists(patient, request.prefetch)
    lately = _read(request.patient_id, _completed_lately(resources, as_of), reader, as_of)
    patient = _with_given(patient, lately, as_of, knowledge, rules)
    left_out = _left_out(patient)
    return Asked(
        patient=patient,
        drafts=_read_drafts(request, drafts, resources, reader, as_of),
        as_of=as_of,
        open_points=(
            *open_points,
            *(_no_resource(key) for key in request.unread),
            *identity,
            *_strangers(resources, request.patient_id),
            *left_out,
        ),
        record_given=any(string(r, "resourceType") != "Patient" for r in resources),
        doubtful=doubtful or unknown or bool(left_out) or _holds_nameless(patient),
    )


def _as_request(resource: Resource) -> Resource:
    """A MedicationOrder of DSTU2 as the MedicationRequest that it became; anything else as it is."""
    if resource.get("resourceType") != "MedicationOrder":
        return resource
    renamed = {"patient": "subject", "dateWritten": "authoredOn"}
    moved = {renamed.get(key, key): value for key, value in resource.items()}
    return {**moved, "resourceType": "MedicationRequest"}


def _readable(prefetch: Mapping[str, Any]) -> tuple[list[Resource], list[NotChecked], bool]:
    """Resources that our reader takes, dispenses restated; those of other releases are told, not read.

    The last value: whether something of the record is there and is not known.
    """
    found: list[Resource] = []
    left: list[str] = []
    partial: list[NotChecked] = []
    for key, content in prefetch.items():
        unpacked = unpack(content)
        left += unpacked.unreadable
        partial += [_partial(key)] if unpacked.partial else []
        for given in unpacked.resources:
            resource = _as_request(given)
            if resource["resourceType"] == "OperationOutcome":
                left.append("an OperationOutcome in place of data")
            elif release_of(resource)[0] in ("DSTU2", "R5"):
                left.append(f"{resource['resourceType']} in the shape of FHIR {release_of(resource)[0]}")
            elif resource["resourceType"] == "MedicationDispense":
                found.extend(_restated(resource))
            else:
                found.append(resource)
    points = [
        NotChecked(what=f"left out of the record: {what}", why="it cannot be read", would_need="FHIR R4 resources")
        for what in dict.fromkeys(left)
    ]
    found, several = told_apart(found)
    points += [_several(name) for name in several]
    return found, [*partial, *points], bool(partial) or any(what.startswith(_NO_ENTRY) for what in left)


def _several(name: str) -> NotChecked:
    return NotChecked(
        what=f"{name[:80]}: it came several times and says different things",
        why="which of them is the newest is not said; all were read",
        would_need="one version, or meta.lastUpdated",
    )


def _partial(key: str) -> NotChecked:
    return NotChecked(
        what=f"prefetch.{key[:60]}: what is on further pages",
        why="the request brings a part of what the search found",
        would_need="every page, or the FHIR server on the list of the site",
    )


def _restated(dispense: Resource) -> Iterator[Resource]:
    """A dispense as a statement that the medicine is taken, for the supply or the look-back, whichever is longer."""
    status = string(dispense, "status")
    if status in _NOT_DISPENSED:
        return
    handed = string(dispense, "whenHandedOver") or string(dispense, "whenPrepared")
    period: Resource = {}
    if first := day(handed):
        supply = child(dispense, "daysSupply").get("value")
        lasts = supply if isinstance(supply, int | float) and 0 < supply < 1000 else 0
        period = {"start": handed, "end": (first + timedelta(days=max(LOOK_BACK_DAYS, int(lasts)))).isoformat()}
    kept = {k: v for k, v in dispense.items() if k in ("id", "meta", "subject", "contained") or k.startswith("medic")}
    dosage = dispense.get("dosageInstruction")
    yield {
        **kept, "resourceType": "MedicationStatement", "status": "stopped" if status == "stopped" else "active",
        **({"effectivePeriod": period} if period else {}), **({"dosage": dosage} if dosage else {}),
    }  # fmt: skip


def _subject(resource: Resource) -> str:
    address = string(child(resource, "subject") or child(resource, "patient"), "reference")
    return address.partition("/_history/")[0].rpartition("/")[2]


def _one_patient(
    request: HookRequest, drafts: tuple[Resource, ...], resources: list[Resource]
) -> tuple[list[Resource], list[NotChecked], bool]:
    """Resources under the context's patient, what is said about ids, and whether an order may be another's."""
    named = {s for draft in drafts if (s := _subject(draft))} - {request.patient_id}
    owners = {s for r in resources if r["resourceType"] != "Patient" and (s := _subject(r))}
    if not named:
        return resources, [], False
    told = ", ".join(sorted(named))[:80]
    if len(named) > 1 or request.patient_id in owners or any(string(r, "id") in named for r in resources):
        point = NotChecked(
            what=f"whose order it is: the order names patient {told}, the request patient {request.patient_id}",
            why="the order was held against the record of the patient in the request",
            would_need="the right patient in both",
        )
        return resources, [point], True
    mine = {"reference": f"Patient/{request.patient_id}"}
    moved = [
        {**r, ("patient" if "patient" in r and "subject" not in r else "subject"): mine} if _subject(r) in named else r
        for r in resources
    ]
    point = NotChecked(
        what=f"the patient's id: orders and record name {told}, the request {request.patient_id}",
        why="all of them agree on one id, which was taken for the same patient",
        would_need="one id for the patient",
    )
    return moved, [point], False


def _strangers(resources: list[Resource], patient_id: str) -> list[NotChecked]:
    """Patient resources of another id: their age and sex are not taken for this patient's."""
    others = [str(r.get("id", "none"))[:40] for r in resources if r["resourceType"] == "Patient"]
    return [
        NotChecked(
            what=f"age and sex: the Patient resource that came has the id {other}, the request names {patient_id}",
            why="it may be another person, and was not read",
            would_need="the Patient resource of the patient in context",
        )
        for other in dict.fromkeys(others)
        if other != patient_id
    ]


def _no_resource(key: str) -> NotChecked:
    return NotChecked(
        what=f"prefetch.{key[:60]}: everything that rests on it",
        why="what came under this key is no FHIR resource",
        would_need="a resource, a Bundle, or null",
    )


def _left_out(patient: Patient) -> list[NotChecked]:
    """Entries of the record that could not be read, or that are about somebody else."""
    return [
        NotChecked(
            what=f"part of the record: {finding.text}",
            why=f"it was not read ({finding.count} of the kind, {finding.source.place or 'request'})"[:200],
            would_need="the entry in the shape of FHIR R4, about this patient",
        )
        for finding in patient.quality
        if finding.kind in _UNREAD and finding.severity == "serious"
    ]


def _holds_nameless(patient: Patient) -> bool:
    """Whether a medicine of the record has no words for it and a code that is not known: it may be any."""
    return any(m.status != "stopped" and not m.drugs and not m.original.display for m in patient.medications)


def _day_of(drafts: tuple[Resource, ...], resources: list[Resource], today: date) -> date:
    written = [d for draft in drafts if (d := day(string(draft, "authoredOn")))]
    if not written or max(written) >= today:
        return today
    days = [d for r in (*drafts, *resources) for name in _DATED if (d := day(string(r, name))) and d <= today]
    return max(days)


@dataclass(frozen=True)
class _Reader:
    """Reads resources by these facts, and by the site's own RxNorm map if it has one."""

    knowledge: Knowledge
    rxnorm: RxNormMap | None

    def patient(self, resources: list[Resource], patient_id: str, as_of: date | None) -> Patient:
        """The patient of some resources."""
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
        return read_patient(
            json.dumps(bundle).encode(),
            knowledge=self.knowledge,
            as_of=as_of,
            patient_id=patient_id,
            document="request",
            rxnorm=self.rxnorm,
        )


def _read(patient_id: str, resources: list[Resource], reader: _Reader, as_of: date) -> Patient:
    people = [r for r in resources if r["resourceType"] == "Patient" and r.get("id") == patient_id]
    others = [r for r in resources if r["resourceType"] != "Patient"]
    person = people[:1] or [{"resourceType": "Patient", "id": patient_id}]
    return reader.patient([*person, *others], patient_id, as_of)


def _with_lists(patient: Patient, prefetch: Mapping[str, Any]) -> Patient:
    """A search that was made and found nothing is a list, and empty."""
    given: dict[str, bool] = {}
    for key, content in prefetch.items():
        for page in content if isinstance(content, list) else [content]:
            if is_empty_search(page):
                links = [string(link, "url") for link in children(page, "link") if string(link, "relation") == "self"]
                searched = {link.partition("?")[0].rpartition("/")[2] for link in links} | {_KEYS.get(key, "")}
                given |= {_LISTS[kind]: True for kind in searched if kind in _LISTS}
    return patient.model_copy(update=given) if given else patient


def _completed_lately(resources: list[Resource], as_of: date) -> list[Resource]:
    """Orders and statements of the last days that were carried out to their end, as if they went on."""

    def is_recent(resource: Resource) -> bool:
        last = string(child(resource, "effectivePeriod"), "end")
        dated = (day(last), *(day(string(resource, name)) for name in ("effectiveDateTime", "authoredOn")))
        return any(d is not None and 0 <= (as_of - d).days <= LOOK_BACK_DAYS for d in dated)

    kept = ("MedicationRequest", "MedicationStatement")
    completed = [r for r in resources if r["resourceType"] in kept and r.get("status") == "completed" and is_recent(r)]
    going_on = [{k: v for k, v in r.items() if k != "effectivePeriod"} | {"status": "active"} for r in completed]
    return [*going_on, *(r for r in resources if going_on and r["resourceType"] == "Medication")]


def _with_given(
    patient: Patient, lately: Patient, as_of: date, knowledge: Knowledge, rules: Iterable[ContextualRule]
) -> Patient:
    """What was given or completed in the last days counts as taken, for the drugs that contextual rules ask about."""
    groups = frozenset[str]().union(*(asked_groups(rule) for rule in rules))

    def is_asked_about(medicine: Medication) -> bool:
        return any(knowledge.groups_of(DrugId(d)) & groups for d in medicine.drugs)

    def counted(medicine: Medication) -> Medication:
        recent = medicine.start is None or (as_of - medicine.start).days <= LOOK_BACK_DAYS
        if medicine.kind != "administration" or not recent or not is_asked_about(medicine):
            return medicine
        return medicine.model_copy(update={"status": "active", "end": None})

    completed = tuple(m.model_copy(update={"end": None}) for m in lately.medications if is_asked_about(m))
    return patient.model_copy(update={"medications": (*map(counted, patient.medications), *completed)})


def _read_drafts(
    request: HookRequest, drafts: tuple[Resource, ...], resources: list[Resource], reader: _Reader, as_of: date
) -> tuple[Draft, ...]:
    chosen = {s.rpartition("/")[2] for s in request.selections or ()}
    ids = {string(draft, "id") for draft in drafts}
    all_chosen = request.selections is None or not chosen & ids
    named = [r for r in (*drafts, *resources) if r["resourceType"] == "Medication"]
    return tuple(
        _draft(draft, named, reader, as_of, selected=all_chosen or string(draft, "id") in chosen) for draft in drafts
    )


def _draft(draft: Resource, named: list[Resource], reader: _Reader, as_of: date, *, selected: bool) -> Draft:
    kind, place = string(draft, "resourceType"), string(draft, "id")
    says = "medicationCodeableConcept" in draft or "medicationReference" in draft
    medicine = _medicine(draft, named, reader) if says and kind in _ORDERS else None
    display = concept_text(draft.get("medicationCodeableConcept")) or (medicine.text if medicine else "")
    drugs = tuple(DrugId(d) for d in medicine.drugs) if medicine else ()
    form = f"{medicine.route} {medicine.form} {display}".lower() if medicine else ""
    written = day(string(draft, "authoredOn"))
    old = written is not None and (as_of - written).days > _STANDING_DAYS
    return Draft(
        resource=draft,
        reference=f"{kind}/{place}" if place else "",
        drugs=drugs,
        words=_words(medicine, display, reader.knowledge),
        display=display or kind,
        selected=selected,
        local_form=_LOCAL.search(form) is not None and "oral" not in form,
        standing=old and string(draft, "status") == "active",
    )


def _medicine(draft: Resource, named: list[Resource], reader: _Reader) -> Medication | None:
    """The draft as our reader sees an order that is in force; None when it names no medicine or cannot be read."""
    plain = {k: v for k, v in draft.items() if k not in ("subject", "authoredOn", "meta", "identifier")}
    order = {**plain, "resourceType": "MedicationRequest", "status": "active", "intent": "order", "id": "draft"}
    order.pop("doNotPerform", None)
    stub = {"resourceType": "Patient", "id": "draft"}
    try:
        read = reader.patient([stub, order, *named], "draft", None)
    except InputError:
        return None
    return read.medications[0] if read.medications else None


def _words(medicine: Medication | None, display: str, knowledge: Knowledge) -> str:
    """The order as a prescriber would type it; what was not identified stays in its own words."""
    if medicine is None or not medicine.drugs or medicine.unresolved:
        return display
    name = " + ".join(knowledge.drugs[DrugId(d)].name for d in medicine.drugs)
    if len(medicine.drugs) != 1 or medicine.dose is None or not medicine.dose_unit:
        return name
    often = ""
    if medicine.per_day is not None and medicine.per_day > 0:
        often = f" q{24 / medicine.per_day:g}h"
    needed = " as needed" if medicine.as_needed else ""
    return f"{name} {medicine.dose:g} {medicine.dose_unit} {medicine.route}{often}{needed}"


def other_orders(drafts: Iterable[Draft]) -> tuple[Draft, ...]:
    """Drafts that are no order of a medicine, and of no kind that orders something else: they may hide a medicine."""
    return tuple(d for d in drafts if string(d.resource, "resourceType") not in (*_ORDERS, *_NO_MEDICINE))


def medicine_orders(drafts: Iterable[Draft]) -> tuple[Draft, ...]:
    """Those of the drafts that order a medicine."""
    return tuple(
        d
        for d in drafts
        if string(d.resource, "resourceType") in _ORDERS and d.resource.get("doNotPerform") is not True
    )
