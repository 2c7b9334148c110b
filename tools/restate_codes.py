"""Writes `conditions.toml` and `laboratory.toml` from the tables of observed codes and the tables below.

    python tools/restate_codes.py DRUG_FACTS_FOLDER src/posologist/knowledge/data

The folder holds `_condition_codes.tsv`, `_lab_codes.tsv` and `_vocabulary.json`. What this file adds to them was
recalled and is written with the status "to verify"; a code that occurs in a public sample record with its display is
"secondary". A trailing `*` of an ICD-10-CM code stands for every code that begins so.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

Row = dict[str, str]


def words(spaced: str) -> set[str]:
    """Words of a text."""
    return set(spaced.split())


# code: (name, implies, SNOMED CT, ICD-10-CM), recalled
ADDED: dict[str, tuple[str, str, str, str]] = {
    "acs": ("Acute coronary syndrome", "coronary_artery_disease ascvd cvd", "394659003 4557003", "I20.0 I24.9"),
    "accessory_pathway_af": ("Atrial fibrillation with an accessory pathway", "atrial_fibrillation", "", ""),
    "addison_disease": ("Addison disease", "adrenal_insufficiency", "363732003", "E27.1 E27.2"),
    "adrenal_insufficiency": ("Adrenal insufficiency", "", "111563005", "E27.4*"),
    "adhd": ("Attention deficit hyperactivity disorder", "", "406506008", "F90*"),
    "albuminuria": ("Albuminuria", "", "312975006 29738008", "R80*"),
    "alcohol_use_disorder": ("Alcohol use disorder", "", "7200002 15167005", "F10*"),
    "anaemia": ("Anaemia", "", "87522002", "D50* D64.9 D63*"),
    "angioedema_history": ("Angioedema, past or present", "", "41291007 82966003 402387002", "T78.3* D84.1"),
    "anuria": ("Anuria", "", "2472002", "R34"),
    "anxiety": ("Anxiety disorder", "", "48694002 197480006 21897009 80583007", "F41*"),
    "aortic_aneurysm": ("Aortic aneurysm", "", "67362008 233985008", "I71*"),
    "arterial_thromboembolism": ("Arterial embolism or thrombosis", "", "54687002", "I74*"),
    "ascvd": ("Atherosclerotic cardiovascular disease", "cvd", "", ""),
    "asthma": ("Asthma", "", "195967001 370218001 427603009", "J45*"),
    "atrial_fibrillation": (
        "Atrial fibrillation or flutter", "", "49436004 282825002 440059007 440028005 5370000 426749004", "I48*"),
    "av_block_2_3": ("Second or third degree AV block", "", "195042002 27885002", "I44.1 I44.2"),
    "awaiting_kidney_transplant": ("Awaiting kidney transplantation", "", "", "Z76.82"),
    "benign_prostatic_hyperplasia": ("Benign prostatic hyperplasia", "", "266569009", "N40*"),
    "bioprosthetic_valve": ("Bioprosthetic heart valve", "", "", "Z95.3"),
    "bipolar": ("Bipolar disorder", "", "13746004", "F31*"),
    "bleeding": ("Active bleeding", "", "74474003 131148009", "K92.2 R58 K92.0 K92.1"),
    "bone_marrow_depression": ("Bone marrow depression", "", "", "D61*"),
    "brugada": ("Brugada syndrome", "", "418818005", ""),
    "calcium_stones": ("Calcium kidney stones", "nephrolithiasis", "", ""),
    "cancer": (
        "Malignant neoplasm", "",
        "363346000 363406005 93761005 94260004 254632001 67811000119102 126906006 314994000", "C*"),
    "cardiac_arrest": ("Cardiac arrest, past or present", "", "410429000", "I46* Z86.74"),
    "cardiogenic_shock": ("Cardiogenic shock", "", "89138009", "R57.0"),
    "ckd": ("Chronic kidney disease", "", "709044004", "N18.9 N18* I12* I13* E10.22 E13.22"),
    "ckd_stage_1": ("Chronic kidney disease, stage 1", "ckd", "431855005", "N18.1"),
    "ckd_stage_2": ("Chronic kidney disease, stage 2", "ckd", "431856006", "N18.2"),
    "ckd_stage_3": ("Chronic kidney disease, stage 3", "ckd", "433144002", "N18.3 N18.30"),
    "ckd_stage_3a": ("Chronic kidney disease, stage 3a", "ckd ckd_stage_3", "700378005", "N18.31"),
    "ckd_stage_3b": ("Chronic kidney disease, stage 3b", "ckd ckd_stage_3", "700379002", "N18.32"),
    "ckd_stage_4": ("Chronic kidney disease, stage 4", "ckd severe_renal_impairment", "431857002", "N18.4"),
    "ckd_stage_5": ("Chronic kidney disease, stage 5", "ckd severe_renal_impairment", "433146000", "N18.5 N18.6"),
    "congenital_long_qt": ("Congenital long QT syndrome", "qt_prolonged", "442917000", "I45.81"),
    "copd": ("Chronic obstructive pulmonary disease", "respiratory_disease", "13645005", "J44* J43*"),
    "copd_severe": ("Severe COPD", "copd respiratory_disease", "313299006", ""),
    "coronary_artery_disease": (
        "Coronary artery disease", "ascvd cvd",
        "53741008 414545008 413838009 194828000 232717009 415070008 36969009", "I25* I20* I24* Z95.1 Z95.5"),
    "cvd": ("Cardiovascular disease", "", "", ""),
    "cystic_fibrosis": ("Cystic fibrosis", "", "190905008", "E84*"),
    "dementia": ("Dementia", "", "52448006 26929004 230265002", "F01* F02* F03* G30*"),
    "depression": ("Depression", "", "35489007 370143000 36923009 66344007", "F32* F33*"),
    "diabetes": ("Diabetes mellitus", "", "73211009", "E08* E09* E13*"),
    "diabetes_type1": ("Type 1 diabetes", "diabetes", "46635009", "E10*"),
    "dialysis": (
        "Dialysis", "ckd ckd_stage_5 severe_renal_impairment",
        "108241001 265764009 302497006 71192002", "Z99.2"),
    "drug_overdose_history": ("Drug overdose in the past", "", "55680006", ""),
    "dvt_pe": ("Venous thromboembolism", "", "128053003 59282003 706870000 132281000119108", "I26* I82.4*"),
    "dyslipidaemia": ("Dyslipidaemia", "", "55822004 370992007 13644009", "E78.0* E78.2 E78.4* E78.5"),
    "eating_disorder": ("Eating disorder", "", "72366004 56882008 78004001", "F50*"),
    "epilepsy": ("Epilepsy", "", "84757009 128613002", "G40*"),
    "epilepsy_focal": ("Focal epilepsy", "epilepsy", "", "G40.0* G40.1* G40.2*"),
    "essential_tremor": ("Essential tremor", "", "609558009", "G25.0"),
    "g6pd_deficiency": ("G6PD deficiency", "", "62403005", "D75.A D55.0"),
    "gallbladder_disease": ("Gallbladder disease", "", "39621005", "K80* K81* K82*"),
    "gi_obstruction": ("Gastrointestinal obstruction", "", "126765001", "K56*"),
    "gout": ("Gout", "", "90560007", "M10* M1A*"),
    "heart_failure": ("Heart failure", "", "84114007 42343007 85232009 88805009", "I50* I11.0"),
    "heart_failure_reduced_ef": (
        "Heart failure with reduced ejection fraction", "heart_failure", "703272007 417996009", "I50.2*"),
    "heart_failure_preserved_ef": (
        "Heart failure with preserved ejection fraction", "heart_failure", "446221000 418304008", "I50.3*"),
    "hemiplegic_basilar_migraine": ("Hemiplegic or basilar migraine", "migraine", "59292006", "G43.4*"),
    "heparin_induced_thrombocytopenia": ("Heparin-induced thrombocytopenia", "", "73397007", "D75.82*"),
    "hyperkalaemia": ("Hyperkalaemia", "", "14140009", "E87.5"),
    "hypercalcaemia": ("Hypercalcaemia", "", "66931009", "E83.52"),
    "hyponatraemia": ("Hyponatraemia", "", "89627008", "E87.1"),
    "hypokalaemia": ("Hypokalaemia", "", "43339004", "E87.6"),
    "hypoglycaemia": ("Hypoglycaemia", "", "302866003", "E16.2"),
    "hypotension": ("Hypotension", "", "45007003", "I95*"),
    "hypertension": (
        "Hypertension", "", "38341003 59621000 1201005 64715009 5148006 194783001 194767001", "I10 I11* I12* I13*"),
    "hypertensive_emergency": ("Hypertensive emergency", "hypertension", "50490005", "I16*"),
    "immunodeficiency": ("Immunodeficiency", "", "234532001", "D80* D81* D82* D83* D84.8* D84.9"),
    "infection": ("Infection", "", "40733004 233604007 68566005 45816000 307426000 76571007", ""),
    "ischemic_bowel": ("Ischaemic bowel disease", "", "", "K55*"),
    "kidney_transplant": ("Kidney transplant", "", "161665007 175901007", "Z94.0"),
    "breastfeeding": ("Breast-feeding", "lactation", "413712001 169741004", "Z39.1"),
    "lactation": ("Lactation", "", "", ""),
    "liver_cirrhosis": ("Cirrhosis of the liver", "liver_disease", "19943007", "K70.3* K74.3 K74.4 K74.5 K74.6*"),
    "liver_disease": ("Liver disease", "", "235856003", "K70* K71* K72* K73* K74* K75* K76* B18*"),
    "lupus": ("Systemic lupus erythematosus", "", "55464009", "M32*"),
    "masld": ("Metabolic dysfunction-associated steatotic liver disease", "liver_disease", "197321007", "K76.0"),
    "mechanical_valve": ("Mechanical heart valve", "", "", "Z95.2"),
    "metabolic_acidosis": ("Metabolic acidosis", "", "59455009", "E87.2*"),
    "metabolic_syndrome": ("Metabolic syndrome", "", "237602007", "E88.81*"),
    "migraine": ("Migraine", "", "37796009 124171000119105", "G43*"),
    "mrsa_infection": ("MRSA infection", "infection", "266096002", "B95.62 A49.02"),
    "mtc_men2": ("Medullary thyroid carcinoma or MEN 2", "cancer", "", "E31.22 E31.23"),
    "myasthenia_gravis": ("Myasthenia gravis", "", "91637004", "G70.0*"),
    "myocardial_infarction": (
        "Myocardial infarction, past or present", "coronary_artery_disease ascvd cvd",
        "22298006 57054005 401303003 401314000", "I21* I22*"),
    "old_myocardial_infarction": (
        "Earlier myocardial infarction", "myocardial_infarction", "1755008 399211009", "I25.2"),
    "narrow_angle_glaucoma": ("Angle-closure glaucoma", "", "", "H40.2*"),
    "nephrolithiasis": ("Kidney stones", "", "95570007", "N20*"),
    "oedema": ("Oedema", "", "267038008 79654002", "R60*"),
    "thrombophilia": ("Thrombophilia", "", "234467004", "D68.5* D68.6*"),
    "tardive_dyskinesia_history": ("Tardive dyskinesia, past or present", "", "102449007", "G24.01"),
    "mitral_rheumatic_heart_disease": ("Rheumatic mitral valve disease", "", "", "I05*"),
    "megaloblastic_anaemia_folate": ("Megaloblastic anaemia from folate deficiency", "anaemia", "", "D52*"),
    "obesity": ("Obesity", "", "414916001 162864005 408512008", "E66* Z68.3* Z68.4*"),
    "orthostatic_hypotension": ("Orthostatic hypotension", "hypotension", "28651003", "I95.1"),
    "osteoarthritis": ("Osteoarthritis", "", "396275006 239873007 239872002", "M15* M16* M17* M18* M19*"),
    "osteoporosis": ("Osteoporosis", "", "64859006", "M80* M81*"),
    "pain": ("Pain", "", "22253000 82423001", "R52 G89*"),
    "pancreatitis_history": ("Pancreatitis, past or present", "", "75694006 197456007", "K85* K86.0 K86.1"),
    "parkinson_disease": ("Parkinson disease", "", "49049000", "G20*"),
    "peptic_ulcer": ("Peptic ulcer", "", "13200003 51868009 397825006", "K25* K26* K27*"),
    "peripheral_vascular_disease": (
        "Peripheral arterial disease", "ascvd cvd", "399957001 400047006 840580004", "I70.2* I73.9"),
    "permanent_af": ("Permanent atrial fibrillation", "atrial_fibrillation", "440028005", "I48.21"),
    "pheochromocytoma": ("Phaeochromocytoma", "secondary_hypertension", "302835009", ""),
    "porphyria": ("Porphyria", "", "418470004", "E80.0 E80.1 E80.2*"),
    "prediabetes": ("Prediabetes", "", "15777000 714628002", "R73.03"),
    "pre_eclampsia": ("Pre-eclampsia", "pregnancy hypertension", "398254007 198992004", "O14* O11* O15*"),
    "pregnancy": ("Pregnancy", "", "77386006 72892002 47200007 127364007 16356006", "Z33.1 Z34* O09* Z3A*"),
    "pregnancy_complication": ("Complication of pregnancy", "", "79586000", ""),
    "gestational_hypertension": ("Gestational hypertension", "pregnancy hypertension", "48194001", "O13*"),
    "primary_aldosteronism": ("Primary aldosteronism", "secondary_hypertension hypertension", "", "E26.0*"),
    "qt_prolonged": ("Prolonged QT interval", "", "111975006 9651007", "R94.31"),
    "renal_artery_stenosis": ("Renal artery stenosis", "", "302233006", "I70.1"),
    "renovascular_hypertension": (
        "Renovascular hypertension", "hypertension secondary_hypertension", "123799005", "I15.0"),
    "resistant_hypertension": ("Resistant hypertension", "hypertension", "", "I1A.0"),
    "respiratory_disease": ("Respiratory disease", "", "", ""),
    "schizophrenia": ("Schizophrenia", "", "58214004", "F20*"),
    "secondary_hypertension": ("Secondary hypertension", "hypertension", "31992008", "I15*"),
    "severe_aortic_stenosis": ("Severe aortic stenosis", "", "", ""),
    "severe_bradycardia": ("Severe bradycardia", "", "", ""),
    "bradycardia": ("Bradycardia", "", "48867003", "R00.1"),
    "severe_hepatic_impairment": ("Severe hepatic impairment", "liver_disease", "59927004", "K72*"),
    "severe_pad": ("Severe peripheral arterial disease", "peripheral_vascular_disease ascvd cvd", "", "I70.22*"),
    "severe_renal_impairment": ("Severe renal impairment", "", "", ""),
    "sick_sinus_syndrome": ("Sick sinus syndrome", "", "36083008", "I49.5"),
    "single_seizure_history": ("A single seizure in the past", "", "703151001", ""),
    "sleep_apnoea": ("Sleep apnoea", "", "73430006 78275009", "G47.3*"),
    "stable_angina": ("Stable angina", "coronary_artery_disease ascvd cvd", "233819005", "I20.8* I20.9 I25.11*"),
    "stroke": ("Stroke", "ascvd cvd", "230690007 422504002 432504007", "I63* Z86.73 I69.3*"),
    "haemorrhagic_stroke": ("Intracranial haemorrhage", "", "1386000 274100004", "I60* I61* I62*"),
    "structural_heart_disease": ("Structural heart disease", "", "", ""),
    "systemic_fungal_infection": ("Systemic fungal infection", "infection", "", ""),
    "thyrotoxicosis": ("Thyrotoxicosis", "", "34486009 90739004", "E05*"),
    "tia": ("Transient ischaemic attack", "ascvd cvd", "266257000", "G45.9 G45.8"),
    "type2_diabetes": ("Type 2 diabetes", "diabetes", "44054006", "E11*"),
    "urinary_retention": ("Urinary retention", "", "267064002", "R33*"),
    "ventricular_fibrillation": ("Ventricular fibrillation", "", "71908006", "I49.01"),
    "ventricular_tachycardia": ("Ventricular tachycardia", "", "25569003", "I47.2*"),
    "wolff_parkinson_white": ("Wolff-Parkinson-White syndrome", "", "74390002", "I45.6"),
}  # fmt: skip

# asked for by contraindications, and not yet shown by any code: the answer stays unknown
BARE = words(
    "alcohol_malnutrition_hypovolaemia amiodarone_liver_lung_toxicity antiphospholipid_triple_positive "
    "asymptomatic_hyperuricaemia cns_depression_coma defective_lipid_metabolism drug_induced_immune_thrombocytopenia "
    "megaloblastic_anaemia_folate mitral_rheumatic_heart_disease pacemaker_dependence proctitis_rectal_bleeding "
    "recent_alcohol secondary_hyperuricaemia tardive_dyskinesia_history tartrazine_sensitivity thrombophilia "
    "undiagnosed_genital_bleeding urea_cycle_disorder"
)

# SNOMED CT codes found with their display in public code lists (none of them a release of SNOMED CT)
FOUND = words(
    "302835009 442917000 197321007 609558009 266096002 62403005 418470004 90739004 703272007 446221000 363732003 "
    "406506008 197480006 42343007 84114007 64715009 5148006 85232009 413838009 709044004 432504007 57054005 13200003 "
    "714628002 414916001 35489007"
)

# what is never over: once recorded it counts as present
LASTING = words(
    "acs angioedema_history ascvd asthma bioprosthetic_valve bipolar brugada cardiac_arrest congenital_long_qt "
    "coronary_artery_disease cvd diabetes_type1 drug_overdose_history epilepsy g6pd_deficiency gout "
    "haemorrhagic_stroke heart_failure "
    "heparin_induced_thrombocytopenia kidney_transplant liver_cirrhosis lupus mechanical_valve mtc_men2 "
    "myasthenia_gravis myocardial_infarction old_myocardial_infarction pancreatitis_history parkinson_disease "
    "peripheral_vascular_disease "
    "porphyria schizophrenia single_seizure_history stroke tardive_dyskinesia_history tia"
)

# one source code that means more than one of our codes: (system, code): our codes
SEVERAL: dict[tuple[str, str], str] = {
    ("ICD-10-CM", "I25.2"): "old_myocardial_infarction",
    ("ICD-10-CM", "E11.22"): "type2_diabetes ckd", ("ICD-10-CM", "E11.21"): "type2_diabetes albuminuria",
    ("ICD-10-CM", "E10.22"): "diabetes_type1 ckd", ("ICD-10-CM", "N18.6"): "ckd_stage_5",
    ("ICD-10-CM", "I12*"): "hypertension ckd", ("ICD-10-CM", "I13*"): "hypertension ckd",
    ("ICD-10-CM", "I13.0"): "hypertension ckd heart_failure", ("ICD-10-CM", "I13.2"): "hypertension ckd heart_failure",
    ("ICD-10-CM", "I11.0"): "hypertension heart_failure", ("ICD-10-CM", "O10*"): "pregnancy hypertension",
    ("ICD-10-CM", "O24*"): "pregnancy diabetes", ("ICD-10-CM", "O26.9*"): "pregnancy",
    ("SNOMED", "5148006"): "hypertension heart_failure", ("SNOMED", "46177005"): "ckd_stage_5",
    ("SNOMED", "127013003"): "diabetes ckd", ("SNOMED", "90781000119102"): "type2_diabetes albuminuria",
    ("SNOMED", "157141000119108"): "type2_diabetes albuminuria", ("SNOMED", "422034002"): "type2_diabetes",
    ("SNOMED", "368581000119106"): "type2_diabetes", ("SNOMED", "1501000119109"): "type2_diabetes",
    ("SNOMED", "1551000119108"): "type2_diabetes", ("SNOMED", "97331000119101"): "type2_diabetes",
    ("SNOMED", "60951000119105"): "type2_diabetes",
    ("SNOMED", "44054006"): "type2_diabetes", ("SNOMED", "440028005"): "permanent_af",
    ("SNOMED", "840544004"): "", ("SNOMED", "12847006"): "peptic_ulcer bleeding",
    ("SNOMED", "199223000"): "pregnancy diabetes",
    ("ICD-10-CM", "E11.9"): "type2_diabetes", ("ICD-10-CM", "I10"): "hypertension",
    ("ICD-10-CM", "D35.00"): "", ("ICD-10-CM", "I48.21"): "permanent_af",
    ("ICD-10-CM", "K72*"): "liver_disease severe_hepatic_impairment",
    ("ICD-10-CM", "E66.3"): "",  # overweight, not obesity
}  # fmt: skip

RENAMED = {"hr": "heart_rate", "rr": "respiratory_rate", "temp": "temperature", "map": "mean_arterial_pressure"}

# key: (molar mass g/mol of what the mass unit states, charge)
CHEMISTRY: dict[str, tuple[float | None, int]] = {
    "creatinine": (113.12, 1), "potassium": (39.098, 1), "sodium": (22.990, 1), "chloride": (35.45, 1),
    "co2": (None, 1), "calcium": (40.078, 2), "magnesium": (24.305, 2), "bun": (28.0134, 1), "glucose": (180.156, 1),
    "total_cholesterol": (386.65, 1), "hdl": (386.65, 1), "ldl": (386.65, 1), "non_hdl": (386.65, 1),
    "triglycerides": (885.4, 1), "haemoglobin": (16114.5, 1), "bilirubin": (584.66, 1),
    "bilirubin_direct": (584.66, 1), "nt_probnp": (8457.0, 1), "phosphate": (30.974, 1), "uric_acid": (168.11, 1),
    "uacr": (113.12, 1), "upcr": (113.12, 1), "free_t4": (776.87, 1), "aldosterone": (360.44, 1),
    "level_digoxin": (780.94, 1), "level_lithium": (6.94, 1), "level_phenytoin": (252.27, 1),
    "level_carbamazepine": (236.27, 1), "level_valproate": (144.21, 1), "level_phenobarbital": (232.24, 1),
    "level_lamotrigine": (256.09, 1), "level_theophylline": (180.16, 1), "level_methotrexate": (454.44, 1),
    "level_vancomycin": (1449.25, 1), "level_gentamicin": (None, 1),
}  # fmt: skip

# units that a laboratory means by its own word, for one analyte
SPELLED: dict[str, dict[str, str]] = {
    "respiratory_rate": {"breaths per minute": "/min", "{Breaths}/min": "/min", "breaths/min": "/min"},
    "spo2": {"%O2": "%"},
    "egfr": {"mL/min": "mL/min/{1.73_m2}", "mL/min/1.73": "mL/min/{1.73_m2}"},
    "inr": {"1": "{INR}", "{inr}": "{INR}", "ratio": "{INR}"},
    "pain_score": {"{nrs}": "{score}", "1": "{score}"}, "phq9": {"1": "{score}"},
    "platelets": {"10*3/mm3": "10*3/uL"}, "haematocrit": {"L/L": "1"},
    "tsh": {"u[IU]/mL": "u[iU]/mL", "m[IU]/L": "m[iU]/L"},
    "urine_sodium": dict.fromkeys(("meq/(24.h)", "meq/24h", "mEq/24h", "meq/d", "mEq/d"), "mmol/(24.h)"),
}  # fmt: skip

# coded results in our words; SNOMED CT and LOINC answer codes, recalled
ANSWERS: dict[str, dict[str, str]] = {
    "smoking_status": {
        "266919005": "never", "8517006": "former", "449868002": "current", "77176002": "current",
        "428041000124106": "current", "428061000124105": "current", "428071000124103": "current",
        "266927001": "unknown", "LA18978-9": "never", "LA15920-4": "former", "LA18976-3": "current",
        "LA18977-1": "current", "LA18979-7": "current", "LA18980-5": "unknown", "LA18981-3": "current",
        "LA18982-1": "current",
    },
    "pregnancy_status": {
        "77386006": "pregnant", "60001007": "not pregnant", "102874004": "possibly pregnant",
        "LA15173-0": "pregnant", "LA26683-5": "not pregnant", "LA4489-6": "unknown",
    },
    "hcg_urine": {"10828004": "positive", "260385009": "negative", "LA6576-8": "positive", "LA6577-6": "negative"},
}  # fmt: skip

# analytes that the observed table lacks: key, name, unit, low, high, LOINC
MORE = [
    ("sbp", "Systolic blood pressure", "mm[Hg]", "50", "300", "8459-0 8460-8 8461-6 76534-7"),
    ("dbp", "Diastolic blood pressure", "mm[Hg]", "20", "200", "8453-3 8454-1 8455-8 76535-4"),
    ("weight", "Body weight", "kg", "0.3", "400", "3142-7 8335-2 8341-0"),
    ("height", "Body height", "cm", "20", "250", "8301-4 3137-7 8306-3"),
    ("temperature", "Body temperature", "Cel", "25", "45", "8328-7 8332-9 8333-7"),
    ("potassium", "Potassium", "mmol/L", "1.5", "10", "77142-8 75940-7"),
    ("creatinine", "Creatinine", "mg/dL", "0.1", "25", "14682-9 77140-2 59826-8"),
    ("glucose", "Glucose", "mg/dL", "10", "1500", "14749-6 1558-6 15074-8 14771-0"),
    ("hba1c", "Haemoglobin A1c", "%", "2", "22", "17856-6 4549-2"),
    ("total_cholesterol", "Cholesterol, total", "mg/dL", "30", "1000", "14647-2"),
    ("hdl", "HDL cholesterol", "mg/dL", "3", "200", "14646-4"),
    ("egfr", "Estimated GFR", "mL/min/{1.73_m2}", "1", "200", "88293-6 88294-4 77147-7 50044-7 94677-2"),
    ("uacr", "Albumin/creatinine ratio, urine", "mg/g", "0", "20000", "32294-1 13705-9 30000-4"),
    ("ldl", "LDL cholesterol", "mg/dL", "1", "800", "22748-8 39469-2"),
    ("triglycerides", "Triglycerides", "mg/dL", "10", "10000", "14927-8"),
    ("inr", "INR", "{INR}", "0.5", "20", "46418-0 38875-1"),
    ("haemoglobin", "Hemoglobin", "g/dL", "2", "25", "59260-0 20509-6"),
    ("platelets", "Platelets", "10*3/uL", "1", "3000", "26515-7"),
    ("wbc", "Leukocytes", "10*3/uL", "0.01", "500", "26464-8"),
    ("neutrophils", "Neutrophils", "10*3/uL", "0", "300", "26499-4"),
    ("alt", "Alanine aminotransferase", "U/L", "1", "20000", "1743-4"),
    ("ast", "Aspartate aminotransferase", "U/L", "1", "20000", "30239-8"),
    ("bilirubin", "Bilirubin total", "mg/dL", "0.05", "60", "14631-6"),
    ("uric_acid", "Urate serum/plasma", "mg/dL", "0.5", "25", "14933-6"),
    ("tsh", "Thyrotropin", "m[iU]/L", "0.001", "200", "11580-8"),
    ("free_t4", "Thyroxine free", "ng/dL", "0.05", "15", "14920-3"),
    ("hr", "Heart rate", "/min", "20", "300", "8889-8"),
    ("lvef", "Left ventricular ejection fraction", "%", "5", "90", "18043-0 8806-2"),
    ("calcium", "Calcium", "mg/dL", "3", "20", "2000-8"),
    ("magnesium", "Magnesium serum/plasma", "mg/dL", "0.3", "10", "2601-3"),
    ("phosphate", "Phosphate serum/plasma", "mg/dL", "0.3", "20", "14879-1"),
    ("bun", "Urea nitrogen", "mg/dL", "1", "250", "14937-7 22664-7"),
    ("pregnancy_status", "Pregnancy status", "", "", "", "11449-6"),
    ("renin", "Renin activity, plasma", "ng/mL/h", "0", "100", "2915-7"),
    ("urine_sodium", "Sodium, 24-hour urine", "mmol/(24.h)", "0", "1000", "2956-1"),
]
NAMES = {
    "sbp": "Systolic blood pressure", "dbp": "Diastolic blood pressure", "creatinine": "Creatinine, serum",
    "potassium": "Potassium, serum", "sodium": "Sodium, serum", "egfr": "Estimated GFR",
    "ldl": "LDL cholesterol", "hba1c": "Haemoglobin A1c", "uacr": "Albumin/creatinine ratio, urine",
    "temperature": "Body temperature", "glucose": "Glucose", "weight": "Body weight", "bun": "Urea nitrogen",
    "calcium": "Calcium", "chloride": "Chloride", "co2": "Carbon dioxide, total", "spo2": "Oxygen saturation",
    "inr": "INR", "level_vancomycin": "Vancomycin concentration",
}  # fmt: skip
# panels (their components are read), means over days, and units that do not convert
NOT_TAKEN = (
    "sbp_mean",
    "dbp_mean",
    "bp_panel",
    "bp_panel_mean",
    "lp_a_molar",
    "renin_activity",
    "aldosterone_renin_ratio",
)
MASS_UNITS = {"ug/mL": "mg/L", "m[IU]/L": "m[iU]/L"}
LOINC_NOTICE = (
    "This material contains content from LOINC (http://loinc.org). LOINC is copyright (c) Regenstrief Institute, Inc. "
    "and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at no cost under the "
    "license at http://loinc.org/license. LOINC is a registered United States trademark of Regenstrief Institute, Inc."
)


def rows(path: Path) -> list[Row]:
    """Rows of a tab-separated table whose first lines may be comments."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def text(value: str) -> str:
    """A TOML string."""
    return json.dumps(value, ensure_ascii=False)


