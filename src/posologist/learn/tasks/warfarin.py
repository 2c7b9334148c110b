"""Warfarin maintenance dose: features, and the same row from the IWPC's table and from a patient.

What is measured on the dose (the INR that it gave, whether it was stable) is no feature. Nor is the project site: a
new patient comes from none of them. The target INR is no feature either: recorded at some sites only, it told the
site and nothing more.

References
----------
iwpc-2009: International Warfarin Pharmacogenetics Consortium, N Engl J Med 2009;360:753, doi:10.1056/NEJMoa0809329.
Its Supplementary Appendix, section S4, infers VKORC1 -1639 from linked positions (read in one public restatement; the
linkage holds in the table itself, see docs/learn-warfarin.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile
from posologist.core.prediction import Feature, FeatureGroup, Formula, Schema
from posologist.core.situation import Situation
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol
from posologist.learn.features import Cell, Known, Row, row_of
from posologist.learn.tasks.cells import number

TASK = "warfarin"
OUTCOME, UNIT = "maintenance dose of warfarin", "mg/week"
DOSE = "Therapeutic Dose of Warfarin"
STABLE = "Subject Reached Stable Dose of Warfarin"
SITE, RACE, REPORTED, INDICATION = "Project Site", "Race (OMB)", "Race (Reported)", "Indication for Warfarin Treatment"
MEDICINES = "Medications"

VKORC1_LEVELS = ("GG", "AG", "AA")
CYP2C9_LEVELS = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
RACES = ("White", "Asian", "Black")
ANCESTRIES = ("Japanese", "Korean", "Chinese", "Malay", "Indian")

_RACES = {"White": "White", "Asian": "Asian", "Black or African American": "Black"}
_ANCESTRY_WORDS = {
    "japan": "Japanese", "korea": "Korean", "chin": "Chinese", "malay": "Malay", "indian": "Indian",
}  # fmt: skip

# feature: column of the table, words that name it in the free text, drugs (ids) that it is for a patient
_DRUGS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "amiodarone": ("amiodarone", "Amiodarone (Cordarone)", ("amiodarone", "cordarone", "pacerone"), ("amiodarone",)),
    "carbamazepine": ("carbamazepine", "Carbamazepine (Tegretol)", ("carbamazepine", "tegretol"), ("carbamazepine",)),
    "phenytoin": ("phenytoin", "Phenytoin (Dilantin)", ("phenytoin", "dilantin"), ("phenytoin", "fosphenytoin")),
    "rifampin": ("rifampin", "Rifampin or Rifampicin", ("rifamp",), ("rifampin",)),
    "aspirin": ("aspirin", "Aspirin", ("aspirin",), ("aspirin",)),
    "acetaminophen": (
        "acetaminophen", "Acetaminophen or Paracetamol (Tylenol)", ("acetaminophen", "paracetamol"), ("acetaminophen",),
    ),
    "simvastatin": ("simvastatin", "Simvastatin (Zocor)", ("simvastatin", "zocor"), ("simvastatin",)),
    "atorvastatin": ("atorvastatin", "Atorvastatin (Lipitor)", ("atorvastatin", "lipitor"), ("atorvastatin",)),
    "fluvastatin": ("fluvastatin", "Fluvastatin (Lescol)", ("fluvastatin", "lescol"), ("fluvastatin",)),
    "lovastatin": ("lovastatin", "Lovastatin (Mevacor)", ("lovastatin", "mevacor"), ("lovastatin",)),
    "pravastatin": ("pravastatin", "Pravastatin (Pravachol)", ("pravastatin", "pravachol"), ("pravastatin",)),
    "rosuvastatin": ("rosuvastatin", "Rosuvastatin (Crestor)", ("rosuvastatin", "crestor"), ("rosuvastatin",)),
    "sulfonamide": (
        "sulfonamide antibiotic", "Sulfonamide Antibiotics", ("sulfameth",), ("trimethoprim-sulfamethoxazole",),
    ),
    "macrolide": (
        "macrolide antibiotic", "Macrolide Antibiotics", ("erythromycin", "clarithromycin", "azithromycin"),
        ("erythromycin", "clarithromycin", "azithromycin"),
    ),
    "azole": (
        "azole antifungal", "Anti-fungal Azoles", ("conazole",),
        ("fluconazole", "itraconazole", "ketoconazole", "voriconazole"),
    ),
    "levothyroxine": ("levothyroxine", "", ("levothyrox", "synthroid"), ("levothyroxine",)),
    "allopurinol": ("allopurinol", "", ("allopurin",), ("allopurinol",)),
    "furosemide": ("furosemide", "", ("furosemide", "lasix"), ("furosemide",)),
    "digoxin": ("digoxin", "", ("digoxin",), ("digoxin",)),
    "prednisone": ("prednisone", "", ("prednis",), ("prednisone", "prednisolone")),
    "fibrate": ("fibrate", "", ("fibr",), ("fenofibrate", "gemfibrozil")),
    "proton_pump_inhibitor": (
        "proton pump inhibitor", "", ("prazole",), ("omeprazole", "esomeprazole", "lansoprazole", "pantoprazole"),
    ),
    "beta_blocker": (
        "beta blocker", "", ("olol",), ("metoprolol", "atenolol", "bisoprolol", "carvedilol", "propranolol", "sotalol"),
    ),
    "ace_inhibitor": (
        "ACE inhibitor", "", ("pril",),
        ("enalapril", "lisinopril", "ramipril", "captopril", "fosinopril", "benazepril", "quinapril", "trandolapril"),
    ),
}  # fmt: skip
# feature: what it is called, codes of the table's indication, conditions (codes) that it is for a patient
_INDICATIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "for_thrombosis": ("deep vein thrombosis or pulmonary embolism", "12", ("dvt_pe",)),
    "for_fibrillation": ("atrial fibrillation", "3", ("atrial_fibrillation",)),
    "for_valve": ("heart valve", "4", ("mechanical_valve", "bioprosthetic_valve")),
    "for_cardiomyopathy": ("cardiomyopathy", "5", ()),
    "for_stroke": ("stroke", "6", ("stroke",)),
    "for_orthopaedic": ("orthopaedic surgery", "7", ()),
    "for_other": ("another indication", "8", ()),
}
# feature: what it is called, column, words in the free text of comorbidities, conditions (codes)
_ILLNESSES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "diabetes": ("diabetes", "Diabetes", ("diabet",), ("diabetes",)),
    "heart_failure": (
        "heart failure or cardiomyopathy", "Congestive Heart Failure and/or Cardiomyopathy",
        ("heart failure", "cardiomyopathy"), ("heart_failure",),
    ),
    "valve_replaced": (
        "heart valve replacement", "Valve Replacement", ("valve replacement", "valve prosthesis"),
        ("mechanical_valve", "bioprosthetic_valve"),
    ),
    "hypertension": ("hypertension", "", ("hypertension",), ("hypertension",)),
    "dyslipidaemia": ("dyslipidaemia", "", ("lipid", "cholesterol"), ("dyslipidaemia",)),
    "coronary_disease": (
        "coronary artery disease", "", ("coronary", "myocardial infarction", "ischemic heart", "ischaemic heart"),
        ("coronary_artery_disease",),
    ),
    "cancer": ("cancer", "", ("cancer", "malignan"), ("cancer",)),
    "kidney_disease": ("kidney disease", "", ("renal", "kidney"), ("ckd",)),
    "stroke_before": ("stroke", "", ("stroke", "cva"), ("stroke",)),
    "thyroid_disease": ("thyroid disease", "", ("thyroid",), ("thyrotoxicosis",)),
}  # fmt: skip


def _flags(group: FeatureGroup, named: Mapping[str, str], yes: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(name=name, kind="flag", group=group, label=label, yes=yes, no="no {label}")
        for name, label in named.items()
    )


_FEATURES = (
    Feature(name="age_decade", group="demographics", label="age", unit="decades", low=1, high=9),
    Feature(name="height", group="demographics", label="height", unit="cm", low=100, high=230),
    Feature(name="weight", group="demographics", label="weight", unit="kg", low=25, high=300),
    Feature(name="male", kind="flag", group="demographics", label="male sex", yes="male", no="female"),
    Feature(name="race", kind="category", group="demographics", label="race", levels=RACES),
    Feature(name="ancestry", kind="category", group="demographics", label="ancestry", levels=ANCESTRIES),
    Feature(name="smoker", kind="flag", group="lifestyle", label="smoker", yes="smokes", no="does not smoke"),
    *_flags("disease", {name: held[0] for name, held in _INDICATIONS.items()}, "warfarin for {label}"),
    *_flags("comorbidity", {name: held[0] for name, held in _ILLNESSES.items()}, "{label}"),
    *_flags("medication history", {name: held[0] for name, held in _DRUGS.items()}, "takes {label}"),
    Feature(name="herbal", kind="flag", group="medication history", label="herbs or vitamins", yes="takes {label}"),
    Feature(name="vkorc1", kind="category", group="genes", label="VKORC1 -1639", levels=VKORC1_LEVELS),
    Feature(name="cyp2c9", kind="category", group="genes", label="CYP2C9", levels=CYP2C9_LEVELS),
    Feature(
        name="cyp2c9_other",
        kind="flag",
        group="genes",
        label="CYP2C9 *5, *6, *8 or *11",
        yes="carries {label}",
        no="no {label}",
    ),
)

# The algorithm as knowledge/data/dosing/warfarin.toml states it, over these features; a test holds it to that.
_IWPC_ROOT = (
    "max(5.6044 - 0.2614 * age_decade + 0.0087 * height + 0.0128 * weight"
    " - 0.8677 * vkorc1_is_ag - 1.6974 * vkorc1_is_aa - 0.4854 * vkorc1_missing"
    " - 0.5211 * cyp2c9_is_1_2 - 0.9357 * cyp2c9_is_1_3 - 1.0616 * cyp2c9_is_2_2 - 1.9206 * cyp2c9_is_2_3"
    " - 2.3312 * cyp2c9_is_3_3 - 0.2188 * cyp2c9_missing"
    " - 0.1092 * race_is_asian - 0.2760 * race_is_black"
    " - 0.1032 * (1 - race_is_white - race_is_asian - race_is_black)"
    " + 1.1816 * max(carbamazepine * (1 - carbamazepine_missing), phenytoin * (1 - phenytoin_missing),"
    " rifampin * (1 - rifampin_missing)) - 0.5503 * amiodarone * (1 - amiodarone_missing), 0)"
)

SCHEMA = Schema(
    task=TASK,
    version="1",
    features=_FEATURES,
    formulas=(
        Formula(
            name="iwpc_root", label="square root of the IWPC pharmacogenetic dose (mg/week)", expression=_IWPC_ROOT,
            source="iwpc-2009", status="secondary",
        ),
    ),
)  # fmt: skip


def cells_of_csv(cells: Mapping[str, str]) -> dict[str, Cell]:
    """Features of a row of the IWPC's table as it is distributed; None: not known."""
    text = {name: cells.get(name, "").strip() for name in (INDICATION, MEDICINES, "Comorbidities", "Age", "Gender")}
    given = set(re.findall(r"[1-8]", text[INDICATION]))
    found: dict[str, Cell] = {
        "age_decade": float(text["Age"][0]) if text["Age"][:1].isdigit() else None,
        "height": number(cells.get("Height (cm)", ""), where="Height (cm)"),
        "weight": number(cells.get("Weight (kg)", ""), where="Weight (kg)"),
        "male": {"male": True, "female": False}.get(text["Gender"].lower()),
        "race": _RACES.get(cells.get(RACE, "")),
        "ancestry": ancestry((cells.get(REPORTED, ""),)),
        "smoker": _flag(cells.get("Current Smoker", "")),
        "herbal": _flag(cells.get("Herbal Medications, Vitamins, Supplements", "")),
        "vkorc1": vkorc1(cells),
        **cyp2c9(cells.get("CYP2C9 consensus", "")),
    }
    found |= {name: (bool(given & set(codes)) if given else None) for name, (_, codes, _) in _INDICATIONS.items()}
    for name, (_, column, words, _) in _ILLNESSES.items():
        found[name] = _told(cells.get(column, ""), text["Comorbidities"], words)
    for name, (_, column, words, _) in _DRUGS.items():
        found[name] = _told(cells.get(column, ""), text[MEDICINES], words)
    return found


