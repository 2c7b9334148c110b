"""Finds what is wrong in the knowledge base beyond its schema: dangling names, impossible values, missing cases.

`check_knowledge` takes loaded knowledge; `check_folders` also turns a file that cannot be loaded into a problem.
An error makes a fact unusable or unsafe; a warning is something to look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from posologist.core.dosing import GenotypeDose
from posologist.core.drug import DoseRule, Drug, Fact, InfusionRule, KineticValue, LoadingRule, Product, WorkedCase
from posologist.core.errors import KnowledgeError
from posologist.core.indication import Indication, Score
from posologist.core.statement import Statement
from posologist.core.values import Value
from posologist.knowledge.contextual import load_contextual
from posologist.knowledge.dosing import dose_example_error
from posologist.knowledge.expression import Expression, expression
from posologist.knowledge.load import Combination, Knowledge, load_knowledge
from posologist.knowledge.statements import NOT_READABLE

DERIVED_FACTS = frozenset({
    "age", "sex", "black", "race_group", "weight", "height", "bmi", "bsa", "egfr", "crcl", "pregnant", "breastfeeding",
    "dialysis", "child_pugh", "qtc", "score2_10y",
})  # fmt: skip
"""Facts that the program derives beside laboratory values and scores (knowledge/derive.py)."""

PLAN_FACTS = frozenset({"dose_per_day", "route", "form", "indication", "starting"})
_EXPRESSIONS = ("when", "condition", "percent", "factor", "shift", "formula", "benefit", "valid")
_SOURCES = ("source", "spread_source")
_UNITS_PER_DOSE = (1, 2, 3, 4)
_ROLE = re.compile(
    r"((strong|moderate|weak) )?(CYP\w+|P-gp|BCRP|OATP[\w/]+|OAT[\w/]+|OCT[\w/]+|MAO|CES1|UGT\w*) (inhibitor|inducer)"
    r"|((sensitive|moderate|major|minor) )?(CYP\w+|P-gp|BCRP|OATP[\w/]+|OAT[\w/]+|OCT[\w/]+|MAO|CES1|UGT\w*) substrate"
)
_HALF_LIFE_FOLD = 3.0  # ln 2 V / CL against the half-life that is stated; beyond it the values do not belong together
_MADE = 1e-6
_LONGEST_INFUSION_H = 48.0  # a longer "shortest duration" is minutes in the place of hours; the longest on file is 46 h
_LEAST_INFUSION_H = 1.0 / 60.0
_RATE_UNITS = frozenset({"mg/min", "mg/h", "mg/kg/min", "mg/kg/h"})
_LOADING_UNITS = frozenset({"mg", "mg/kg"})


class Problem(Value):
    """One thing that is wrong: in which file, at which field, what it is, and how grave."""

    file: str
    where: str
    what: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.what}"


def check_folders(*extra: Path, inside: Path | None = None) -> tuple[Problem, ...]:
    """Problems of the package's knowledge with the folders in `extra`; a file that cannot be loaded is one.

    Parameters
    ----------
    inside
        Only problems of files in this folder are told, which is quicker.
    """
    try:
        knowledge = load_knowledge(*extra)
        load_contextual(knowledge)
    except KnowledgeError as error:
        advice = f"; {error.hint}" if error.hint else ""
        return (Problem(file=error.where, where="file", what=f"{error.message}{advice}"),)
    return check_knowledge(knowledge, inside=inside)


def check_knowledge(knowledge: Knowledge, *, inside: Path | None = None) -> tuple[Problem, ...]:
    """Problems of loaded knowledge (of the files in `inside` where given), the errors first, by file and field."""
    found = [*_names_given_twice(knowledge)]
    known = _Known(
        knowledge=knowledge,
        facts=DERIVED_FACTS | PLAN_FACTS | knowledge.codes.analytes.keys() | knowledge.scores.keys() | {NOT_READABLE},
        allergens=knowledge.allergies.keys() | {str(drug) for drug in knowledge.drugs},
    )
    for key, value in _everything(knowledge):
        if inside is not None and not knowledge.files.get(key, "").startswith(str(inside)):
            continue
        file = _short(knowledge, key)
        for where, what, severity in _problems_of(value, known):
            found.append(Problem(file=file, where=where, what=what, severity=severity))
    return tuple(sorted(set(found), key=lambda p: (p.severity, p.file, p.where, p.what)))


@dataclass(frozen=True)
class _Known:
    """The names that expressions and cases may use."""

    knowledge: Knowledge
    facts: AbstractSet[str]
    allergens: AbstractSet[str]


Found = tuple[str, str, Literal["error", "warning"]]


def _everything(knowledge: Knowledge) -> Iterator[tuple[str, BaseModel]]:
    for drug in knowledge.drugs.values():
        yield str(drug.id), drug
    for statement in knowledge.statements:
        yield statement.id, statement
    for indication in knowledge.indications.values():
        yield indication.id, indication
    for score in knowledge.scores.values():
        yield score.id, score
    for table in knowledge.dosing.values():
        yield table.id, table
    for group in knowledge.allergies.values():
        yield group.name, group
    for product in knowledge.combinations.values():
        yield product.brand, product


def _short(knowledge: Knowledge, key: str) -> str:
    path = knowledge.files.get(key, "")
    return path.removeprefix(f"{knowledge.folder}/") or key


def _problems_of(value: BaseModel, known: _Known) -> Iterator[Found]:
    yield from _references(value, known)
    if isinstance(value, Drug):
        yield from _drug_problems(value)
        yield from _case_problems(value, known)
    if isinstance(value, Combination):
        for drug in value.drugs:
            yield from _group_problems("drugs", (drug,), known)
    if isinstance(value, GenotypeDose):
        yield from _dosing_problems(value, known)
    if isinstance(value, Statement):
        yield from _group_problems("about", value.about, known)
        yield from _group_problems("other", value.other, known)
    if isinstance(value, Indication):
        yield from _indication_problems(value, known)


def _dosing_problems(table: GenotypeDose, known: _Known) -> Iterator[Found]:
    for drug in table.drugs:
        if drug not in known.knowledge.drugs:
            yield "drugs", f"no drug '{drug}' is on file, so that nothing is computed for it", "warning"
    for number, formula in enumerate(table.formulas):
        for example in formula.examples:
            error = dose_example_error(table, formula, example)
            if error is not None:
                yield f"formulas[{number}].examples", error, "error"
    rows = (*table.shares, *table.steps, *table.ranges, *table.usual)
    for low, high in ((row.low, row.high) for row in rows):  # type: ignore[attr-defined]
        if low is not None and high is not None and low > high:
            yield "low", f"{low:g} is above high {high:g}", "error"


# ------------------------------------------------------------------------------------------------ references


def _references(value: BaseModel, known: _Known) -> Iterator[Found]:
    own = _own_names(value)
    for where, part in _walk(value, ""):
        for name in _SOURCES:
            key = getattr(part, name, None)
            if isinstance(key, str) and key:
                yield from _citation(f"{where}{name}", key, getattr(part, "status", None), known)
        if isinstance(part, Score):
            continue  # a score's formula has its own names, checked where it is computed
        for name in _EXPRESSIONS:
            text = getattr(part, name, None)
            if isinstance(text, str) and text and name in type(part).model_fields:
                if name == "when" and "what" in type(part).model_fields:
                    continue  # the words of a monitoring rule
                yield from _expression(f"{where}{name}", text, own, known)


def _walk(value: BaseModel, where: str) -> Iterator[tuple[str, BaseModel]]:
    yield where, value
    for name in type(value).model_fields:
        inside = getattr(value, name)
        if isinstance(inside, BaseModel):
            yield from _walk(inside, f"{where}{name}.")
        elif isinstance(inside, tuple):
            for number, item in enumerate(inside):
                if isinstance(item, BaseModel):
                    yield from _walk(item, f"{where}{name}[{number}].")
        elif isinstance(inside, dict):
            for key, item in inside.items():
                if isinstance(item, BaseModel):
                    yield from _walk(item, f"{where}{name}.{key}.")


def _citation(where: str, key: str, status: str | None, known: _Known) -> Iterator[Found]:
    citation = known.knowledge.citations.get(key)  # type: ignore[call-overload]
    if citation is None:
        yield (
            where,
            f"citation '{key}' is not in citations.toml; add it there or in [[citations]] of this file",
            "error",
        )
    elif citation.kind == "memory" and status not in ("to verify", None):
        yield where, f"a recalled fact cannot be '{status}'; its status is 'to verify'", "error"
    elif citation.kind == "machine" and status not in ("to verify", None):
        yield where, f"a page that a language model wrote verifies nothing: not '{status}' but 'to verify'", "error"
    elif citation.kind in ("review", "handbook", "label quote") and status == "verified":
        yield where, "a page that restates a source is 'secondary', not 'verified'", "warning"


def _own_names(value: BaseModel) -> frozenset[str]:
    if isinstance(value, Indication):
        changes = {f"delta_{measure.key}" for measure in value.measures}
        return frozenset({"baseline", *changes, *(constant.name for constant in value.constants)})
    if isinstance(value, GenotypeDose):
        counted = {name for count in value.counts for name in (count.name, count.looked_for)}
        return frozenset({"usual", "usual_unit", *counted, *(term.name for term in value.terms)})
    return frozenset()


def _expression(where: str, text: str, own: frozenset[str], known: _Known) -> Iterator[Found]:
    try:
        parsed: Expression = expression(text)
    except KnowledgeError as error:
        yield where, f"{error.message}; see docs/template-drug.toml for the language", "error"
        return
    for name in sorted(parsed.names - known.facts - own):
        yield where, f"no patient has a fact '{name}'; use a laboratory key, a score or a derived fact", "error"
    for function, arguments in sorted(parsed.queries, key=str):
        yield from _query(where, function, str(arguments[0]), known)


def _query(where: str, function: str, name: str, known: _Known) -> Iterator[Found]:
    if function == "dx" and name not in known.knowledge.codes.conditions:
        yield where, f"condition '{name}' is not in conditions.toml", "error"
    if function in ("on", "recent", "taken"):
        yield from _group_problems(where, (name,), known)
    if function == "allergy" and name.partition(":")[0] not in known.allergens:  # "group:reaction" asks for both
        yield where, f"'{name}' is neither an allergy group nor a drug", "error"


def _group_problems(where: str, groups: Iterable[str], known: _Known) -> Iterator[Found]:
    for group in groups:
        if group not in known.knowledge.groups and not _ROLE.fullmatch(group):
            yield where, f"group '{group}' reaches no drug and is not in classes.toml", "error"


def _names_given_twice(knowledge: Knowledge) -> Iterator[Problem]:
    for key in knowledge.repeated_citations:
        what = f"citation '{key}' is described in two ways; the first is used"
        yield Problem(file=_short(knowledge, key), where="citations", what=what, severity="warning")
    owners: dict[str, str] = {}
    for drug in knowledge.drugs.values():
        for name in {drug.name, *drug.synonyms, *drug.brands, *drug.misspellings}:
            other = owners.setdefault(name.lower(), str(drug.id))
            if other != drug.id:
                what = f"'{name}' is also a name of {other}"
                yield Problem(file=_short(knowledge, str(drug.id)), where="names", what=what, severity="warning")


# ----------------------------------------------------------------------------------------------- impossible values


def _drug_problems(drug: Drug) -> Iterator[Found]:
    for number, product in enumerate(drug.products):
        yield from _product(f"products[{number}]", product)
    for number, rule in enumerate(drug.doses):
        yield from _dose(f"doses[{number}]", rule)
        yield from _dispensable(f"doses[{number}]", rule, drug)
    for number, infusion in enumerate(drug.infusion):
        yield from _infusion(f"infusion[{number}]", infusion)
    for number, loading in enumerate(drug.loading):
        yield from _loading(f"loading[{number}]", loading)
    if drug.infusion and not any(product.route in ("iv", "intravenous") for product in drug.products):
        yield "infusion", "no product for a vein is on file: no dose of it can be made", "warning"
    yield from _limits(drug)
    yield from _kinetics(drug)
    for number, window in enumerate(drug.window):
        yield from _ordered(f"window[{number}]", window.low, window.high, window.toxic_above)
    for number, effect in enumerate(drug.adverse):
        for name in ("percent", "placebo_percent", "low", "high"):
            value = getattr(effect, name)
            if value is not None and not 0 <= value <= 100:
                yield f"adverse[{number}].{name}", f"{value:g} percent of patients is not possible", "error"
    if drug.depth == "rankable" and not drug.cases:
        yield "cases", "a drug that may be recommended needs a worked case with its answer from a label", "error"


def _product(where: str, product: Product) -> Iterator[Found]:
    if not product.strengths:
        yield where, "a product needs at least one strength", "error"
    if any(strength <= 0 for strength in product.strengths):
        yield where, "a strength must be above 0", "error"
    if list(product.strengths) != sorted(set(product.strengths)):
        yield where, "strengths must rise, each once", "error"


def _dose(where: str, rule: DoseRule) -> Iterator[Found]:
    for name in ("start", "usual_low", "usual_high", "max", "loading"):
        value = getattr(rule, name)
        if value is not None and value <= 0:
            yield f"{where}.{name}", f"a dose of {value:g} {rule.unit} is not possible", "error"
    yield from _ordered(where, rule.start, rule.max, names=("start", "max"))
    yield from _ordered(where, rule.usual_low, rule.usual_high, rule.max, names=("usual_low", "usual_high", "max"))
    if rule.start is not None and rule.usual_high is not None and rule.start > rule.usual_high:
        yield f"{where}.start", f"start {rule.start:g} is above the usual range to {rule.usual_high:g}", "error"
    if not rule.doses_per_day or any(not 1 <= count <= 24 for count in rule.doses_per_day):
        yield f"{where}.doses_per_day", "between 1 and 24 doses a day", "error"


def _infusion(where: str, rule: InfusionRule) -> Iterator[Found]:
    if rule.min_duration_h is None and rule.max_rate is None and not rule.continuous:
        yield where, "says neither a duration, nor a rate, nor that the infusion may be continuous", "error"
    if rule.min_duration_h is not None and rule.min_duration_h > _LONGEST_INFUSION_H:
        yield f"{where}.min_duration_h", f"{rule.min_duration_h:g} h at least is too long; minutes?", "error"
    if rule.min_duration_h is not None and 0 < rule.min_duration_h < _LEAST_INFUSION_H:
        yield f"{where}.min_duration_h", f"{rule.min_duration_h:g} h is less than a minute; 0 is a bolus", "error"
    if (rule.max_rate is None) != (not rule.rate_unit):
        yield f"{where}.max_rate", "a rate and its unit go together", "error"
    if rule.rate_unit and rule.rate_unit not in _RATE_UNITS:
        yield f"{where}.rate_unit", f"'{rule.rate_unit}' is not one of {', '.join(sorted(_RATE_UNITS))}", "error"


def _loading(where: str, rule: LoadingRule) -> Iterator[Found]:
    yield from _ordered(where, rule.low, rule.high, names=("low", "high"))
    if rule.unit not in _LOADING_UNITS:
        yield f"{where}.unit", f"'{rule.unit}' is not one of {', '.join(sorted(_LOADING_UNITS))}", "error"
    if rule.unit == "mg":
        yield from _ordered(where, rule.high, rule.max, names=("high", "max"))
    if (rule.doses > 1) != (rule.interval_h is not None):
        yield f"{where}.interval_h", "several doses have an interval, and one has none", "error"


def _ordered(
    where: str, *values: float | None, names: tuple[str, ...] = ("low", "high", "toxic_above")
) -> Iterator[Found]:
    known = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    for (lower, a), (upper, b) in pairwise(known):
        if a > b:
            yield f"{where}.{lower}", f"{lower} {a:g} is above {upper} {b:g}", "error"


def _dispensable(where: str, rule: DoseRule, drug: Drug) -> Iterator[Found]:
    if drug.depth != "rankable" or rule.when != "true":
        return
    unit = rule.unit.split("/")[0]
    if rule.unit not in (f"{unit}/day", f"{unit}/week"):
        return
    products = [p for p in drug.products if p.unit == unit and (not rule.release or p.release == rule.release)]
    if not products:
        return
    for name in ("start", "max"):
        value = getattr(rule, name)
        if value is not None and not can_be_made(value, rule.doses_per_day, products):
            yield f"{where}.{name}", f"{value:g} {rule.unit} cannot be made from the strengths held", "warning"


def can_be_made(amount: float, doses_per_day: Iterable[int], products: Iterable[Product]) -> bool:
    """Whether some product gives `amount` per day with up to four whole units (or a half of a scored one) a dose."""
    listed = tuple(products)
    for count in (count for count in doses_per_day if count > 0):
        for product in listed:
            shares = (*_UNITS_PER_DOSE, 0.5) if product.scored else _UNITS_PER_DOSE
            if any(abs(amount / count - strength * n) < _MADE for strength in product.strengths for n in shares):
                return True
    return False


def _limits(drug: Drug) -> Iterator[Found]:
    for section in ("renal", "hepatic", "age"):
        for number, rule in enumerate(getattr(drug, section)):
            where = f"{section}[{number}].value"
            if rule.value is not None and rule.value < 0:
                yield where, f"{rule.value:g} is below 0", "error"
            if rule.action == "percent" and rule.value is not None and not 0 < rule.value <= 100:
                yield where, f"{rule.value:g} percent of the usual dose is not a reduction", "error"
            if rule.action in ("cap", "start") and rule.value is None:
                yield where, f"'{rule.action}' needs a value", "error"
            tops = [
                d.max for d in drug.doses if d.unit == rule.unit and d.max and rule.indication in ("", d.indication)
            ]
            if rule.action in ("cap", "start") and rule.value is not None and tops and rule.value > max(tops):
                yield where, f"{rule.value:g} {rule.unit} is above the maximum of {max(tops):g}", "error"


def _kinetics(drug: Drug) -> Iterator[Found]:
    parameters = drug.kinetics.parameters
    for name, value in parameters.items():
        where = f"kinetics.parameters.{name}"
        for bound in ("value", "low", "high"):
            number = getattr(value, bound)
            if number is not None and (
                number < 0 or (number == 0 and name.startswith(("half_life", "clearance", "volume")))
            ):
                yield f"{where}.{bound}", f"{number:g} {value.unit} is not possible", "error"
            if number is not None and value.unit == "fraction" and number > 1:
                yield f"{where}.{bound}", f"a fraction of {number:g} is above 1", "error"
        yield from _ordered(where, value.low, value.high, names=("low", "high"))
    half_life, clearance, volume = (_middle(parameters.get(n)) for n in ("half_life", "clearance", "volume"))
    noted = any("do not combine" in note for note in drug.notes)
    if half_life and clearance and volume and not noted:
        derived = 0.693147 * volume / clearance
        fold = max(derived / half_life, half_life / derived)
        if fold > _HALF_LIFE_FOLD:
            what = f"half-life {half_life:g} h, but ln 2 V / CL is {derived:.2g} h; say 'do not combine' in notes"
            yield "kinetics.parameters.half_life", what, "warning"


def _middle(value: KineticValue | None) -> float | None:
    if value is None or value.value is not None:
        return None if value is None else value.value
    return None if value.low is None or value.high is None else (value.low + value.high) / 2


# --------------------------------------------------------------------------------------------- cases, indications

_LISTED = {"dx", "on", "allergy", "gene"}
_EXPECTED: dict[str, Callable[[Any], bool]] = {
    "start": lambda v: isinstance(v, int | float) and v > 0,
    "max": lambda v: isinstance(v, int | float) and v > 0,
    "contraindicated": lambda v: isinstance(v, bool),
    "avoid": lambda v: isinstance(v, bool),
}


def _case_problems(drug: Drug, known: _Known) -> Iterator[Found]:
    for number, case in enumerate(drug.cases):
        where = f"cases[{number}]"
        for name in sorted(case.given.keys() - known.facts - _LISTED):
            yield f"{where}.given", f"no patient has a fact '{name}'", "error"
        yield from _case_lists(where, case, known)
        for name, value in case.expect.items():
            if name not in _EXPECTED:
                yield f"{where}.expect", f"'{name}' cannot be expected; use {', '.join(_EXPECTED)}", "error"
            elif not _EXPECTED[name](value):
                yield f"{where}.expect.{name}", f"{value!r} is not an answer to '{name}'", "error"
        if case.status == "to verify":
            yield where, "the answer of a worked case must have been read in a source", "error"


def _case_lists(where: str, case: WorkedCase, known: _Known) -> Iterator[Found]:
    for name in ("dx", "on", "allergy"):
        listed = case.given.get(name, [])
        for item in listed if isinstance(listed, list) else [str(listed)]:
            yield from _query(f"{where}.given.{name}", name, item, known)


def _indication_problems(indication: Indication, known: _Known) -> Iterator[Found]:
    for number, rule in enumerate(indication.candidates):
        for function, arguments in expression(rule.when).queries:
            condition = known.knowledge.codes.conditions.get(str(arguments[0]))
            if function == "dx" and condition is not None and not condition.readable:
                what = f"no record code shows '{condition.code}': the rule is unknown for every patient"
                yield f"candidates[{number}].when", what, "warning"
    for where, part in _walk(indication, ""):
        for name in ("about", "first", "second"):
            groups = getattr(part, name, ())
            if isinstance(groups, tuple):
                yield from _group_problems(f"{where}{name}", groups, known)
    for number, harm in enumerate(indication.harms):
        if harm.event not in {weight.event for weight in indication.weights}:
            yield f"harms[{number}].event", f"'{harm.event}' has no weight, not even an empty one", "error"
    for number, rule in enumerate(indication.candidates):
        for group in rule.about:
            if group in known.knowledge.groups and not known.knowledge.members.get(group):
                yield f"candidates[{number}].about", f"group '{group}' has no drug", "warning"


def facts_by_status(knowledge: Knowledge) -> dict[str, int]:
    """How many facts of the drug files are verified, secondary, or to verify; screening lists are not counted."""
    counts = {"verified": 0, "secondary": 0, "to verify": 0}
    for drug in (drug for drug in knowledge.drugs.values() if drug.depth != "screening"):
        for _, part in _walk(drug, ""):
            if isinstance(part, Fact):
                counts[part.status] += 1
    return counts
