"""How each contraindication code of the drug facts is read: an expression, and where it is broader, the level.

A code maps to candidates `(when, level)`; the first whose conditions and groups are all known to the knowledge
base is used. `level` None keeps the level of the source. No candidate: no record field can show it (`when` is
left out, and the point is listed as not checked). Candidates that are wider than the label's wording are
"relative", so that they ask a question and do not forbid.
"""

from __future__ import annotations

import re

Candidate = tuple[str, str | None]

_SICK_SINUS = "(dx(sick_sinus_syndrome) or dx(av_block_2_3)) and not dx(pacemaker)"
_MAOI = 'recent("MAOI", 336)'
_CIRRHOSIS = 'dx(liver_cirrhosis) and child_pugh in ("B", "C")'  # decompensated: Child-Pugh B or C


def _dx(*codes: str, level: str | None = None) -> list[Candidate]:
    return [(" or ".join(f"dx({code})" for code in codes), level)]


def _on(*groups: str) -> list[Candidate]:
    return [(" or ".join(f'on("{group}")' for group in groups), None)]


TABLE: dict[str, list[Candidate]] = {
    # heart
    "acute_coronary_syndrome": _dx("acute_coronary_syndrome") + _dx("acs"),
    "acute_mi": _dx("acs"),
    "acute_mi_myocarditis": _dx("acs"),
    "acute_mi_pulmonary_congestion": [("dx(acs) and dx(heart_failure)", None)],
    "recent_mi": _dx("acs"),
    "recent_mi_stroke_unstable_angina_hf": [("dx(acs) or dx(stroke) or dx(tia)", None)],
    "mi_hr_below_45": [("dx(acs) and heart_rate < 45", None)],
    "accessory_pathway_af": _dx("accessory_pathway_af"),
    "wolff_parkinson_white": _dx("wolff_parkinson_white", "accessory_pathway_af"),
    "severe_bradycardia": [("heart_rate < 50", None)],
    "resting_hr_below_60": [("heart_rate < 60", None)],
    "sick_sinus_syndrome": [
        ("dx(sick_sinus_syndrome) and not dx(pacemaker)", None),
        ("dx(sick_sinus_syndrome)", None),
    ],
    "sick_sinus_av_block": [(_SICK_SINUS, None), ("dx(sick_sinus_syndrome) or dx(av_block_2_3)", None)],
    "av_block_2_3_sick_sinus": [(_SICK_SINUS, None), ("dx(sick_sinus_syndrome) or dx(av_block_2_3)", None)],
    "sinus_node_disease_av_block": [(_SICK_SINUS, None), ("dx(sick_sinus_syndrome) or dx(av_block_2_3)", None)],
    "sinus_bradycardia_av_block": [
        ("dx(sick_sinus_syndrome) or dx(av_block_2_3) or heart_rate < 50", None)
    ],
    "av_block_2_3": [("dx(av_block_2_3) and not dx(pacemaker)", None), ("dx(av_block_2_3)", None)],
    "second_third_degree_heart_block_structural_heart_disease": _dx("av_block_2_3"),
    "conduction_disease": _dx("sick_sinus_syndrome", "av_block_2_3"),
    "bifascicular_block": _dx("bifascicular_block"),
    "cardiogenic_shock": _dx("cardiogenic_shock"),
    "decompensated_heart_failure": _dx("decompensated_heart_failure"),
    "heart_failure_nyha_3_4": _dx("heart_failure_nyha_3_4") + _dx("heart_failure", level="relative"),
    "heart_failure_nyha_3_4_over_5mgkg": _dx("heart_failure_nyha_3_4") + _dx("heart_failure", level="relative"),
    "heart_failure_nyha_iii_iv": _dx("heart_failure_nyha_3_4") + _dx("heart_failure", level="relative"),
    "heart_failure_severe": _dx("heart_failure", level="relative"),
    "hfref": [("dx(heart_failure_reduced_ef) or lvef < 40", None)],
    "severe_lv_dysfunction": [("dx(heart_failure_reduced_ef) or lvef < 30", None)],
    "structural_heart_disease": _dx("structural_heart_disease") + _dx("coronary_artery_disease", "heart_failure"),
    "severe_aortic_stenosis": _dx("severe_aortic_stenosis") ,
    "mechanical_valve": _dx("mechanical_valve"),
    "bioprosthetic_valve": _dx("bioprosthetic_valve"),
    "mitral_rheumatic_heart_disease": _dx("mitral_rheumatic_heart_disease"),
    "permanent_af": _dx("permanent_af"),
    "ventricular_fibrillation": _dx("ventricular_fibrillation"),
    "long_qt": [("dx(congenital_long_qt) or qtc > 450", None)],
    "qt_prolongation_risk": [("dx(congenital_long_qt) or qtc > 450", None)],
    "qt_risk": [("dx(hypokalaemia) or potassium < 3.5 or heart_rate < 50 or dx(acs)", None)],
    "qt_450": [("qtc > 450", None)],
    "qt_500": [("qtc >= 500", None)],
    "brugada": _dx("brugada"),
    "pacemaker_dependence": _dx("pacemaker_dependence"),
    "severe_cardiovascular": _dx("coronary_artery_disease", "heart_failure", level="relative"),
    "severe_coronary_disease": _dx("acs"),
    "severe_coronary_insufficiency": _dx("coronary_artery_disease"),
    "severe_obstructive_cad": _dx("severe_obstructive_cad"),
    "cv_disease": _dx("cvd"),
    "hypotension": [("sbp < 90 or dx(hypotension)", None)],
    "malignant_hypertension": _dx("malignant_hypertension"),
    "uncontrolled_hypertension": [("sbp >= 140 or dbp >= 90", None)],
    "uncontrolled_hypertension_ra_psoriasis": [("sbp >= 140 or dbp >= 90", None)],
    "bilateral_renal_artery_stenosis": _dx("renal_artery_stenosis"),
    "peripheral_vascular_disease": _dx("peripheral_vascular_disease"),
    "severe_pad": _dx("severe_pad") + _dx("peripheral_vascular_disease", level="relative"),
    "arterial_thromboembolism": _dx("stroke", "myocardial_infarction"),
    "dvt_pe": _dx("dvt_pe"),
    "dvt_pe_history_risk_reduction": _dx("dvt_pe"),
    "stroke_or_tia_history": _dx("stroke", "tia"),
    "stroke_tia": _dx("stroke", "tia"),
    "intracranial_haemorrhage_history": _dx("haemorrhagic_stroke"),
    # bleeding and blood
    "active_bleeding": _dx("active_bleeding") + _dx("bleeding"),
    "bleeding_risk": _dx("bleeding"),
    "blood_dyscrasia": _dx("blood_dyscrasia"),
    "bone_marrow_depression": _dx("bone_marrow_depression"),
    "anc_below_1500": [("neutrophils < 1.5", None)],
    "heparin_induced_thrombocytopenia": _dx("heparin_induced_thrombocytopenia"),
    "drug_induced_immune_thrombocytopenia": _dx("drug_induced_immune_thrombocytopenia"),
    "antiphospholipid_triple_positive": _dx("antiphospholipid_triple_positive"),
    "thrombophilia": _dx("thrombophilia"),
    "megaloblastic_anaemia_folate": _dx("megaloblastic_anaemia_folate"),
    "porphyria": _dx("porphyria"),
    # kidney, electrolytes
    "anuria": _dx("anuria"),
    "anuria_oliguria": _dx("anuria"),
    "dialysis": [("dialysis", None)],
    "severe_renal_impairment": [("crcl < 30", None)],
    "advanced_renal_impairment": [("crcl < 30", None)],
    "renal_failure": [("crcl < 30", None)],
    "severe_renal_unmonitored": [("crcl < 30", "relative")],
    "abnormal_renal_function_ra_psoriasis": [("egfr < 60", None)],
    "crcl_below_60": [("crcl < 60", None)],
    "renal_crcl_40": [("crcl < 40", None)],
    "renal_egfr_30": [("egfr < 30", None)],
    "raised_creatinine": [('creatinine > 2.0 if sex == "male" else creatinine > 1.8', None)],
    "diabetic_nephropathy": [("dx(diabetes) and (dx(albuminuria) or dx(ckd))", None)],
    "diabetes_with_microalbuminuria": [("dx(type2_diabetes) and (dx(albuminuria) or uacr >= 30)", None)],
    "nephrolithiasis": _dx("nephrolithiasis") + _dx("calcium_stones"),
    "electrolyte_depletion": [("dx(hypokalaemia) or potassium < 3.0 or dx(hyponatraemia) or sodium < 130", None)],
    "electrolyte_imbalance": [("dx(hypokalaemia) or dx(hyperkalaemia) or dx(hyponatraemia)", None)],
    "hypokalemia_hypomagnesemia": [("dx(hypokalaemia) or potassium < 3.5", None)],
    "hypokalaemia": [("dx(hypokalaemia) or potassium < 3.5", None)],
    "hyperkalaemia": [("dx(hyperkalaemia) or potassium > 5.5", None)],
    "hyponatraemia": [("dx(hyponatraemia) or sodium < 130", None)],
    "sodium_depletion": [("dx(hyponatraemia) or sodium < 130", None)],
    "hypercalcaemia": [("calcium > 10.5", None)],
    "metabolic_acidosis": _dx("metabolic_acidosis"),
    "metabolic_acidosis_metformin": [("on(metformin) and dx(metabolic_acidosis)", None)],
    "asymptomatic_hyperuricaemia": [],
    "secondary_hyperuricaemia": [],
    # liver, gut, hormones
    "acute_liver_disease": _dx("liver_disease"),
    "alcoholism_liver_disease": _dx("alcohol_use_disorder", "liver_disease"),
    "alcohol_malnutrition_hypovolaemia": _dx("alcohol_use_disorder"),
    "hepatic_coma": _dx("hepatic_encephalopathy"),
    "severe_hepatic_impairment": [('dx(liver_disease) and child_pugh == "C"', None)],
    "hepatic_impairment_moderate_severe": [('dx(liver_disease) and child_pugh in ("B", "C")', None)],
    "marked_hepatic_damage": [('dx(liver_disease) and child_pugh == "C"', None)],
    "statin_with_active_liver_disease": [('on("statin") and dx(liver_disease)', None)],
    "gallbladder_disease": _dx("gallbladder_disease"),
    "gi_obstruction_perforation_haemorrhage": _dx("gi_obstruction", "bleeding"),
    "peptic_ulcer_gi_bleed": _dx("peptic_ulcer", "bleeding"),
    "ischemic_bowel": _dx("ischemic_bowel"),
    "pancreatitis_history": _dx("pancreatitis_history"),
    "proctitis_rectal_bleeding": [],
    "defective_lipid_metabolism": [],
    "addison_disease": _dx("adrenal_insufficiency"),
    "adrenal_insufficiency": _dx("adrenal_insufficiency"),
    "thyrotoxicosis": _dx("thyrotoxicosis"),
    "type1_diabetes": _dx("diabetes_type1"),
    "type1_diabetes_dka": [
        ("dx(diabetes_type1) or dx(diabetic_ketoacidosis)", None),
        ("dx(diabetes_type1)", None),
    ],
    "dka": _dx("diabetic_ketoacidosis"),
    "hypoglycaemia": [("glucose < 70", None)],
    "mtc_men2": _dx("mtc_men2"),
    # lung, nerves, mind
    "asthma_rhinitis_polyps": [("dx(asthma) and dx(nasal_polyps)", None), ("dx(asthma)", "relative")],
    "bronchospasm": _dx("asthma", "copd"),
    "bronchospastic_disease": _dx("asthma", "copd"),
    "asthma": [("dx(asthma)", None)],
    "severe_asthma": _dx("asthma", level="relative"),
    "severe_asthma_copd": [("dx(asthma) or dx(copd_severe)", "relative")],
    "respiratory_depression": _dx("respiratory_depression"),
    "severe_respiratory_disease": _dx("copd_severe"),
    "severe_respiratory_insufficiency": _dx("copd_severe"),
    "dementia_lewy_body": _dx("lewy_body_dementia"),
    "parkinson_disease": _dx("parkinson_disease"),
    "myasthenia_gravis": _dx("myasthenia_gravis"),
    "tardive_dyskinesia_history": _dx("tardive_dyskinesia_history"),
    "hemiplegic_basilar_migraine": _dx("hemiplegic_basilar_migraine"),
    "seizure_disorder": _dx("epilepsy"),
    "cns_depression_coma": _dx("cns_depression_coma"),
    "angle_closure_glaucoma": _dx("narrow_angle_glaucoma"),
    "severe_urinary_retention": _dx("urinary_retention"),
    "suicidal": _dx("suicidal_ideation"),
    # cancer, immunity
    "bladder_cancer": _dx("bladder_cancer"),
    "breast_cancer": _dx("breast_cancer"),
    "estrogen_dependent_neoplasia": _dx("breast_cancer"),
    "undiagnosed_genital_bleeding": [],
    "malignancy_ra_psoriasis": _dx("cancer"),
    "lupus": _dx("lupus"),
    "immunodeficiency": _dx("immunodeficiency"),
    "systemic_fungal_infection": _dx("systemic_fungal_infection"),
    "amiodarone_liver_lung_toxicity": [],
    # other medicines
    "aliskiren_in_diabetes": [("on(aliskiren) and dx(diabetes)", None)],
    "raas_blocker_in_diabetes": [('dx(diabetes) and (on("ACE inhibitor") or on("ARB") or on("ARNI"))', None)],
    "concurrent_neprilysin_inhibitor": [('recent("ARNI", 36)', None)],
    "concurrent_ace_inhibitor": [('recent("ACE inhibitor", 36)', None)],
    "concurrent_eplerenone": _on("eplerenone"),
    "alosetron_concomitant": _on("alosetron"),
    "azathioprine_mercaptopurine": _on("azathioprine", "mercaptopurine"),
    "bosentan": _on("bosentan"),
    "cisapride_concomitant": _on("cisapride"),
    "concomitant_nsaid_aspirin": _on("NSAID", "aspirin"),
    "contraindicated_drugs": _on("simvastatin", "repaglinide") + _on("simvastatin"),
    "cyclosporine": _on("cyclosporine"),
    "cyp2d6_inhibitors": _on("strong CYP2D6 inhibitor"),
    "cyp3a4_inhibitors": _on("strong CYP3A4 inhibitor"),
    "delavirdine_concomitant": _on("delavirdine"),
    "delavirdine_nnrti": _on("NNRTI"),
    "ergot_or_triptan_24h": [('recent("ergot alkaloid", 24) or recent("triptan", 24)', None)],
    "gemfibrozil_cyclosporine_danazol": _on("gemfibrozil", "cyclosporine", "danazol")
    + _on("gemfibrozil", "cyclosporine"),
    "iodinated_contrast": _on("iodinated contrast"),
    "live_vaccine_immunosuppressive_dose": _on("live vaccine"),
    "mao_a_inhibitor_14_days": [(_MAOI, None)],
    "maoi": [(_MAOI, None)],
    "maoi_within_14_days": [(_MAOI, None)],
    "nefazodone_concomitant": _on("nefazodone"),
    "other_bupropion": [],
    "pde5_inhibitor": _on("PDE5 inhibitor"),
    "pentoxifylline_concomitant": _on("pentoxifylline"),
    "pgp_strong_cyp3a4_inhibitor_with_renal_or_hepatic_impairment": [
        (
            '(on("P-gp inhibitor") or on("strong CYP3A4 inhibitor")) and (egfr < 60 or dx(ckd) or dx(liver_disease))',
            None,
        )
    ],
    "pimozide_concomitant": _on("pimozide"),
    "potassium_sparing_combination": _on("potassium-sparing diuretic", "potassium supplement"),
    "probenecid_concomitant": _on("probenecid"),
    "qt_drugs": _on("QT-prolonging drug"),
    "qt_prolonging_drug": _on("QT-prolonging drug"),
    "ramelteon_concomitant": _on("ramelteon"),
    "riociguat": _on("riociguat"),
    "ssri_list": _on("sertraline", "citalopram", "escitalopram"),
    "strong_cyp3a4_inducer": _on("strong CYP3A4 inducer"),
    "strong_cyp3a4_inhibitor": _on("strong CYP3A4 inhibitor"),
    "strong_or_moderate_cyp3a4_inducer": _on("strong CYP3A4 inducer", "moderate CYP3A4 inducer"),
    "thioridazine_concomitant": _on("thioridazine"),
    "tizanidine_concomitant": _on("tizanidine"),
    "warfarin_risk_reduction": _on("warfarin"),
    "with_alfuzosin_amiodarone_flecainide_propafenone_quinidine_dronedarone": _on(
        "alfuzosin", "amiodarone", "flecainide", "propafenone", "quinidine", "dronedarone"
    )
    + _on("amiodarone", "flecainide", "propafenone", "dronedarone"),
    "with_apomorphine": _on("apomorphine"),
    "with_atazanavir_darunavir_fosamprenavir_tipranavir": _on("atazanavir", "darunavir") + _on("atazanavir"),
    "with_cisapride_pimozide": _on("cisapride", "pimozide") + _on("pimozide"),
    "with_colchicine_renal_hepatic": [("on(colchicine) and (egfr < 60 or dx(ckd) or dx(liver_disease))", None)],
    "with_cyp3a_ugt1a1_narrow_substrates": _on("irinotecan", "ergot alkaloid", "simvastatin", "lovastatin", "pimozide"),
    "with_dofetilide": _on("dofetilide"),
    "with_efavirenz_400": _on("efavirenz"),
    "with_elbasvir_grazoprevir": _on("elbasvir-grazoprevir"),
    "with_eplerenone_ergot_nisoldipine_irinotecan_colchicine": _on(
        "eplerenone", "ergot alkaloid", "nisoldipine", "irinotecan", "colchicine"
    ),
    "with_ergot": _on("ergot alkaloid"),
    "with_listed_cyp3a4_substrates": _on(
        "methadone", "dronedarone", "ergot alkaloid", "irinotecan", "pimozide", "felodipine", "nisoldipine",
        "ivabradine", "eplerenone", "lovastatin", "simvastatin", "ticagrelor",
    ),
    "with_lurasidone": _on("lurasidone"),
    "with_lurasidone_pimozide": _on("lurasidone", "pimozide") + _on("pimozide"),
    "with_pimozide_quinidine": _on("pimozide", "quinidine") + _on("pimozide"),
    "with_praziquantel_lurasidone": _on("praziquantel", "lurasidone") + _on("lurasidone"),
    "with_qt_cyp3a4_substrates": _on("pimozide"),
    "with_ranolazine_colchicine_renal_hepatic": [
        ("on(colchicine) and (egfr < 60 or dx(ckd) or dx(liver_disease))", None)
    ],
    "with_rifampin": _on("rifampin"),
    "with_rifampin_rifabutin_carbamazepine_barbiturates": _on("rifamycin", "carbamazepine", "barbiturate"),
    "with_rilpivirine": _on("rilpivirine"),
    "with_ritonavir_400": [],
    "with_saquinavir_ritonavir": _on("ritonavir"),
    "with_sildenafil_pah": _on("sildenafil"),
    "with_simvastatin_lovastatin": _on("simvastatin", "lovastatin"),
    "with_simvastatin_lovastatin_lomitapide": _on("simvastatin", "lovastatin"),
    "with_sirolimus": _on("sirolimus"),
    "with_terfenadine_astemizole_cisapride_pimozide": _on("pimozide"),
    "with_tizanidine": _on("tizanidine"),
    "with_triamterene_amiloride": _on("triamterene", "amiloride"),
    "with_triazolam_oral_midazolam": _on("triazolam") + _on("midazolam"),
    "with_triazolam_oral_midazolam_alprazolam": _on("triazolam", "midazolam", "alprazolam"),
    "with_st_johns_wort": _on("st-johns-wort"),
    "with_st_johns_wort_voriconazole_apalutamide": _on("voriconazole", "st-johns-wort") + _on("voriconazole"),
    # age, size, pregnancy
    "age_under_12": [("age < 12", None)],
    "age_under_2": [("age < 2", None)],
    "age_under_6_months": [("age < 0.5", None)],
    "infant_under_2_months": [("age < 0.17", None)],
    "neonate_under_1_month": [("age < 0.083", None)],
    "neonate_hyperbilirubinaemia": [("age < 0.077", None)],
    "neonate_iv_calcium": [("age < 0.077", None)],
    "post_tonsillectomy_under_18": [],
    "low_body_weight": [('weight < 57 if sex == "male" else weight < 45', None)],
    "reye_risk": [("age < 20 and dx(viral_infection)", None)],
    "pregnancy": [("pregnant", None)],
    "pregnancy_migraine": [("pregnant", None)],
    "pregnancy_nonmalignant": [("pregnant", None)],
    "pregnancy_onychomycosis": [("pregnant", None)],
    "pregnancy_ra": [("pregnant", None)],
    "pregnancy_third_trimester": [("pregnant", "relative")],
    "pregnancy_term_38_42_weeks": [("pregnant", "relative")],
    "threatened_abortion_eclampsia": _dx("pre_eclampsia"),
    "lactation": [("breastfeeding", None)],
    "labor_delivery": [],
    "women_childbearing_epilepsy_bipolar": [],
    # genes
    "cyp2c9_3_3": [("activity(CYP2C9) == 0", None)],
    "dpd_complete_deficiency": [("activity(DPYD) == 0", None)],
    "g6pd_deficiency": [('gene(G6PD) in ("Deficient", "Deficient with CNSHA")', None)],
    "hla_b_1502": [('allele("HLA-B", "*15:02")', None)],
    "hla_b_5701": [('allele("HLA-B", "*57:01")', None)],
    "hla_b_5801": [('allele("HLA-B", "*58:01")', None)],
    # allergy
    "angioedema_history": _dx("angioedema_history"),
    "aspirin_nsaid_hypersensitivity": [('allergy("NSAID") or allergy(aspirin)', None)],
    "beta_lactam_allergy": [('allergy("penicillin") or allergy("cephalosporin")', None)],
    "beta_lactam_immediate_hypersensitivity": [('allergy("penicillin") or allergy("cephalosporin")', "relative")],
    "beta_lactam_serious_hypersensitivity": [('allergy("penicillin") or allergy("cephalosporin")', None)],
    "beta_lactam_anaphylaxis": [('allergy("penicillin") or allergy("cephalosporin")', "relative")],
    "carbapenem_hypersensitivity": [('allergy("carbapenem")', None)],
    "cephalosporin_hypersensitivity": [('allergy("cephalosporin")', None)],
    "penicillin_hypersensitivity": [('allergy("penicillin")', None)],
    "carbamazepine_hypersensitivity": [("allergy(carbamazepine)", None)],
    "paliperidone_hypersensitivity": [("allergy(risperidone)", None)],
    "infliximab_murine_hypersensitivity": [('allergy(infliximab) or allergy("murine protein")', None)],
    "soy_or_egg_allergy": [('allergy("soy") or allergy("egg")', None)],
    "sulfonamide_allergy": [('allergy("antibacterial sulfonamide") or allergy("non-antibacterial sulfonamide")', None)],
    "sulfonamide_hypersensitivity": [('allergy("antibacterial sulfonamide")', None)],
    "tca_hypersensitivity": [('allergy("tricyclic")', None)],
    "hydantoin_hypersensitivity": [("allergy(phenytoin) or allergy(fosphenytoin)", None)],
    "azole_hypersensitivity": [('allergy("azole")', None)],
    "macrolide_hypersensitivity": [('allergy("macrolide")', None)],
    "quinolone_hypersensitivity": [('allergy("quinolone")', None)],
    "rifamycin_hypersensitivity": [('allergy("rifamycin")', None)],
    "aminoglycoside_hypersensitivity": [('allergy("aminoglycoside")', None)],
    "glucocorticoid_hypersensitivity": [('allergy("corticosteroid")', None)],
    "prior_methyldopa_liver_injury": [],
    "prior_isoniazid_hepatitis": [],
    "prior_alkylating_agent_ra": [],
    "prior_phenytoin_hepatotoxicity": [],
    "prior_cholestatic_jaundice_with_drug": [],
    "tartrazine_sensitivity": [],
    "disulfiram_with_oral_solution": _on("disulfiram"),
}  # fmt: skip