def array(values: list[str]) -> str:
    """A TOML array of strings."""
    return "[" + ", ".join(text(value) for value in values) + "]"


def source_codes(table: list[Row]) -> dict[tuple[str, str], tuple[list[str], str]]:
    """(system, code) -> (our codes, status), from the observed table, the recalled one and what means several."""
    found: dict[tuple[str, str], tuple[list[str], str]] = {}
    for ours, (_, _, snomed, icd) in ADDED.items():
        for system, codes in (("SNOMED", snomed), ("ICD-10-CM", icd)):
            for code in codes.split():
                status = "secondary" if code in FOUND else "to verify"
                found.setdefault((system, code), ([], status))[0].append(ours)
    for row in table:
        ours_list = [part.removeprefix("history:") for part in row["our_code"].split(";") if part]
        if ours_list and not any(part.startswith("suspected:") for part in ours_list):
            status = "secondary" if int(row["count_total"]) else "to verify"
            found[(row["system"], row["code"])] = (ours_list, status)
    for key, meant in SEVERAL.items():
        found[key] = (meant.split(), found.get(key, ([], "to verify"))[1])
    return found


def conditions(folder: Path) -> Iterator[str]:
    """Lines of `conditions.toml`."""
    vocabulary = json.loads((folder / "_vocabulary.json").read_text(encoding="utf-8"))["condition_codes"]
    known = {c: e["implies"] for c, e in vocabulary.items() if c not in ("glaucoma_narrow",)}
    yield "# Our condition codes with what they imply, and the codes of records that mean them. Displays are not used."
    yield "# A trailing * stands for every code that begins so; the longest match wins. [] means: of no use here."
    yield "# Written by tools/restate_codes.py."
    yield "# SNOMED CT: single codes for mapping only, no release content; use in a record system needs its licence.\n"
    yield "[condition]"
    for code in sorted(set(known) | set(ADDED) | LASTING | BARE):
        name, implies, _, _ = ADDED.get(code, (code.replace("_", " ").capitalize(), "", "", ""))
        both = sorted(set(implies.split()) | set(known.get(code, [])))
        lasting = ", lasting = true" if code in LASTING else ""
        yield f"{code} = {{ name = {text(name)}, implies = {array(both)}{lasting} }}"
    tables: dict[tuple[str, str], list[str]] = {}
    for (system, code), (ours, status) in sorted(source_codes(rows(folder / "_condition_codes.tsv")).items()):
        if ours or (system, code) in SEVERAL:
            tables.setdefault((system, status), []).append(f"{text(code)} = {array(sorted(set(ours)))}")
    for (system, status), lines in sorted(tables.items()):
        yield f"\n[codes.{text(system)}.{text(status)}]"
        yield from lines


