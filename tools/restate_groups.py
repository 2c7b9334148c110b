"""Writes `classes.toml`, `allergies.toml` and `sources.toml` from the vocabulary of the drug facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from restate_write import rows

Row = dict[str, Any]

DATE = "2026-11-20"

SUBCLASSES: dict[str, tuple[str, list[str], str]] = {  # name: (wider group, members, one line)
    "thiazide diuretic": ("thiazide or thiazide-like diuretic", ["hydrochlorothiazide"], "benzothiadiazine diuretics"),
    "thiazide-like diuretic": (
        "thiazide or thiazide-like diuretic",
        ["chlorthalidone", "indapamide", "metolazone"],
        "diuretics that act like thiazides without their ring",
    ),
    "cardioselective beta-blocker": (
        "beta-blocker",
        ["acebutolol", "atenolol", "betaxolol", "bisoprolol", "metoprolol", "nebivolol"],
        "block beta-1 receptors more than beta-2",
    ),
    "nonselective beta-blocker": (
        "beta-blocker",
        ["carvedilol", "labetalol", "nadolol", "pindolol", "propranolol", "sotalol"],
        "block beta-1 and beta-2 receptors",
    ),
    "beta-blocker with intrinsic activity": ("beta-blocker", ["acebutolol", "pindolol"], "partial agonists"),
    "vasodilating beta-blocker": (
        "beta-blocker",
        ["carvedilol", "labetalol", "nebivolol"],
        "also widen vessels, by alpha blockade or nitric oxide",
    ),
    "direct vasodilator": ("", ["hydralazine", "minoxidil"], "relax arterioles directly"),
    "endothelin receptor antagonist": ("", ["aprocitentan"], "block endothelin receptors; harm the unborn"),
    "factor Xa inhibitor": ("DOAC", ["apixaban", "edoxaban", "rivaroxaban"], "block factor Xa"),
    "vitamin K antagonist": ("anticoagulant", ["warfarin"], "dosed by INR"),
    "thienopyridine": ("P2Y12 inhibitor", ["clopidogrel", "prasugrel"], "irreversible P2Y12 inhibitors, prodrugs"),
    "antidepressant": (
        "",
        [
            "amitriptyline", "bupropion", "citalopram", "clomipramine", "doxepin", "duloxetine", "escitalopram",
            "fluoxetine", "fluvoxamine", "imipramine", "mirtazapine", "nortriptyline", "paroxetine", "sertraline",
            "trazodone", "venlafaxine", "vortioxetine",
        ],
        "medicines for depression",
    ),
    "lipid-lowering drug": (
        "",
        [
            "atorvastatin", "ezetimibe", "fenofibrate", "fluvastatin", "gemfibrozil", "lovastatin", "pitavastatin",
            "pravastatin", "rosuvastatin", "simvastatin",
        ],
        "medicines that lower cholesterol or triglycerides",
    ),
    "serotonergic antidepressant": (
        "serotonergic drug",
        [
            "amitriptyline", "citalopram", "clomipramine", "doxepin", "duloxetine", "escitalopram", "fluoxetine",
            "fluvoxamine", "imipramine", "nortriptyline", "paroxetine", "sertraline", "trazodone", "venlafaxine",
            "vortioxetine",
        ],
        "antidepressants that raise serotonin tone",
    ),
    "antineoplastic": (
        "",
        ["busulfan", "capecitabine", "fluorouracil", "imatinib", "irinotecan", "mercaptopurine", "methotrexate"],
        "medicines against cancer",
    ),
    "myelosuppressive drug": (
        "",
        [
            "azathioprine", "busulfan", "capecitabine", "fluorouracil", "irinotecan", "mercaptopurine",
            "methotrexate", "mycophenolate",
        ],
        "depress the bone marrow",
    ),
    "antibacterial": (
        "",
        [
            "amikacin", "amoxicillin", "amoxicillin-clavulanate", "azithromycin", "cefepime", "ceftriaxone",
            "ciprofloxacin", "clarithromycin", "erythromycin", "gentamicin", "levofloxacin", "linezolid", "meropenem",
            "nitrofurantoin", "penicillin-v", "piperacillin-tazobactam", "rifampin", "tobramycin",
            "trimethoprim-sulfamethoxazole", "vancomycin",
        ],
        "medicines against bacteria",
    ),
    "systemic corticosteroid": ("corticosteroid", ["dexamethasone", "prednisolone", "prednisone"], "by mouth or vein"),
    "thyroid hormone": ("", ["levothyroxine"], "replace thyroid hormone"),
    "S1P receptor modulator": ("", ["siponimod"], "act on sphingosine-1-phosphate receptors"),
    "5-HT3 antagonist": ("", ["ondansetron"], "antiemetics that block 5-HT3 receptors"),
    "narrow therapeutic index": (
        "",
        [
            "amikacin", "amitriptyline", "busulfan", "carbamazepine", "clomipramine", "cyclosporine", "digoxin",
            "doxepin", "flecainide", "fosphenytoin", "gentamicin", "imipramine", "levothyroxine", "lithium",
            "methotrexate", "nortriptyline", "phenobarbital", "phenytoin", "tacrolimus", "theophylline", "tobramycin",
            "valproate", "vancomycin", "warfarin",
        ],
        "small differences of concentration or dose harm; a concentration or effect must be measured",
    ),
    "biguanide": ("antidiabetic", ["metformin"], "lower hepatic glucose output"),
    "DPP-4 inhibitor": ("antidiabetic", ["sitagliptin"], "raise incretin levels"),
    "cholesterol absorption inhibitor": ("lipid-lowering drug", ["ezetimibe"], "block intestinal cholesterol uptake"),
}  # fmt: skip

TEXTS = {
    "ACE inhibitor": "block angiotensin-converting enzyme",
    "ARB": "block the angiotensin II type 1 receptor",
    "ARNI": "neprilysin inhibitor joined with an ARB; never within 36 h of an ACE inhibitor",
    "RAAS blocker": "any drug that blocks the renin-angiotensin system",
    "antihypertensive": "medicines that lower blood pressure",
    "diuretic": "raise the excretion of salt and water",
    "loop diuretic": "act in the loop of Henle",
    "thiazide or thiazide-like diuretic": "act in the distal tubule",
    "potassium-sparing diuretic": "diuretics that keep potassium",
    "mineralocorticoid receptor antagonist": "block the aldosterone receptor",
    "calcium channel blocker": "block L-type calcium channels",
    "dihydropyridine CCB": "calcium channel blockers that act on vessels",
    "non-dihydropyridine CCB": "calcium channel blockers that also slow the heart",
    "beta-blocker": "block beta-adrenergic receptors",
    "alpha-1 blocker": "block alpha-1 receptors",
    "central alpha-2 agonist": "lower sympathetic outflow; do not stop abruptly",
    "direct renin inhibitor": "block renin",
    "NSAID": "non-steroidal anti-inflammatory drugs, systemic",
    "statin": "HMG-CoA reductase inhibitors",
    "MAOI": "inhibit monoamine oxidase, linezolid included",
    "QT-prolonging drug": "lengthen the QT interval, by pharmacology texts; not the CredibleMeds list",
    "anticoagulant": "oral and parenteral anticoagulants",
    "DOAC": "direct oral anticoagulants",
    "antiplatelet": "inhibit platelets",
    "P2Y12 inhibitor": "block the platelet P2Y12 receptor",
    "combined P-gp and strong CYP3A4 inhibitor": "inhibit P-gp and, strongly, CYP3A4",
    "combined P-gp and strong CYP3A4 inducer": "induce P-gp and, strongly, CYP3A4",
    "serotonergic drug": "raise serotonin tone",
    "CNS depressant": "depress the central nervous system",
    "nephrotoxic or ototoxic drug": "can harm kidney or hearing",
}
WITHIN = {
    "ACE inhibitor": "RAAS blocker", "ARB": "RAAS blocker", "ARNI": "RAAS blocker",
    "direct renin inhibitor": "RAAS blocker", "loop diuretic": "diuretic", "potassium-sparing diuretic": "diuretic",
    "thiazide or thiazide-like diuretic": "diuretic", "dihydropyridine CCB": "calcium channel blocker",
    "non-dihydropyridine CCB": "calcium channel blocker", "DOAC": "anticoagulant", "P2Y12 inhibitor": "antiplatelet",
    "statin": "lipid-lowering drug", "fibrate": "lipid-lowering drug", "SSRI": "antidepressant",
    "SNRI": "antidepressant", "TCA": "antidepressant", "sulfonylurea": "antidiabetic", "insulin": "antidiabetic",
    "SGLT2 inhibitor": "antidiabetic", "GLP-1 receptor agonist": "antidiabetic",
    "thiazolidinedione": "antidiabetic",
}  # fmt: skip
SHARED = {
    "ACE inhibitor", "penicillin", "cephalosporin", "NSAID", "aminoglycoside", "macrolide", "quinolone",
    "antibacterial sulfonamide", "aromatic antiepileptic", "heparin", "rifamycin",
}  # fmt: skip
CROSS: dict[str, list[tuple[str, str]]] = {
    "ACE inhibitor": [("sacubitril-valsartan", "angioedema on an ACE inhibitor forbids sacubitril")],
    "penicillin": [
        ("cephalosporin", "cross-reaction is uncommon and goes by the side chain"),
        ("carbapenem", "cross-reaction in about 1 in 100"),
    ],
    "cephalosporin": [("penicillin", "cross-reaction is uncommon and goes by the side chain")],
    "carbapenem": [("penicillin", "cross-reaction is uncommon")],
    "antibacterial sulfonamide": [
        ("non-antibacterial sulfonamide", "cross-reaction is not proven; labels still warn"),
        ("sulfonylurea", "cross-reaction is not proven; labels still warn"),
    ],
    "non-antibacterial sulfonamide": [("sulfonylurea", "related structure; cross-reaction is not proven")],
}


def subclasses_of(inn: str) -> list[str]:
    """Subclasses that a drug belongs to."""
    return [name for name, (_, members, _) in SUBCLASSES.items() if inn in members]


def classes_toml(vocabulary: Row) -> str:
    """The group vocabulary: name, other spellings, the wider group, one line."""
    plain = [c for c in vocabulary["classes"] if not c.startswith(("strong ", "moderate ", "CYP"))]
    entries: list[Row] = [
        {
            "name": name,
            "synonyms": [s for s in vocabulary["classes"][name]["synonyms"] if "," not in s and s != name],
            "within": WITHIN.get(name, ""),
            "text": TEXTS.get(name, ""),
        }
        for name in plain
    ]
    entries.append(
        {
            "name": "possible QT-prolonging drug",
            "text": "may lengthen the QT interval, by pharmacology texts; not the CredibleMeds list",
        }
    )
    entries += [{"name": n, "within": wider, "text": text} for n, (wider, _, text) in SUBCLASSES.items()]
    head = (
        "Groups under which statements reach drugs. A drug file names its groups in `classes`; `within` is the wider\n"
        'group. Enzyme roles ("strong CYP3A4 inhibitor") are groups too and come from the roles in the drug files.'
    )
    return rows("classes", sorted(entries, key=lambda e: e["name"].lower()), header=head)


def allergies_toml(vocabulary: Row) -> str:
    """Allergy groups with their members and cross-reactions."""
    entries = [
        {
            "name": name,
            "synonyms": entry["synonyms"],
            "members": entry["members"],
            "shared": name in SHARED,
            "cross": [{"group": g, "text": t} for g, t in CROSS.get(name, [])],
            "source": "memory",
            "status": "to verify",
        }
        for name, entry in sorted(vocabulary["allergy_groups"].items())
    ]
    head = (
        "Allergy groups. shared: an allergy to one member counts for all; else it warns. cross: another group (or one\n"
        'drug) to be careful with. No group found for a drug is not "no cross-reaction".'
    )
    return rows("groups", entries, header=head)


SOURCES: list[Row] = [
    {
        "key": "labels",
        "name": "US product labels, read as sections or excerpts",
        "licence": "US government work or facts restated; each label is cited in citations.toml",
        "retrieved": DATE,
    },
    {
        "key": "antihypertensives",
        "name": "Dose tables of textbooks and reviews for 60 antihypertensive drugs",
        "licence": "facts restated; each table is cited in citations.toml",
        "retrieved": DATE,
    },
    {
        "key": "rxnorm",
        "name": "RxNorm and UNII names, FDA and US National Library of Medicine",
        "version": "April 2014",
        "licence": "US public data",
        "retrieved": DATE,
    },
    {
        "key": "cpic",
        "name": "CPIC guidelines",
        "licence": "CC0",
        "retrieved": DATE,
    },
    {
        "key": "enzymes",
        "name": "Published tables of enzyme and transporter roles with observed changes of exposure",
        "licence": "facts restated; each table is cited in citations.toml",
        "retrieved": DATE,
    },
    {
        "key": "posologist-rules",
        "name": "Rules of this program: duplicates, allergies, how words are read",
        "licence": "Apache-2.0",
        "retrieved": DATE,
    },
]


def write_groups(vocabulary: Row, out: Path) -> None:
    """Write the three files."""
    (out / "classes.toml").write_text(classes_toml(vocabulary), encoding="utf-8")
    (out / "allergies.toml").write_text(allergies_toml(vocabulary), encoding="utf-8")
    head = "Collections that facts were taken from. `date` is the date of this edition of the knowledge base."
    body = rows("sources", SOURCES)
    (out / "sources.toml").write_text(f'# {head}\ndate = "{DATE}"\n\n{body}', encoding="utf-8")