ADDED: list[tuple[frozenset[str], dict[str, str]]] = [  # found missing in a review of the facts; recalled
    (
        frozenset({"acebutolol", "betaxolol"}),
        {
            "code": "bronchospastic_disease",
            "when": "dx(asthma) or dx(copd)",
            "level": "relative",
            "text": "in general no beta-blocker in bronchospastic disease; beta-1 selective ones with care",
        },
    ),
    (
        frozenset({
            "azilsartan", "candesartan", "eprosartan", "irbesartan", "losartan", "olmesartan", "telmisartan",
            "valsartan",
        }),
        {
            "code": "angioedema_history",
            "when": "dx(angioedema_history)",
            "level": "relative",
            "text": "angioedema before, on an ACE inhibitor or without a cause: seldom recurs, watch closely",
        },
    ),
]  # fmt: skip


def added(inn: str, present: set[str]) -> list[dict[str, str]]:
    """Contraindications that the review found missing from a drug's rows."""
    return [
        {**row, "source": "memory", "status": "to verify"}
        for names, row in ADDED
        if inn in names and row["code"] not in present
    ]


INDICATION_OF = {
    "abnormal_renal_function_ra_psoriasis": "rheumatoid-arthritis",
    "malignancy_ra_psoriasis": "rheumatoid-arthritis",
    "uncontrolled_hypertension_ra_psoriasis": "rheumatoid-arthritis",
    "pregnancy_ra": "rheumatoid-arthritis",
    "pregnancy_migraine": "migraine-prophylaxis",
    "pregnancy_onychomycosis": "onychomycosis",
    "chf_onychomycosis": "onychomycosis",
    "pregnancy_nonmalignant": "rheumatoid-arthritis",
    "warfarin_risk_reduction": "dcis-risk-reduction",
    "dvt_pe_history_risk_reduction": "dcis-risk-reduction",
}