def analytes(folder: Path) -> dict[str, dict[str, object]]:
    """Analytes by key, from the observed table and the additions."""
    found: dict[str, dict[str, object]] = {}
    table = [row for row in rows(folder / "_lab_codes.tsv") if row["key"]]
    wanted = [
        (r["key"], r["name"], r["canonical_unit_ucum"], r["plausible_low"], r["plausible_high"], r["loinc"])
        for r in table
    ]
    seen = {r["loinc"] for r in table if int(r["count_total"])}
    for key, name, unit, low, high, codes in [*wanted, *MORE]:
        key = RENAMED.get(key, key).replace("drug_level_", "level_").removesuffix("_peak").removesuffix("_trough")
        if key in NOT_TAKEN:
            continue
        if unit == "mmol/mol":  # the IFCC form of HbA1c, converted to %
            unit = "%"
        unit = MASS_UNITS.get(unit, unit)
        entry = found.setdefault(
            key, {"name": NAMES.get(key, name), "unit": unit, "low": low, "high": high, "loinc": [], "seen": []}
        )
        for code in codes.split():
            entry["loinc"].append(code)  # type: ignore[attr-defined]
            if code in seen:
                entry["seen"].append(code)  # type: ignore[attr-defined]
    return found


def laboratory(folder: Path) -> Iterator[str]:
    """Lines of `laboratory.toml`."""
    yield f"# {LOINC_NOTICE}\n#"
    yield "# `unit` is the canonical UCUM unit. `low` and `high` bound what is plausible, not what is normal: a value"
    yield "# outside is left out with a finding. They are ours. `seen` codes occur in public sample records with their"
    yield "# display; the other LOINC codes were recalled (check digit verified). Written by tools/restate_codes.py.\n"
    for key, entry in sorted(analytes(folder).items()):
        yield f"[analyte.{key}]\nname = {text(str(entry['name']))}\nunit = {text(str(entry['unit']))}"
        for bound in ("low", "high"):
            if entry[bound]:
                yield f"{bound} = {float(str(entry[bound]))}"
        mass, valence = CHEMISTRY.get(key, (None, 1))
        if mass is not None:
            yield f"molar_mass = {mass}"
        if valence != 1:
            yield f"valence = {valence}"
        yield f"loinc = {array(sorted(set(entry['loinc'])))}\nseen = {array(sorted(set(entry['seen'])))}"  # type: ignore[call-overload]
        for title, table in (("spellings", SPELLED.get(key)), ("answers", ANSWERS.get(key))):
            if table:
                yield f"[analyte.{key}.{title}]"
                yield from (f"{text(word)} = {text(meaning)}" for word, meaning in sorted(table.items()))
        yield ""


if __name__ == "__main__":
    facts, target = Path(sys.argv[1]), Path(sys.argv[2])
    (target / "conditions.toml").write_text("\n".join(conditions(facts)) + "\n", encoding="utf-8")
    (target / "laboratory.toml").write_text("\n".join(laboratory(facts)) + "\n", encoding="utf-8")
