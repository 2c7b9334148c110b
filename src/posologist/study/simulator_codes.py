"""The codes with which a simulated patient's record is written; those that we read are tested against the knowledge.

This material contains content from LOINC (http://loinc.org), copyright Regenstrief Institute, Inc. and the LOINC
Committee, available at no cost under the license at http://loinc.org/license.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from posologist.core.drug import Drug

UCUM = "http://unitsofmeasure.org"
RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
CLINICAL_STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFICATION_STATUS = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
ALLERGY_CLINICAL_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
ALLERGY_VERIFICATION_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
EMPTY_REASON = "http://terminology.hl7.org/CodeSystem/list-empty-reason"
_LOINC, _SNOMED = "http://loinc.org", "http://snomed.info/sct"
_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
_RACES = "urn:oid:2.16.840.1.113883.6.238"
_ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"


class Coding(NamedTuple):
    """A code of a system, with the words for it."""

    system: str
    code: str
    display: str

    def fhir(self) -> dict[str, str]:
        """As FHIR writes it."""
        return {"system": self.system, "code": self.code, "display": self.display}


class Measure(NamedTuple):
    """A number of the clinic: its field, its code, its UCUM unit, and the decimals that are printed."""

    field: str
    code: Coding
    unit: str
    digits: int


PRESSURE = Coding(_LOINC, "85354-9", "Blood pressure panel")
SYSTOLIC = Coding(_LOINC, "8480-6", "Systolic blood pressure")
DIASTOLIC = Coding(_LOINC, "8462-4", "Diastolic blood pressure")
MEASURES = (
    Measure("heart_rate", Coding(_LOINC, "8867-4", "Heart rate"), "/min", 0),
    Measure("height", Coding(_LOINC, "8302-2", "Body height"), "cm", 0),
    Measure("weight", Coding(_LOINC, "29463-7", "Body weight"), "kg", 1),
    Measure("creatinine", Coding(_LOINC, "2160-0", "Creatinine, serum"), "mg/dL", 2),
    Measure("potassium", Coding(_LOINC, "2823-3", "Potassium, serum"), "mmol/L", 1),
    Measure("renin", Coding(_LOINC, "2915-7", "Renin activity, plasma"), "ng/mL/h", 2),
    Measure("urine_sodium", Coding(_LOINC, "2956-1", "Sodium, 24-hour urine"), "mmol/(24.h)", 0),
)
SMOKING_STATUS = Coding(_LOINC, "72166-2", "Tobacco smoking status NHIS")
PREGNANCY_STATUS = Coding(_LOINC, "82810-3", "Pregnancy status")
SMOKING: Mapping[bool, Coding] = {
    True: Coding(_SNOMED, "449868002", "Smokes tobacco daily"),
    False: Coding(_SNOMED, "266919005", "Never smoked tobacco"),
}
HYPERTENSION = Coding(_SNOMED, "38341003", "Hypertension")
ESSENTIAL = Coding(_SNOMED, "59621000", "Essential hypertension")
CONDITIONS: Mapping[str, Coding] = {
    "diabetes": Coding(_SNOMED, "44054006", "Type 2 diabetes"),
    "gout": Coding(_SNOMED, "90560007", "Gout"),
    "asthma": Coding(_SNOMED, "195967001", "Asthma"),
    "pregnant": Coding(_SNOMED, "77386006", "Pregnancy"),
    "bradycardia": Coding(_SNOMED, "48867003", "Bradycardia"),
    "primary_aldosteronism": Coding(_ICD10, "E26.09", "Other primary hyperaldosteronism"),
    "renal_artery_stenosis": Coding(_SNOMED, "302233006", "Renal artery stenosis"),
    "sleep_apnoea": Coding(_SNOMED, "78275009", "Obstructive sleep apnea"),
}
"""Problems by the clinic's field."""
KIDNEY_DISEASE = Coding(_SNOMED, "709044004", "Chronic kidney disease")
ANGIOEDEMA = Coding(_SNOMED, "41291007", "Angioedema")
WHITE = Coding(_RACES, "2106-3", "White")
BLACK = Coding(_RACES, "2054-5", "Black or African American")
FATHER = Coding(_ROLES, "FTH", "father")
ALLERGY_LIST = Coding(_LOINC, "52472-8", "Allergies and medication intolerances")
MEDICATION_LIST = Coding(_LOINC, "10160-0", "History of medication use")


def rxnorm(drug: Drug) -> Coding:
    """The drug's ingredient code."""
    return Coding(_RXNORM, drug.rxcui, drug.name)