def groups_and_codes(when: str) -> tuple[set[str], set[str]]:
    """Groups named in on / recent, and condition codes named in dx, of an expression."""
    groups = set(re.findall(r'(?:on|recent)\("?([^",)]+)"?', when))
    return groups, set(re.findall(r"dx\((\w+)\)", when))


def readable(when: str, known_codes: set[str], known_groups: set[str]) -> bool:
    """Whether every condition and group that the expression asks for is known."""
    groups, codes = groups_and_codes(when)
    return codes <= known_codes and groups <= known_groups


def profile(
    code: str, entry: dict[str, object], inn: str, text: str, *, codes: set[str], groups: set[str]
) -> tuple[str | None, str | None]:
    """(`when`, overriding level or None) of one contraindication; (None, None) when no record can show it."""
    if code == "hypersensitivity" and "quinazoline" in text:
        return 'allergy("quinazoline alpha-blocker")', None
    if code == "active_liver_disease":
        return (_CIRRHOSIS if inn.endswith("statin") else "dx(liver_disease)"), None
    if code == "hyperkalaemia" and (limit := re.search(r"> ?(\d(?:\.\d)?)", text)):
        return f"dx(hyperkalaemia) or potassium > {float(limit[1]):g}", None
    if code == "hyperkalaemia" and inn == "finerenone":
        return "dx(hyperkalaemia) or potassium > 5.0", None
    if code == "hypokalaemia" and inn == "sotalol":
        return "dx(hypokalaemia) or potassium < 4.0", None
    if code in TABLE:
        return next((c for c in TABLE[code] if readable(c[0], codes, groups)), (None, None))
    if entry.get("kind") == "allergy_or_reaction_history":
        return f'allergy("{inn}")', None
    wanted = [str(c) for c in entry.get("condition_codes") or entry.get("canonical") or [code]]  # type: ignore[attr-defined]
    if entry.get("kind") == "condition" and all(c in codes for c in wanted):
        return " or ".join(f"dx({c})" for c in wanted), None
    return None, None