def vkorc1(cells: Mapping[str, str]) -> str | None:
    """Genotype at VKORC1 -1639, where it was not read from the positions linked to it.

    In the order of iwpc-2009: 2255 (rs2359612; not in Black, mixed or unknown race), 1173 (rs9934438; in all), 1542
    (rs8050894; not in Black, mixed or unknown race).
    """
    read = cells.get("VKORC1 -1639 consensus", "")
    if read:
        return _ALLELES.get(read)
    linked = cells.get(RACE, "") in ("White", "Asian")
    if linked and (found := _ALLELES_2255.get(cells.get("VKORC1 2255 consensus", ""))):
        return found
    if found := _ALLELES_2255.get(cells.get("VKORC1 1173 consensus", "")):
        return found
    return _ALLELES_1542.get(cells.get("VKORC1 1542 consensus", "")) if linked else None


_ALLELES = {"A/A": "AA", "A/G": "AG", "G/A": "AG", "G/G": "GG"}
_ALLELES_2255 = {"C/C": "GG", "C/T": "AG", "T/T": "AA"}  # 1173 the same
_ALLELES_1542 = {"G/G": "GG", "C/G": "AG", "C/C": "AA"}


def cyp2c9(diplotype: str) -> dict[str, Cell]:
    """Features of a diplotype, as the algorithms count it: *5, *6, *8 and *11 on their own, beside *1, *2 and *3.

    With an allele that the algorithms do not know neither feature is known.
    """
    alleles = diplotype.strip().split("/")
    if len(alleles) != 2 or not set(alleles) <= {"*1", "*2", "*3", *_OTHER_REDUCED}:
        return {"cyp2c9": None, "cyp2c9_other": None}
    counted = sorted("*1" if allele in _OTHER_REDUCED else allele for allele in alleles)
    return {"cyp2c9": "/".join(counted), "cyp2c9_other": any(allele in _OTHER_REDUCED for allele in alleles)}


