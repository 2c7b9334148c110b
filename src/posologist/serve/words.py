"""The clinician's words for what a document holds, shared by the table and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posologist.core.genotype import ExpressedPhenotype
from posologist.core.recommendation import BannerFact, Finding, Option, RuledOut
from posologist.core.values import Estimate, Quantity
from posologist.serve.charts import interval, number

SEVERITY = {"contraindicated": "Contraindicated", "serious": "Serious", "monitor": "Monitor", "information": "Note"}
RULES = {
    "discouraged": "Something serious against it",
    "unverified": "Facts not verified",
    "duplicate": "Two drugs of one class",
    "interaction": "Interaction",
    "contraindication": "Contraindicated",
    "gene": "Genes",
    "renal": "Kidney function",
    "hepatic": "Liver function",
    "age": "Age",
    "pregnancy": "Pregnancy",
    "lactation": "Breastfeeding",
    "allergy": "Allergy",
    "qt": "QT interval",
    "preference": "Guideline preference",
    "caution": "Caution",
    "products": "No product fits the dose",
    "no effect on file": "No published effect on file",
}
NORMAL = frozenset({"Normal Metabolizer", "Normal Function"})
_PROBABILITY = "probability"
_UNITS = {"a": "years", "/min": "per minute", "1": "", "umol/L": "µmol/L", "ug/L": "µg/L", "{score}": ""}


def unit(text: str) -> str:
    """A unit as a person writes it: `mm[Hg]` is mmHg, `mL/min/1.73 m2` has its square."""
    if text in _UNITS:
        return _UNITS[text]
    plain = text.translate(str.maketrans("", "", "[]{}")).replace("_", " ")
    return plain.replace("1.73 m2", "1.73 m²").replace("1.73m2", "1.73 m²").replace("kg/m2", "kg/m²")


def quantity(fact: Quantity) -> str:
    """Value and unit; a probability in percent."""
    if fact.unit.startswith(_PROBABILITY):
        return f"{number(100 * fact.value)} %{unit(fact.unit.removeprefix(_PROBABILITY))}"
    return f"{number(fact.value)} {unit(fact.unit)}".rstrip()


def estimate(held: Estimate) -> str:
    """Value with its interval and unit; a probability in percent."""
    if held.unit.startswith(_PROBABILITY):
        scaled = {name: 100 * getattr(held, name) for name in ("value", "low", "high")}
        unit_text = f"%{held.unit.removeprefix(_PROBABILITY)}"
        return f"{interval(held.model_copy(update=scaled))} {unit_text}, {level(held)} interval"
    return f"{interval(held)} {unit(held.unit)}".rstrip() + f", {level(held)} interval"


def harm_words(risk: Estimate) -> str:
    """A weighted harm; a zero without an interval means that no harm carries a published weight."""
    return "not weighed" if risk.low == risk.high == 0 else number(risk.value)


def level(estimate: Estimate) -> str:
    """Probability of the interval in percent."""
    return f"{number(100 * estimate.level)} %"


def phenotype(text: str | None) -> str:
    """Phenotype in the clinician's words: "poor metaboliser"."""
    if text is None:
        return "not known"
    words = text.replace("Metabolizer", "metaboliser")
    words = words.replace("-", "−", 1) if words[:1] == "-" else words
    return " ".join(word.lower() if word[1:].islower() else word for word in words.split(" "))


def diplotype(text: str | None) -> str:
    """Diplotype; empty where the alleles are named by a long position, whose phenotype says the same in short."""
    return "" if text is None or text.startswith("rs") else text


def gene_state(gene: ExpressedPhenotype) -> str:
    """One of the states of knowing: normal, abnormal, not tested, not certain."""
    if gene.clinical is None:
        return "untested" if gene.evidence_state == "not called" else "uncertain"
    return "normal" if gene.clinical in NORMAL else "abnormal"


def gene_words(gene: ExpressedPhenotype) -> str:
    """What one gene says, e.g. "*4/*4 poor metaboliser"."""
    if gene.clinical is None:
        return "not tested" if gene.evidence_state == "not called" else f"{gene.evidence_state}: phenotype not certain"
    words = f"{diplotype(gene.diplotype)} {phenotype(gene.clinical)}".strip()
    if gene.genetic != gene.clinical:
        words += f" (by genes {phenotype(gene.genetic)}; {gene.reason})"
    return f"{words} ({gene.evidence_state})" if gene.evidence_state != "called" else words


def gene_short(gene: ExpressedPhenotype) -> str:
    """As `gene_words`, without the noun where nothing else is to be said: "*1/*17 rapid"."""
    words = gene_words(gene)
    plain = gene.clinical is not None and gene.genetic == gene.clinical
    return words.replace(" metaboliser", "").replace(" function", "") if plain else words


def banner_words(fact: BannerFact) -> str:
    """A fact of the banner with its unit, or that it is missing and what that hinders."""
    if fact.value is None:
        hinders = f" ({fact.prevents} not checked)" if fact.prevents else ""
        return f"{fact.label} {fact.text}{hinders}"
    words = f"{fact.label} {quantity(fact.value)}"
    return f"{words} of {fact.at}, old: check {fact.prevents}" if fact.stale else words


def sentence(text: str) -> str:
    """Text as a sentence: a capital first letter and a full stop."""
    words = text.strip()
    first = words[:1].upper() + words[1:]
    return first if not first or first[-1] in ".!?" else f"{first}."


def lower_first(text: str) -> str:
    """Text with a small first letter, where it is a word and no name such as eGFR, BP or HbA1c."""
    first = text.partition(" ")[0].rstrip(",.:;")
    return text[:1].lower() + text[1:] if first[1:].isalpha() and first[1:].islower() else text


def finding_words(finding: Finding) -> str:
    """A finding's title and detail as sentences."""
    return f"{sentence(finding.title)} {sentence(finding.detail)}".strip()


def rule_words(rule: str) -> str:
    """Heading of a group of what was ruled out."""
    return RULES.get(rule, rule.replace("_", " ").capitalize())


def by_rule(ruled_out: Iterable[RuledOut]) -> dict[str, list[RuledOut]]:
    """What was ruled out, grouped by rule in the order of first appearance."""
    groups: dict[str, list[RuledOut]] = {}
    for entry in ruled_out:
        groups.setdefault(entry.rule, []).append(entry)
    return groups


def rank_words(option: Option) -> str:
    """Rank with its tie mark."""
    return f"{number(option.rank)} tie" if option.ties_with else number(option.rank)


def listed(names: Sequence[str], most: int) -> str:
    """Names joined by commas, at most so many, with the count of the rest."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {number(rest)} more" if rest > 0 else "")
