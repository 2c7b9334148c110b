"""Interactions: what must be found, what must not be raised, and under which conditions."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patients import AS_OF, a_medicine, a_patient
from posologist.core.settings import Settings
from posologist.core.statement import SEVERITY_ORDER, Statement
from posologist.core.values import DrugId
from posologist.knowledge.expression import UNKNOWN, expression
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.records.names import name_index, read_phrase
from shared import shared_data

BLOCKING = ("contraindicated", "serious")


@cache
def knowledge() -> Knowledge:
    """The facts of the package, read once."""
    return load_knowledge()


def drug(name: str) -> DrugId:
    """Id of a drug by name, synonym or brand."""
    return knowledge().drug(name).id


def between(one: str, two: str) -> tuple[Statement, ...]:
    """Statements about two drugs taken together."""
    return tuple(statement for statement, _ in knowledge().interactions_between(drug(one), drug(two)))


def worst(statements: Iterable[Statement]) -> str:
    """The strictest severity, or "none"."""
    return min((s.severity for s in statements), key=lambda s: SEVERITY_ORDER[s], default="none")


class Someone:
    """A patient under medicines. Lists are complete; a fact that is not given is unknown."""

    def __init__(
        self, *medicines: str, dx: Iterable[str] = (), stopped: Mapping[str, float] | None = None, **facts: Any
    ):
        self.groups = {group for name in medicines for group in knowledge().groups_of(drug(name))}
        self.conditions, self.facts = set(dx), facts
        self.stopped = [(knowledge().groups_of(drug(n)), hours) for n, hours in (stopped or {}).items()]

    def fact(self, name: str) -> Any:
        """The given value, else unknown."""
        return self.facts.get(name, UNKNOWN)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Any:
        """Conditions, present medicines, and medicines stopped within the asked hours."""
        if function == "dx":
            return arguments[0] in self.conditions
        if function == "on":
            return arguments[0] in self.groups
        if function == "recent":
            recently = any(arguments[0] in groups and hours <= arguments[1] for groups, hours in self.stopped)
            return arguments[0] in self.groups or recently
        return UNKNOWN


def holding(one: str, two: str, someone: Someone) -> tuple[Statement, ...]:
    """Statements about the pair whose profile is true for this patient."""
    return tuple(s for s in between(one, two) if expression(s.when).match(someone).truth)


def rows(*place: str) -> list[dict[str, str]]:
    """A table of the reference data."""
    with shared_data(*place).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- lists that are kept for tests


def test_every_enumerated_high_priority_pair_is_found() -> None:
    pairs = [
        (r["object_drug"], r["precipitant_drug"])
        for r in rows("safety", "onc_high_priority_ddi.csv")
        if not r["object_drug"].startswith("*")
    ]

    missed = [pair for pair in pairs if worst(between(*pair)) not in BLOCKING]

    assert len(pairs) == 394
    assert not missed


def test_any_two_drugs_known_to_prolong_qt_are_found() -> None:
    members = sorted(knowledge().members["QT-prolonging drug"])

    missed = [(a, b) for a, b in itertools.combinations(members, 2) if worst(between(a, b)) not in BLOCKING]

    assert len(members) >= 60
    assert not missed


def test_recall_on_the_visible_high_priority_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(r["drug1"], r["drug2"]) for r in rows("ml", "ddi_onc_high_priority", "onc_high_priority_pairs.csv")]

    found = sum(worst(between(*pair)) in BLOCKING for pair in pairs)

    with capsys.disabled():
        print(f"\nhigh-priority pairs found: {found} of {len(pairs)}")
    assert found >= 803


LESS_STRICT = {
    "DDI0119": "the US label allows rosuvastatin 5 mg with cyclosporine: a cap",
    "DDI0140": "forbidden in pulmonary hypertension only",
    "DDI0292": "the regulator's table of 2016 alone forbids tacrolimus",
    "DDI0322": "three triptans are not broken down by MAO",
    "DDI0406": "a paper's observation without a label's prohibition",
    "DDI0410": "the label gives a quarter of azathioprine",
}


def named(text: str) -> set[DrugId]:
    """Drugs that a row of the reference table means: one drug, or the members of a class under any of its names."""
    known, lowered = knowledge(), text.lower()
    if lowered in known.names:
        return {known.names[lowered]}
    if text in known.members:
        return set(known.members[text])
    classes = [c.name for c in known.classes.values() if lowered in (c.name.lower(), *map(str.lower, c.synonyms))]
    return {d for name in classes for d in known.members.get(name, frozenset())}


def test_reference_pairs_are_reached_at_their_severity_or_a_stricter_one() -> None:
    path = shared_data("drugs", "_interactions.tsv")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    read = [r for r in csv.DictReader(lines, delimiter="\t") if named(r["a"]) and named(r["b"])]

    weaker = {
        r["id"]
        for r in read
        for a, b in itertools.product(named(r["a"]), named(r["b"]))
        if a != b and SEVERITY_ORDER.get(worst(between(a, b)), len(SEVERITY_ORDER)) > SEVERITY_ORDER[r["severity"]]
    }

    assert len(read) > 250
    assert weaker <= set(LESS_STRICT)


def members(*groups: str) -> set[DrugId]:
    """Drugs of classes, or drugs by name."""
    known = knowledge()
    return {d for group in groups for d in known.members.get(group, frozenset()) or {drug(group)}}


def low_priority() -> Mapping[str, set[DrugId]]:
    """The classes of the list of pairs that need no interruption, in our vocabulary."""
    steroids = members("corticosteroid")
    return {
        "ACE inhibitors": members("ACE inhibitor"),
        "Salicylates": members("salicylate"),
        "Niacin": members("niacin"),
        "Statins": members("statin"),
        "β-Adrenergic blockers": members("beta-blocker"),
        "Serotonin reuptake blockers": members("SSRI"),
        "Iron salts": members("iron salt"),
        "Iron salts (oral)": members("iron salt"),
        "Proton pump inhibitors": members("proton pump inhibitor"),
        "Thiazide-type diuretics": members("thiazide or thiazide-like diuretic"),
        "Thyroid hormones": members("thyroid hormone", "levothyroxine"),
        "Calcium salts": members("calcium"),
        "Calcium salts (oral)": members("calcium"),
        "NSAID": members("NSAID"),
        "NSAIDS": members("NSAID"),
        "Macrolide immunosuppressives": members("tacrolimus", "sirolimus", "everolimus"),
        "Corticosteroids": steroids,
        "Corticosteroids(oral)": steroids,
        "Corticosteroids/corticotropin": steroids,
        "Antacids": members("antacid"),
        "Bisphosphonates": members("bisphosphonate"),
        "Vitamin B12": members("vitamin b12"),
        "Omeprazole": members("omeprazole"),
        "Folic acid": members("folic acid"),
        "Methotrexate": members("methotrexate"),
        "Sulfonylureas": members("sulfonylurea"),
        "Anticoagulants": members("anticoagulant"),
        "Acetaminophen": members("acetaminophen"),
        "Imidazoles": members("azole antifungal"),
        "Angiotensin II receptor antagonists": members("ARB"),
        "Benzodiazepines": members("benzodiazepine"),
        "Vitamin E": members("vitamin e"),
        "Zinc salts (oral)": members("zinc"),
        "Quinolones (oral)": members("fluoroquinolone"),
        "Clopidogrel": members("clopidogrel"),
        "Oral contraceptives": members("hormonal contraceptive"),
        "Nifedipine and derivatives": members("dihydropyridine CCB"),
        "Anticholinesterases": members("acetylcholinesterase inhibitor"),
    }


def test_no_low_priority_class_pair_is_contraindicated() -> None:
    classes = low_priority()

    raised = [
        (a, b)
        for row in rows("safety", "onc_noninterruptive_classes.csv")
        for a, b in itertools.product(classes[row["class_a"]], classes[row["class_b"]])
        if a != b and worst(between(a, b)) == "contraindicated"
    ]

    assert not raised


# ---- laws

_IDS = st.sampled_from(sorted(load_knowledge().drugs))


@given(_IDS, _IDS)
def test_the_order_of_two_drugs_does_not_matter(one: DrugId, two: DrugId) -> None:
    forward = knowledge().interactions_between(one, two)
    backward = knowledge().interactions_between(two, one)

    assert {s.id for s, _ in forward} == {s.id for s, _ in backward}


@given(st.sampled_from([s for s in load_knowledge().statements if s.other]), st.data())
def test_a_statement_reaches_every_pair_of_its_two_sides(statement: Statement, data: st.DataObject) -> None:
    known = knowledge()
    one = data.draw(st.sampled_from(sorted({d for g in statement.about for d in known.members[g]})))
    two = data.draw(st.sampled_from(sorted({d for g in statement.other for d in known.members[g]})))

    assert one == two or statement.id in {s.id for s, _ in known.interactions_between(one, two)}


def test_every_statement_can_be_read_and_names_only_groups_that_hold_a_drug() -> None:
    known = knowledge()
    pairs = [s for s in known.statements if s.other]

    empty = [(s.id, g) for s in pairs for g in (*s.about, *s.other) if not known.members.get(g)]
    asked = [
        (s.id, a)
        for s in pairs
        for f, a in expression(s.when).queries
        if f == "dx" and a[0] not in known.codes.conditions
    ]
    uncited = [s.id for s in pairs if s.source not in known.citations]

    assert len(pairs) > 700
    assert not empty
    assert not asked
    assert not uncited


def test_no_pair_is_silent_because_a_fact_of_the_patient_is_missing() -> None:
    known = knowledge()
    conditional = [s for s in known.statements if s.other and s.when != "true" and "recent" not in s.when]

    silent = [
        (statement.id, one, two)
        for statement in conditional
        for one, two in itertools.product(members(*statement.about), members(*statement.other))
        if one != two and not any(s.when == "true" for s, _ in known.interactions_between(one, two))
    ]

    assert len(conditional) > 25
    assert not silent


def test_a_cap_names_its_amount_and_unit() -> None:
    capped = [s for s in knowledge().statements if s.other and s.action in ("cap", "percent", "start")]

    assert len(capped) > 40
    assert not [s.id for s in capped if s.action != "cap" and (s.value is None or not s.unit)]


# ---- pairs that deserve a test


@pytest.mark.parametrize(
    "first, second", [("lisinopril", "sacubitril-valsartan"), ("sacubitril-valsartan", "ramipril")]
)
def test_ace_inhibitor_and_sacubitril_need_36_hours_both_ways(first: str, second: str) -> None:
    early = holding(first, second, Someone(stopped={first: 35.0}))
    late = holding(first, second, Someone(stopped={first: 37.0}))

    assert worst(early) == "contraindicated"
    assert worst(late) == "none"


@pytest.mark.parametrize("partner", ["lisinopril", "losartan", "sacubitril-valsartan"])
@pytest.mark.parametrize(
    ("dx", "egfr", "severity"), [(["diabetes"], 90, "contraindicated"), ([], 59, "serious"), ([], 60, "monitor")]
)
def test_aliskiren_with_another_blocker_depends_on_diabetes_and_filtration(
    partner: str, dx: list[str], egfr: float, severity: str
) -> None:
    assert worst(holding("aliskiren", partner, Someone(partner, dx=dx, egfr=egfr))) == severity


def test_ace_inhibitor_with_arb_is_serious_and_never_started() -> None:
    found = between("enalapril", "valsartan")

    assert worst(found) == "serious"
    assert any(s.action == "contraindicated" for s in found)


@pytest.mark.parametrize(
    ("partner", "cap"),
    [
        ("amlodipine", 20),
        ("amiodarone", 20),
        ("ranolazine", 20),
        ("diltiazem", 10),
        ("verapamil", 10),
        ("dronedarone", 10),
    ],
)
def test_simvastatin_is_capped_by_its_partner(partner: str, cap: float) -> None:
    caps = [s.value for s in between("simvastatin", partner) if s.action == "cap" and s.unit == "mg/day"]

    assert caps == [cap]


@pytest.mark.parametrize("partner", ["clarithromycin", "gemfibrozil", "cyclosporine", "itraconazole", "cobicistat"])
def test_simvastatin_is_forbidden_with(partner: str) -> None:
    assert worst(between("simvastatin", partner)) == "contraindicated"


def test_triple_whammy_needs_a_swallowed_nsaid() -> None:
    someone = Someone("lisinopril", "hydrochlorothiazide", egfr=80.0, age=50)
    without = Someone("lisinopril", egfr=80.0, age=50)

    assert worst(holding("ibuprofen", "lisinopril", someone)) == "serious"
    assert worst(holding("ibuprofen", "hydrochlorothiazide", someone)) == "serious"
    assert worst(holding("ibuprofen", "lisinopril", without)) == "monitor"
    assert worst(holding("diclofenac topical", "lisinopril", someone)) == "information"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Diclofenac Sodium 0.01 MG/MG Topical Gel [Voltaren]", "diclofenac topical"),
        ("Hydrocortisone 10 MG/ML Topical Cream", "hydrocortisone topical"),
        ("ketoconazole 2 % shampoo", "ketoconazole topical"),
        ("Ibuprofen 400 MG Oral Tablet", "ibuprofen"),
        ("timolol maleate 5 MG/ML Ophthalmic Solution", "timolol ophthalmic"),
    ],
)
def test_a_local_form_is_read_as_a_drug_of_its_own(text: str, name: str) -> None:
    phrase = read_phrase(text, name_index(knowledge().names))

    assert phrase.drugs == (drug(name),)


def test_no_serious_finding_waits_for_a_route() -> None:
    waiting = {
        statement.id
        for statement in knowledge().statements
        if statement.other and "route" in expression(statement.when).names
    }

    assert waiting == {"cyp3a.midazolam-strong-oral", "heart-rate.dantrolene-verapamil", "sedation.olanzapine-im"}


def test_clopidogrel_loses_its_effect_with_omeprazole_and_not_with_pantoprazole() -> None:
    assert worst(between("clopidogrel", "omeprazole")) == "serious"
    assert worst(between("clopidogrel", "esomeprazole")) == "serious"
    assert worst(between("clopidogrel", "pantoprazole")) == "none"


@pytest.mark.parametrize(("dose", "found"), [(325, "serious"), (101, "serious"), (100, "none"), (81, "none")])
def test_aspirin_above_100_mg_with_ticagrelor_is_to_be_avoided(dose: float, found: str) -> None:
    someone = Someone("aspirin", "ticagrelor", dose_per_day=dose)

    assert worst(s for s in holding("aspirin", "ticagrelor", someone) if s.action == "avoid") == found


def test_aspirin_is_capped_at_100_mg_beside_ticagrelor() -> None:
    assert 100 in [s.value for s in between("aspirin", "ticagrelor") if s.action == "cap"]


def test_citalopram_is_capped_at_20_mg_with_a_cyp2c19_inhibitor() -> None:
    for partner in ("omeprazole", "fluvoxamine", "cimetidine"):
        assert 20 in [s.value for s in between("citalopram", partner) if s.action == "cap"]


def test_ketorolac_stands_alone_among_analgesics() -> None:
    assert worst(between("ketorolac", "ibuprofen")) == "contraindicated"
    assert worst(between("ketorolac", "probenecid")) == "contraindicated"
    assert worst(between("ketorolac", "warfarin")) == "serious"


def test_clonidine_with_a_beta_blocker_names_the_order_of_stopping() -> None:
    advice = " ".join(s.management for s in between("clonidine", "metoprolol"))

    assert "first the beta-blocker" in advice


@pytest.mark.parametrize(("potassium", "action"), [(5.4, "avoid"), (4.2, "monitor")])
def test_spironolactone_with_an_ace_inhibitor_depends_on_potassium(potassium: float, action: str) -> None:
    found = holding("spironolactone", "lisinopril", Someone("lisinopril", potassium=potassium, egfr=70.0))

    assert (action == "avoid") == any(s.action == "avoid" for s in found)
    assert worst(found) == "serious"


def test_metoprolol_is_halved_with_paroxetine_and_bisoprolol_is_not_concerned() -> None:
    assert [s.value for s in between("metoprolol", "paroxetine") if s.action == "percent"] == [50]
    assert worst(between("bisoprolol", "paroxetine")) not in BLOCKING


@pytest.mark.parametrize(
    ("one", "two"), [("digoxin", "cyclosporine"), ("warfarin", "ibuprofen"), ("warfarin", "naproxen")]
)
def test_pairs_of_the_published_decision_support_scenarios_are_found(one: str, two: str) -> None:
    assert worst(between(one, two)) in BLOCKING


USUAL = """
lisinopril + amlodipine; losartan + amlodipine; amlodipine + chlorthalidone; lisinopril + hydrochlorothiazide;
valsartan + hydrochlorothiazide; amlodipine + bisoprolol; atorvastatin + lisinopril; metformin + lisinopril;
amlodipine + atorvastatin; metoprolol + hydrochlorothiazide; enalapril + rosuvastatin; levothyroxine + amlodipine;
ramipril + indapamide; candesartan + amlodipine; aspirin + lisinopril; metformin + sitagliptin; sertraline + amlodipine
"""


def test_ordinary_pairs_stay_free_of_serious_findings() -> None:
    raised = [pair for pair in named_pairs(USUAL) if worst(between(*pair)) in BLOCKING]

    assert not raised


# Pairs that the statements do not name together but must reach through classes and roles, written down from product
# labels and general pharmacology; none was read from a list of the reference data.
REMEMBERED = """
rifampin + lurasidone; ketoconazole + lurasidone; ketoconazole + alfuzosin; itraconazole + lomitapide;
naltrexone + oxycodone; sodium oxybate + zolpidem; dolutegravir + dofetilide; hydrochlorothiazide + dofetilide;
isotretinoin + doxycycline; isotretinoin + vitamin a; disulfiram + metronidazole; fluvoxamine + tasimelteon;
ritonavir + flecainide; cobicistat + dihydroergotamine; cobicistat + simvastatin; rifampin + sofosbuvir;
carbamazepine + sofosbuvir-velpatasvir; st john's wort + dolutegravir; st john's wort + norethindrone;
st john's wort + imatinib; itraconazole + aliskiren; tadalafil + nicorandil; avanafil + isosorbide mononitrate;
itraconazole + conivaptan; ketoconazole + eletriptan; posaconazole + dihydroergotamine; didanosine + allopurinol;
didanosine + ribavirin; imipenem + ganciclovir; cidofovir + tenofovir; rifampin + isavuconazole;
linezolid + phentermine; rasagiline + meperidine; moclobamide + venlafaxine; safinamide + fluoxetine;
pseudoephedrine + rasagiline; alprazolam + tapentadol; midazolam + buprenorphine; methadone + nefazodone;
vorapaxar + warfarin; fondaparinux + ketorolac; argatroban + alteplase; edoxaban + rifampin;
acenocoumarol + miconazole; phenprocoumon + voriconazole; everolimus + clarithromycin; tacrolimus + nirmatrelvir;
vincristine + itraconazole; ibrutinib + posaconazole; venetoclax + ketoconazole; dasatinib + omeprazole;
fingolimod + diltiazem; tofacitinib + yellow fever vaccine; adalimumab + mmr vaccine; ziprasidone + moxifloxacin;
iloperidone + sotalol; donepezil + oxybutynin; haloperidol + pramipexole; salmeterol + nadolol;
ertapenem + valproate; primidone + rivaroxaban; gatifloxacin + glimepiride; zileuton + theophylline;
ketoconazole + fluticasone; nilotinib + ondansetron; hydroxychloroquine + azithromycin; mifepristone + simvastatin;
pirfenidone + fluvoxamine; flibanserin + fluconazole; naloxegol + clarithromycin; suvorexant + ketoconazole;
potassium citrate + spironolactone; sparsentan + losartan; clarithromycin + ergotamine; primidone + norethindrone;
lithium + indapamide; lithium + telmisartan; lithium + etodolac; warfarin + nabumetone; dalteparin + piroxicam;
cimetidine + lidocaine; bezafibrate + simvastatin; gliclazide + fluconazole; alendronate + calcium carbonate
"""


def named_pairs(text: str) -> list[tuple[str, str]]:
    """Pairs written as `one + two; ...`."""
    pairs = [tuple(part.strip() for part in item.split(" + ")) for item in text.replace("\n", " ").split(";")]
    return [(one, two) for one, two in pairs]


def test_remembered_pairs_are_reached_through_classes_and_roles(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = named_pairs(REMEMBERED)

    found = [pair for pair in pairs if worst(between(*pair)) in BLOCKING]
    silent = [pair for pair in pairs if not between(*pair)]

    with capsys.disabled():
        print(f"\nremembered pairs found as serious or worse: {len(found)} of {len(pairs)}; silent: {silent}")
        print(f"weaker: {sorted(set(pairs) - set(found))}")
    assert not silent
    assert len(found) >= 0.9 * len(pairs)


@pytest.mark.parametrize("name", ["enalapril", "losartan", "aliskiren", "eplerenone"])
@pytest.mark.parametrize(
    "potassium, severity", [(5.4, None), (5.5, "serious"), (5.9, "serious"), (6.0, "contraindicated")]
)
def test_potassium_under_a_blocker_that_is_taken_is_told_from_5_5_on(
    name: str, potassium: float, severity: str | None
) -> None:
    taken = a_patient(sbp=155, dbp=97, creatinine=1.0, potassium=potassium, medicines=[a_medicine(name, 10.0)])
    settings = Settings(as_of=AS_OF)
    screened = screen_order(taken, [name], knowledge=knowledge(), settings=settings)
    advised = recommend(taken, "hypertension", knowledge=knowledge(), settings=settings)
    elsewhere = recommend(taken, "type-2-diabetes", knowledge=knowledge(), settings=settings)
    told = [
        {f.severity for f in document.findings if "Potassium of" in f.title and name in f.drugs}
        for document in (screened, advised, elsewhere)
    ]

    assert told == [{severity} if severity else set()] * 3
    assert not any(severity and f"Raise {name}" in option.plan.text for option in advised.options)