_OTHER_REDUCED = frozenset({"*5", "*6", "*8", "*11"})


def ancestry(names: Collection[str]) -> str | None:
    """The ancestry that a recorded race names, None where it names none of those that the model knows."""
    for name in names:
        for word, found in _ANCESTRY_WORDS.items():
            if word in name.lower() and "american indian" not in name.lower():
                return found
    return None


def row_of_patient(
    situation: Situation, genome: GeneticProfile | None = None, *, ledger: Ledger, races: Collection[str] = ()
) -> Row:
    """Row of a patient: facts, conditions and medicines of the situation, and what was called of the genes.

    Without a list of problems or medicines the flags that it would decide are not known. `races` are those of the
    record, for the ancestry; `ledger` receives the lists that say what the patient does not have or take.
    """
    known: dict[str, Known] = {}
    _add_body(known, situation, races)
    source = f"record of patient {situation.patient_id}"
    if situation.medication_list_given:
        absent = ledger.add("patient", "the medication list does not name it", source=source)
        known |= {name: Known(False, absent) for name in _DRUGS}
    if situation.problem_list_given:
        absent = ledger.add("patient", "the problem list does not name it", source=source)
        known |= {name: Known(False, absent) for name in _ILLNESSES}
    known |= {name: Known(True, key) for name, key in _present(situation)}
    known |= dict(_genes(genome))
    return row_of(SCHEMA, known)


