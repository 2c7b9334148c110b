"""A simulated patient as a FHIR R4 bundle: what the record of such a person would hold, and nothing of the truth.

Every value is rounded as a laboratory prints it. Addresses are uuids made from the content, so that the same patient
gives the same bundle. A list that is empty is given as empty: absent then means absent, not unknown. That a relative
has no hypertension is said in words, since FHIR R4 has no other place for it. People who do not smoke never did.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, NamedTuple

from posologist.core.errors import InputError
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge
from posologist.knowledge.scores import Given, compute
from posologist.study.clinic import Clinic
from posologist.study.simulator_codes import (
    ALLERGY_CLINICAL_STATUS,
    ALLERGY_LIST,
    ALLERGY_VERIFICATION_STATUS,
    ANGIOEDEMA,
    BLACK,
    CLINICAL_STATUS,
    CONDITIONS,
    DIASTOLIC,
    EMPTY_REASON,
    ESSENTIAL,
    FATHER,
    HYPERTENSION,
    KIDNEY_DISEASE,
    MEASURES,
    MEDICATION_LIST,
    PREGNANCY_STATUS,
    PRESSURE,
    RACE,
    SMOKING,
    SMOKING_STATUS,
    SYSTOLIC,
    UCUM,
    VERIFICATION_STATUS,
    WHITE,
    Coding,
    Measure,
    rxnorm,
)

Resource = dict[str, Any]

_VISITS_WITHIN = 28  # days: records that are read take the pressures of a month together
_TREATED_BEFORE = 31  # days: a pressure under treatment must not fall into that month
_LABORATORY = 7  # days before the question
_KNOWN_FOR = 400  # days
_PREGNANT_FOR = 100  # days
_ASKED_BELOW = 60.0  # years: younger women are asked whether they are pregnant
_KIDNEY_DISEASE = 60.0  # mL/min/1.73 m2: a lower eGFR is on the problem list as chronic kidney disease
_HISTORIES = ("smoker", "family_hypertension")
_GENES = ("cyp2d6", "cyp2c9", "cyp3a5")  # in the genome's files, not in the bundle
_TAKEN = {
    DrugId("paroxetine"): (20.0, 1),
    DrugId("clarithromycin"): (500.0, 2),
}  # mg, times a day: strengths of the drug files
_CULPRIT = DrugId("lisinopril")  # the ACE inhibitor under which angioedema is recorded


@dataclass(frozen=True)
class PastTreatment:
    """A drug that was taken and stopped, and the pressure (mmHg) that was measured at its end.

    Two drugs that were taken together are two of these with the same days and the same pressure.
    """

    drug: DrugId
    dose_mg: float
    per_day: int
    start: date
    end: date
    sbp: float
    dbp: float


class _Who(NamedTuple):
    """Whose resources are made, and the day of the question."""

    id: str
    as_of: date
    knowledge: Knowledge

    def resource(self, kind: str, owner: str = "subject", **content: Any) -> Resource:
        """A resource of this patient, named after its content."""
        body = {**content, owner: {"reference": f"urn:uuid:{self.id}"}}
        text = json.dumps(body, sort_keys=True)
        return {"resourceType": kind, "id": str(uuid.uuid5(uuid.UUID(self.id), f"{kind} {text}")), **body}

    def day(self, days_before: int) -> str:
        """The day so many days before the question."""
        return (self.as_of - timedelta(days=days_before)).isoformat()


def identity_of(clinic: Clinic, i: int) -> str:
    """The patient's id, made from everything that is known of the patient and the place in the clinic.

    Parameters
    ----------
    i
        Place in the clinic, from 0.
    """
    known = [f"{field.name}={getattr(clinic, field.name)[i].item()!r}" for field in fields(clinic)]
    digest = hashlib.sha256(f"simulated patient {i}: {'; '.join(known)}".encode()).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, digest))


def bundle_of(
    clinic: Clinic,
    i: int,
    *,
    measured: Mapping[str, bool] | None = None,
    treatments: Sequence[PastTreatment] = (),
    as_of: date,
    knowledge: Knowledge,
    noise: Sequence[tuple[float, float]] = ((0.0, 0.0),),
) -> Resource:
    """The record of one patient on the day of the question.

    Parameters
    ----------
    i
        Place in the clinic, from 0.
    measured
        Whether a measure or history (name of a field) is in the record; None or not named: it is.
    treatments
        Earlier antihypertensive treatments; all ended more than a month before `as_of`.
    noise
        Error of the systolic and the diastolic reading (mmHg) at each untreated visit, earliest first; the visits lie
        within the last four weeks, the last one on `as_of`.

    Raises
    ------
    InputError
        If a treatment ended too late or is of no known drug, or `measured` names what a record cannot lack.
    """
    _refuse(measured or {}, treatments, as_of, knowledge)
    who = _Who(identity_of(clinic, i), as_of, knowledge)
    lacking = {name for name, known in (measured or {}).items() if not known}
    resources = [
        *_visits(clinic, i, who, noise),
        *(_measured(measure, getattr(clinic, measure.field)[i], who) for measure in MEASURES
          if measure.field not in lacking),
        *([] if "smoker" in lacking else [_smoking(bool(clinic.smoker[i]), who)]),
        *([_not_pregnant(who)] if clinic.female[i] and clinic.age[i] < _ASKED_BELOW and not clinic.pregnant[i] else []),
        *([] if "family_hypertension" in lacking else [_father(bool(clinic.family_hypertension[i]), who)]),
        *_problems(clinic, i, who),
        _angioedema(who) if clinic.angioedema[i] else _empty(ALLERGY_LIST, who),
        *_present_medicines(clinic, i, who),
        *(made for treatment in treatments for made in _past(treatment, who)),
    ]  # fmt: skip
    return _bundle([_patient(clinic, i, who), *resources])


def _refuse(
    measured: Mapping[str, bool], treatments: Iterable[PastTreatment], as_of: date, knowledge: Knowledge
) -> None:
    may_lack = {*(measure.field for measure in MEASURES), *_HISTORIES, *_GENES}
    if strange := sorted(set(measured) - may_lack):
        hint = f"name some of {', '.join(sorted(may_lack))}"
        raise InputError(f"a record cannot lack {', '.join(strange)}", where="measured", hint=hint)
    for treatment in treatments:
        if treatment.drug not in knowledge.drugs:
            raise InputError(f"no drug {treatment.drug}", where="treatments", hint="name a drug by its id")
        if not treatment.start <= treatment.end <= as_of - timedelta(days=_TREATED_BEFORE):
            text = f"{treatment.drug} from {treatment.start} to {treatment.end} runs into the untreated visits"
            raise InputError(text, where="treatments", hint=f"end it {_TREATED_BEFORE} days before {as_of}")


def _bundle(resources: Iterable[Resource]) -> Resource:
    """Each resource once: two drugs that were stopped together share the pressure that was measured."""
    once = {resource["id"]: resource for resource in resources}
    entries = [{"fullUrl": f"urn:uuid:{name}", "resource": resource} for name, resource in once.items()]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _patient(clinic: Clinic, i: int, who: _Who) -> Resource:
    race = BLACK if clinic.black[i] else WHITE
    parts = [{"url": "ombCategory", "valueCoding": race.fhir()}, {"url": "text", "valueString": race.display}]
    return {
        "resourceType": "Patient",
        "id": who.id,
        "extension": [{"url": RACE, "extension": parts}],
        "gender": _sex(clinic, i),
        "birthDate": _birth(float(clinic.age[i]), who.as_of).isoformat(),
    }


def _sex(clinic: Clinic, i: int) -> str:
    return "female" if clinic.female[i] else "male"


def _birth(age: float, as_of: date) -> date:
    """A birth date that gives the age (years) on that day: the birthday of the whole years, and the rest in days."""
    whole = math.floor(age)
    year = as_of.year - whole
    leap = as_of.month == 2 and as_of.day == 29 and not calendar.isleap(year)
    return date(year, as_of.month, 28 if leap else as_of.day) - timedelta(days=math.floor((age - whole) * 365))


def _visits(clinic: Clinic, i: int, who: _Who, noise: Sequence[tuple[float, float]]) -> list[Resource]:
    days = [_VISITS_WITHIN * before // len(noise) for before in reversed(range(len(noise)))]
    true = (float(clinic.sbp[i]), float(clinic.dbp[i]))
    return [
        _pressure(true[0] + more, true[1] + less, who.day(d), who) for d, (more, less) in zip(days, noise, strict=True)
    ]


def _pressure(sbp: float, dbp: float, day: str, who: _Who) -> Resource:
    parts = [
        {"code": _concept(code), "valueQuantity": _quantity(round(value), "mm[Hg]")}
        for code, value in ((SYSTOLIC, sbp), (DIASTOLIC, dbp))
    ]
    return who.resource(
        "Observation", status="final", code=_concept(PRESSURE), effectiveDateTime=f"{day}T09:00:00Z", component=parts
    )


def _measured(measure: Measure, value: float, who: _Who) -> Resource:
    printed = round(float(value), measure.digits)
    return who.resource(
        "Observation",
        status="final",
        code=_concept(measure.code),
        effectiveDateTime=f"{who.day(_LABORATORY)}T08:00:00Z",
        valueQuantity=_quantity(printed if measure.digits else int(printed), measure.unit),
    )


def _smoking(smokes: bool, who: _Who) -> Resource:
    return who.resource(
        "Observation",
        status="final",
        code=_concept(SMOKING_STATUS),
        effectiveDateTime=f"{who.day(_LABORATORY)}T08:00:00Z",
        valueCodeableConcept=_concept(SMOKING[smokes]),
    )


def _not_pregnant(who: _Who) -> Resource:
    return who.resource(
        "Observation",
        status="final",
        code=_concept(PREGNANCY_STATUS),
        effectiveDateTime=f"{who.day(_LABORATORY)}T08:00:00Z",
        valueCodeableConcept={"text": "Not pregnant"},
    )


def _father(hypertensive: bool, who: _Who) -> Resource:
    code = _concept(HYPERTENSION) if hypertensive else {"text": "No family history of hypertension"}
    return who.resource(
        "FamilyMemberHistory",
        "patient",
        status="completed",
        date=who.day(_LABORATORY),
        relationship=_concept(FATHER),
        condition=[{"code": code}],
    )


def _problems(clinic: Clinic, i: int, who: _Who) -> list[Resource]:
    hypertension = HYPERTENSION if clinic.secondary[i] else ESSENTIAL
    found = [_problem(hypertension, _KNOWN_FOR, who)]
    for field, code in CONDITIONS.items():
        if getattr(clinic, field)[i]:
            found.append(_problem(code, _PREGNANT_FOR if field == "pregnant" else _KNOWN_FOR, who))
    return [*found, _problem(KIDNEY_DISEASE, _KNOWN_FOR, who)] if _egfr(clinic, i, who) < _KIDNEY_DISEASE else found


def _egfr(clinic: Clinic, i: int, who: _Who) -> float:
    """eGFR (mL/min/1.73 m2) by the equation on file."""
    known: dict[str, float | str] = {"age": float(clinic.age[i]), "creatinine": float(clinic.creatinine[i])}
    result = compute(who.knowledge.scores["ckd_epi_2021_cr"], Given({**known, "sex": _sex(clinic, i)}))
    return float(result.value)


def _problem(code: Coding, days: int, who: _Who) -> Resource:
    return who.resource(
        "Condition",
        clinicalStatus=_status(CLINICAL_STATUS, "active"),
        verificationStatus=_status(VERIFICATION_STATUS, "confirmed"),
        code=_concept(code),
        onsetDateTime=who.day(days),
    )


def _angioedema(who: _Who) -> Resource:
    return who.resource(
        "AllergyIntolerance",
        "patient",
        clinicalStatus=_status(ALLERGY_CLINICAL_STATUS, "active"),
        verificationStatus=_status(ALLERGY_VERIFICATION_STATUS, "confirmed"),
        category=["medication"],
        code=_concept(rxnorm(who.knowledge.drugs[_CULPRIT])),
        recordedDate=who.day(_KNOWN_FOR),
        reaction=[{"manifestation": [_concept(ANGIOEDEMA)]}],
    )


def _present_medicines(clinic: Clinic, i: int, who: _Who) -> list[Resource]:
    taken = [drug for drug in _TAKEN if getattr(clinic, drug)[i]]
    orders = [_order(drug, *_TAKEN[drug], who, status="active", authoredOn=who.day(_LABORATORY)) for drug in taken]
    return orders or [_empty(MEDICATION_LIST, who)]


def _past(treatment: PastTreatment, who: _Who) -> list[Resource]:
    start, end = treatment.start.isoformat(), treatment.end.isoformat()
    period = {"boundsPeriod": {"start": start, "end": end}}
    amount = (treatment.drug, treatment.dose_mg, treatment.per_day)
    order = _order(*amount, who, status="completed", authoredOn=start, bounds=period)
    return [order, _pressure(treatment.sbp, treatment.dbp, end, who)]


def _order(
    drug: DrugId,
    dose_mg: float,
    per_day: int,
    who: _Who,
    *,
    status: str,
    authoredOn: str,
    bounds: Resource | None = None,
) -> Resource:
    repeat = {**(bounds or {}), "frequency": per_day, "period": 1, "periodUnit": "d"}
    dosage = {"timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": _quantity(dose_mg, "mg")}]}
    return who.resource(
        "MedicationRequest",
        status=status,
        intent="order",
        medicationCodeableConcept=_concept(rxnorm(who.knowledge.drugs[drug])),
        authoredOn=authoredOn,
        dosageInstruction=[dosage],
    )


def _empty(code: Coding, who: _Who) -> Resource:
    reason = {"coding": [{"system": EMPTY_REASON, "code": "nilknown"}]}
    return who.resource(
        "List", status="current", mode="snapshot", code=_concept(code), date=who.day(0), emptyReason=reason
    )


def _concept(code: Coding) -> Resource:
    return {"coding": [code.fhir()]}


def _status(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _quantity(value: float, unit: str) -> Resource:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}
