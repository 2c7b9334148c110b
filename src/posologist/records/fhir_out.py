"""A recommendation as FHIR R4: proposals to prescribe or stop, detected issues, and where they come from.

Nothing is ordered: every MedicationRequest is a draft with intent "proposal". What was ruled out and what could not
be checked is a DetectedIssue, so that it is never lost on the way.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from posologist.core.recommendation import Finding, NotChecked, Option, Recommendation, RuledOut, Start, Stop
from posologist.core.statement import Severity
from posologist.core.values import Quantity

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://posologist.org/fhir")
_SEVERITY: Mapping[Severity, str] = {
    "contraindicated": "high", "serious": "high", "monitor": "moderate", "information": "low",
}  # fmt: skip
_UCUM = {"mg": "mg", "mcg": "ug", "g": "g", "units": "[iU]", "mmol": "mmol", "meq": "meq", "mL": "mL", "h": "h"}
_ROUTES = {
    "oral": ("26643006", "Oral route"), "iv": ("47625008", "Intravenous route"),
    "im": ("78421000", "Intramuscular route"), "sc": ("34206005", "Subcutaneous route"),
    "transdermal": ("45890007", "Transdermal route"), "topical": ("6064005", "Topical route"),
}  # fmt: skip

Resource = dict[str, Any]


def to_fhir(
    recommendation: Recommendation, *, rxcui: Mapping[str, str] | None = None, recorded: datetime | None = None
) -> Resource:
    """Bundle (collection) of a recommendation; the same recommendation gives the same bytes.

    Parameters
    ----------
    rxcui
        Ingredient code by drug id, for the codings; a drug without one is named in words only.
    recorded
        When it was made; midnight UTC of `as_of` when not given.
    """
    when = recorded or datetime.combine(recommendation.as_of, datetime.min.time(), tzinfo=UTC)
    patient = {"reference": f"Patient/{recommendation.patient.id}"}
    if recommendation.patient.name:
        patient["display"] = recommendation.patient.name
    codes = rxcui or {}
    proposed = [pair for option in recommendation.options for pair in _requests(option, recommendation, patient, codes)]
    requests = [request for _, request in proposed]
    starts = [(drug, _entry(request)["fullUrl"]) for drug, request in proposed if "doNotPerform" not in request]
    issues = [_finding(f, recommendation, patient, starts) for f in recommendation.findings]
    issues += [_ruled_out(r, recommendation, patient) for r in recommendation.ruled_out]
    issues += [_not_checked(n, recommendation.as_of, patient) for n in recommendation.not_checked]
    entries = [_entry(resource) for resource in [*requests, *issues]]
    if entries:
        entries.append(_entry(_provenance(recommendation, entries, when)))
    return {"resourceType": "Bundle", "type": "collection", "timestamp": when.isoformat(), "entry": entries}


def _entry(resource: Resource) -> Resource:
    identity = uuid.uuid5(_NAMESPACE, repr(sorted(resource.items(), key=lambda item: item[0])))
    return {"fullUrl": f"urn:uuid:{identity}", "resource": {**resource, "id": str(identity)}}


def _requests(
    option: Option, whole: Recommendation, patient: Resource, codes: Mapping[str, str]
) -> list[tuple[str, Resource]]:
    """Proposals of one option: (drug, MedicationRequest), what to start and what not to go on with."""
    common = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "subject": patient,
        "authoredOn": whole.as_of.isoformat(),
        "groupIdentifier": {"value": f"option {option.rank}"},
    }
    title = f"Option {option.rank} of {len(whole.options)}: {option.plan.text}"
    starts = [(str(start.drug), _start(start, option, common, title, codes)) for start in option.plan.start]
    return [*starts, *((str(stop.drug), _stop(stop, common, title, codes)) for stop in option.plan.stop)]


def _start(start: Start, option: Option, common: Resource, title: str, codes: Mapping[str, str]) -> Resource:
    regimen = start.regimen
    dosage: Resource = {
        "text": regimen.text,
        "timing": {"repeat": {"frequency": 1, "period": regimen.interval.value, "periodUnit": regimen.interval.unit}},
        "doseAndRate": [{"doseQuantity": _quantity(regimen.dose)}],
    }
    if route := _route(regimen.route):
        dosage["route"] = route
    if regimen.maximum is not None and regimen.maximum.unit.endswith("/day"):
        amount = regimen.maximum.model_copy(update={"unit": regimen.maximum.unit.removesuffix("/day")})
        day = {"value": 1, "unit": "day", "system": "http://unitsofmeasure.org", "code": "d"}
        dosage["maxDosePerPeriod"] = {"numerator": _quantity(amount), "denominator": day}
    notes = [title, *(reason.text for reason in option.reasons), *(caution.text for caution in option.cautions)]
    return {
        **common,
        "medicationCodeableConcept": _medicine(start.drug, regimen.form, codes),
        "dosageInstruction": [dosage],
        "note": [{"text": text} for text in notes],
    }


def _stop(stop: Stop, common: Resource, title: str, codes: Mapping[str, str]) -> Resource:
    return {
        **common,
        "doNotPerform": True,
        "medicationCodeableConcept": _medicine(stop.drug, "", codes),
        "note": [{"text": title}, {"text": f"{stop.how}: {stop.text}"}],
    }


def _medicine(drug: str, form: str, codes: Mapping[str, str]) -> Resource:
    concept: Resource = {"text": f"{drug} {form}".strip()}
    if codes.get(drug):
        system = "http://www.nlm.nih.gov/research/umls/rxnorm"
        concept["coding"] = [{"system": system, "code": codes[drug], "display": drug}]
    return concept


def _route(route: str) -> Resource | None:
    if not route:
        return None
    if route not in _ROUTES:
        return {"text": route}
    code, display = _ROUTES[route]
    return {"coding": [{"system": "http://snomed.info/sct", "code": code, "display": display}], "text": route}


def _quantity(quantity: Quantity) -> Resource:
    found: Resource = {"value": quantity.value, "unit": quantity.unit}
    if quantity.unit in _UCUM:
        found |= {"system": "http://unitsofmeasure.org", "code": _UCUM[quantity.unit]}
    return found


def _finding(finding: Finding, whole: Recommendation, patient: Resource, starts: Iterable[tuple[str, str]]) -> Resource:
    issue = _issue(finding.title, finding.detail, _SEVERITY[finding.severity], whole.as_of, patient)
    concerned = {str(drug) for drug in finding.drugs}
    implicated = [{"reference": address} for drug, address in starts if drug in concerned]
    if implicated:
        issue["implicated"] = implicated
    return issue | _reasons(finding.because, whole)


def _ruled_out(ruled: RuledOut, whole: Recommendation, patient: Resource) -> Resource:
    issue = _issue(f"{ruled.drug} is ruled out: {ruled.rule}", ruled.reason, "high", whole.as_of, patient)
    return issue | _reasons(ruled.because, whole)


def _not_checked(open_question: NotChecked, as_of: date, patient: Resource) -> Resource:
    detail = f"{open_question.why}. It would need: {open_question.would_need}"
    return _issue(f"Not checked: {open_question.what}", detail, "moderate", as_of, patient)


def _issue(title: str, detail: str, severity: str, as_of: date, patient: Resource) -> Resource:
    return {
        "resourceType": "DetectedIssue",
        "status": "final",
        "code": {"text": title},
        "severity": severity,
        "patient": patient,
        "identifiedDateTime": as_of.isoformat(),
        "detail": detail or title,
    }


def _reasons(because: Iterable[str], whole: Recommendation) -> Resource:
    texts = [whole.evidence[key].text for key in because if key in whole.evidence]
    return {"evidence": [{"code": [{"text": text}]} for text in texts]} if texts else {}


def _provenance(whole: Recommendation, entries: Iterable[Resource], when: datetime) -> Resource:
    sources = sorted({e.source for e in whole.evidence.values() if e.kind in ("knowledge", "model") and e.source})
    found: Resource = {
        "resourceType": "Provenance",
        "target": [{"reference": entry["fullUrl"]} for entry in entries],
        "recorded": when.isoformat(),
        "activity": {"text": "computed recommendation, to be decided by a prescriber"},
        "agent": [
            {
                "type": {"text": "assembler"},
                "who": {"display": f"posologist {whole.versions.posologist}, knowledge {whole.versions.knowledge}"},
            }
        ],
    }
    if sources:
        found["entity"] = [{"role": "source", "what": {"display": source}} for source in sources]
    return found