def _genes(genome: GeneticProfile | None) -> Iterator[tuple[str, Known]]:
    """What was called of both genes: -1639 is named by the phenotype ("-1639 AG")."""
    calls = {} if genome is None else {gene: call for gene, call in genome.genes.items() if call.called}
    if (call := calls.get(GeneSymbol("VKORC1"))) is not None:
        word = (call.phenotype or "").removeprefix("-1639").strip()
        if word in VKORC1_LEVELS:
            yield "vkorc1", Known(word, call.because[0])
    if (call := calls.get(GeneSymbol("CYP2C9"))) is not None:
        for name, value in cyp2c9(call.diplotype or "").items():
            if value is not None:
                yield name, Known(value, call.because[0])


def _present(situation: Situation) -> Iterator[tuple[str, EvidenceKey]]:
    """Flags that the record says are true, with their reason."""
    taken = {current.drug: current.because for current in situation.current}
    for name, (_, _, _, drugs) in _DRUGS.items():
        yield from ((name, taken[DrugId(drug)]) for drug in drugs if DrugId(drug) in taken)
    coded = [(name, codes) for name, (_, _, _, codes) in _ILLNESSES.items()]
    coded += [(name, codes) for name, (_, _, codes) in _INDICATIONS.items()]
    for name, codes in coded:
        yield from ((name, situation.conditions[code]) for code in codes if code in situation.conditions)


def _add_body(known: dict[str, Known], situation: Situation, races: Collection[str]) -> None:
    facts = situation.facts
    if "age" in facts:
        known["age_decade"] = Known(min(float(facts["age"].value) // 10, 9.0), facts["age"].because)
    for name in ("height", "weight"):
        if name in facts:
            known[name] = Known(float(facts[name].value), facts[name].because)
    if "sex" in facts and facts["sex"].value in ("male", "female"):
        known["male"] = Known(facts["sex"].value == "male", facts["sex"].because)
    if "race_group" in facts:
        if facts["race_group"].value in RACES:
            known["race"] = Known(str(facts["race_group"].value), facts["race_group"].because)
        if named := ancestry(races):
            known["ancestry"] = Known(named, facts["race_group"].because)
    if "smoking_status" in facts:
        known["smoker"] = Known(facts["smoking_status"].value == "current", facts["smoking_status"].because)


def _told(column: str, text: str, words: Collection[str]) -> bool | None:
    """A column's yes or no; where it is empty, what the free text says; None where that says nothing."""
    flag = _flag(column)
    if flag is not None:
        return flag
    items = [item.strip().lower() for item in text.split(";") if item.strip()]
    if not items:
        return None
    return any(word in item and not re.match(r"(no|not|without)\b", item) for item in items for word in words)


def _flag(text: str) -> bool | None:
    return {"1": True, "1.0": True, "0": False, "0.0": False}.get(text.strip())
