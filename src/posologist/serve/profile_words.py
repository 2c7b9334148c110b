"""The clinician's words for genes and for what guidelines ask, shared by the page and the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

from posologist.core.genotype import GeneCall
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.core.values import GeneSymbol
from posologist.serve import words

SEVERITY = {
    "contraindicated": "Do not use",
    "serious": "Avoid or replace",
    "monitor": "Adjust or monitor",
    "information": "No change",
}
STATE = {
    "called": "Called",
    "partly called": "Partly called",
    "assumed reference": "Reference assumed",
    "not called": "Not called",
    "not tested": "Not tested",
}
_ACTIONS = {
    "contraindicated": "Do not use",
    "avoid": "Avoid",
    "alternative": "Prefer another drug",
    "reduce": "Lower dose",
    "increase": "Higher dose",
    "monitor": "Monitor",
    "standard": "Usual dose",
    "prefer": "Prefer",
    "no recommendation": "No recommendation",
}
_WITH_VALUE = {
    "start": "Start at {}",
    "cap": "At most {}",
    "percent": "Give {}",
    "increase": "Raise to {}",
    "interval": "Every {}",
    "separate": "Separate by {}",
}
_SAME = {"contraindicated": ("do not start",), "alternative": ("another drug",), "increase": ("a higher dose",)}
_FRACTIONS = {10.0: "a tenth of", 25.0: "a quarter of", 50.0: "half", 75.0: "three quarters of"}
_USUAL = ("initial dose", "start", "dose")
_SILENT = frozenset({"the guideline makes no recommendation", "no action needed"})
_GENE_FIRST = re.compile(r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)?\b")
_FACTS = {
    "indication": "what it is given for",
    "dose_per_day": "dose a day",
    "bmi": "BMI",
    "starting": "whether it is started now",
}
_LONG = 12  # letters of an allele's name above which it is not written twice
_NOT_IN_A_RECORD = "cannot_be_read_from_a_record"
_ABOUT_GENES = ("gene", "activity")


def advice(item: GuidanceItem) -> str:
    """What an item asks for, without its value: "Start at {}" where one belongs into it."""
    if item.value is not None and item.action in _WITH_VALUE:
        return _WITH_VALUE[item.action]
    return _ACTIONS.get(item.action, item.action.capitalize())


def amount(item: GuidanceItem) -> str:
    """The value of an item: "75 % of the usual dose", "40 mg/day"; empty where it has none."""
    if item.value is None:
        return ""
    if item.value.unit == "percent":
        return f"{words.quantity(item.value).removesuffix(' percent')} % of the usual dose"
    return words.quantity(item.value).replace("/m2", "/m²")


def advice_words(item: GuidanceItem) -> str:
    """What an item asks for, with its value."""
    return advice(item).format(amount(item))


def detail(item: GuidanceItem) -> str:
    """An item's text without the gene result before it and the body after it, which stand beside it."""
    text = item.text.removesuffix(f"({item.body})").strip()
    before, colon, after = text.partition(": ")
    return words.sentence(after if colon and _GENE_FIRST.match(before) else text)


def rest(item: GuidanceItem) -> str:
    """What stands behind an item's advice, up to the full stop: "Do not use" + ". Risk of a severe reaction."."""
    text = detail(item)
    if text.rstrip(".").lower() in _SILENT:
        return "."
    for told in filter(None, (advice_words(item), amount(item), *_SAME.get(item.action, ()), *_fractions(item))):
        pattern = re.escape(told).replace(r"\ %", " ?%") + "(?=[;,. (])"
        found = re.match(pattern, text, re.IGNORECASE)
        if found:
            after = text[found.end() :]
            return after if after[0] in " ." else f". {words.sentence(after[1:])}"
    return f". {text}"


def _fractions(item: GuidanceItem) -> tuple[str, ...]:
    """The value of an item as a fraction in words: "three quarters of the usual start"."""
    fraction = _FRACTIONS.get(item.value.value) if item.value is not None and item.value.unit == "percent" else None
    return tuple(f"{fraction} the usual {what}" for what in _USUAL) if fraction else ()


def strength(item: GuidanceItem) -> str:
    """Body and strength: "CPIC, strong"."""
    return f"{item.body}, {item.level.lower()}" if item.level else item.body


def missing_words(name: str) -> str:
    """A fact that would decide a row: "whether stroke is a diagnosis", "HLA-A *31:01", "age"."""
    if name == _NOT_IN_A_RECORD:
        return "the patient’s answer (no record shows it)"
    function, _, rest = name.partition("(")
    arguments = [part.strip().replace("_", " ") for part in rest.removesuffix(")").split(",")]
    if function == "allele":
        return f"{' '.join(arguments)} result"
    if function in _ABOUT_GENES:
        return f"{arguments[0]} result"
    if function == "dx":
        return f"diagnosis: {arguments[0].upper() if len(arguments[0]) <= 3 else arguments[0]}"
    if function == "on":
        return f"medicines: {arguments[0]}"
    if function == "taken":
        return f"how long {arguments[0]} has been taken"
    if function == "allergy":
        return f"past reactions to {arguments[0]}"
    return _FACTS.get(name, name.replace("_", " "))


def deciding(items: Iterable[GuidanceItem]) -> list[str]:
    """Facts that would decide these rows, once each; diagnoses told together."""
    facts = list(dict.fromkeys(missing_words(name) for item in items for name in item.missing))
    diagnoses = [fact.removeprefix("diagnosis: ") for fact in facts if fact.startswith("diagnosis: ")]
    others = [fact for fact in facts if not fact.startswith("diagnosis: ")]
    return [*others, f"diagnoses ({', '.join(diagnoses)})"] if diagnoses else others


def alleles(diplotype: str | None) -> str:
    """A diplotype as people write it; what two long names share is said once."""
    if diplotype is None:
        return "by phenotype"
    first, slash, second = diplotype.partition("/")
    if slash and first == second and len(first) > _LONG:
        return f"{first}, both copies"
    place, blank, _ = first.partition(" ")
    if slash and blank and place.startswith("rs") and second.startswith(f"{place} "):
        return f"{first} / {second.removeprefix(f'{place} ')}"
    return diplotype


def result(symbol: GeneSymbol, document: GuidanceDocument) -> str:
    """One gene's result as it shows now: "CYP2D6 *1/*3 intermediate"."""
    gene = document.genes.get(symbol)
    if gene is None or (gene.diplotype is None and gene.clinical is None):
        return f"{symbol} not known"
    called = words.diplotype(gene.diplotype) if gene.clinical is not None else alleles(gene.diplotype)
    if gene.clinical is not None and len(called) > _LONG:
        return f"{symbol} {words.phenotype(gene.clinical)}"
    shown = "" if gene.clinical is None else words.phenotype(gene.clinical).removesuffix(" metaboliser")
    return " ".join(filter(None, (symbol, called, shown)))


def state_reason(symbol: GeneSymbol, call: GeneCall | None) -> str:
    """Why a gene has no result."""
    if call is None or not call.findings:
        return "no result was given"
    text = call.findings[-1]
    return text.removeprefix(f"{symbol} is not called: ").removeprefix(f"{symbol}: ")
