"""A table of `knowledge/data/dosing` evaluated for one patient: allele counts, terms, algorithms.

An algorithm may state what stands for an unknown genotype or race; then that term is used, and `replaced` tells it.
Any other unknown fact leaves the dose unknown, and `missing` names it. A diplotype that could be read in two ways
counts only where both readings agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from posologist.core.dosing import AlleleCount, DoseFormula, GenotypeDose, Term
from posologist.core.indication import ScoreExample
from posologist.core.values import GeneSymbol
from posologist.knowledge.expression import UNKNOWN, Match, Scalar, Subject, expression
from posologist.knowledge.scores import Given, ScoreResult, compute

GENE_QUERIES = frozenset({"gene", "activity", "allele", "indeterminate"})


class Diplotypes(Protocol):
    """What is known of a person's alleles."""

    def readings(self, gene: GeneSymbol) -> tuple[tuple[str, ...], ...]:
        """The equally probable diplotypes, each as its alleles; empty where the gene has none."""

    def looked_for(self, gene: GeneSymbol, alleles: Iterable[str]) -> bool | None:
        """Whether each of the alleles was found or excluded; None where nobody says."""


class DosingFacts:
    """Subject of a table's expressions: the patient, allele counts, terms, and what the caller adds."""

    def __init__(
        self,
        table: GenotypeDose,
        patient: Subject,
        diplotypes: Diplotypes,
        *,
        terms: Iterable[Term] = (),
        added: Mapping[str, Scalar] | None = None,
    ) -> None:
        self._patient = patient
        self._diplotypes = diplotypes
        self._counts = {count.name: count for count in table.counts}
        self._looked_for = {count.looked_for: count for count in table.counts if count.looked_for}
        self._terms = {term.name: term for term in (*table.terms, *terms)}
        self._added = dict(added or {})
        self.read: list[str] = []
        self.missing: list[str] = []
        self.genes: list[GeneSymbol] = []
        self.replaced: list[Term] = []

    def fact(self, name: str) -> Scalar:
        """A count, a term, an added fact or a fact of the patient, or UNKNOWN."""
        if name in self._terms:
            return self._term(self._terms[name])
        if name in self._counts:
            count = self._counts[name]
            value = self._count(count)
            if value is UNKNOWN and self._diplotypes.readings(count.gene):
                self.missing.append(f"outside({count.gene})")
                return value
            return self._noted(name, value, count.gene)
        if name in self._looked_for:
            count = self._looked_for[name]
            answer = self._diplotypes.looked_for(count.gene, count.alleles)
            return self._noted(name, bool(answer), count.gene)
        return self._noted(name, self._added[name] if name in self._added else self._patient.fact(name))

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """As the patient answers."""
        label = f"{function}({', '.join(map(str, arguments))})"
        gene = GeneSymbol(str(arguments[0])) if function in GENE_QUERIES else None
        return self._noted(label, self._patient.query(function, arguments), gene)

    def match(self, when: str) -> Match:
        """Three-valued truth of an expression, with the facts that were read and those that were missing."""
        truth = expression(when).match(self).truth
        return Match(truth, tuple(dict.fromkeys(self.read)), tuple(dict.fromkeys(self.missing)))

    def _noted(self, label: str, value: Scalar, gene: GeneSymbol | None = None) -> Scalar:
        if value is UNKNOWN:
            self.missing.append(label if gene is None else f"gene({gene})")
        else:
            self.read.append(label)
            self.genes.extend([] if gene is None else [gene])
        return value

    def _term(self, term: Term) -> Scalar:
        before = len(self.missing)
        value = expression(term.value).value(self)
        if value is UNKNOWN and term.otherwise is not None:
            del self.missing[before:]
            if term.text and term not in self.replaced:
                self.replaced.append(term)
            return term.otherwise
        return value

    def _count(self, count: AlleleCount) -> Scalar:
        readings = self._diplotypes.readings(count.gene)
        found = {
            UNKNOWN if count.known and set(alleles) - set(count.known) else sum(a in count.alleles for a in alleles)
            for alleles in readings
        }
        return found.pop() if len(found) == 1 else UNKNOWN


class FormulaResult(NamedTuple):
    """An algorithm's dose in its unit (None: not computed) and the facts behind it."""

    value: float | None
    valid: bool | None
    facts: DosingFacts


def formula_dose(table: GenotypeDose, formula: DoseFormula, patient: Subject, diplotypes: Diplotypes) -> FormulaResult:
    """Dose of one algorithm for a patient; None where a fact is missing, or the arithmetic comes to nought."""
    facts = DosingFacts(table, patient, diplotypes, terms=formula.terms)
    result: ScoreResult = compute(formula, facts)
    computed = result.value is not None and result.valid is True and float(result.value) > 0
    return FormulaResult(float(result.value) if computed else None, result.valid, facts)


def formula_in_use(
    table: GenotypeDose, values: Mapping[str, float | None], patient: Subject, diplotypes: Diplotypes
) -> str | None:
    """Id of the first algorithm with a dose whose `use` holds; `use` may compare doses by the ids in `values`."""
    doses = {name: UNKNOWN if value is None else value for name, value in values.items()}
    for formula in table.formulas:
        facts = DosingFacts(table, patient, diplotypes, terms=formula.terms, added=doses)
        if values.get(formula.id) is not None and facts.match(formula.use).truth is True:
            return formula.id
    return None


class GivenDiplotypes:
    """Diplotypes as a worked example prints them: a gene's name among the given facts."""

    def __init__(self, given: Mapping[str, Scalar]) -> None:
        self._given = given

    def readings(self, gene: GeneSymbol) -> tuple[tuple[str, ...], ...]:
        """The one diplotype that is given."""
        stated = self._given.get(str(gene))
        return () if stated is None else (tuple(str(stated).split("/")),)

    def looked_for(self, gene: GeneSymbol, alleles: Iterable[str]) -> bool | None:
        """An example says nothing of alleles that it does not name."""
        return None


class AsGiven(Given):
    """Given facts, and no medicine beside those that are given."""

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """The given answer; a medicine that is not named is not taken."""
        answer = super().query(function, arguments)
        return False if answer is UNKNOWN and function == "on" else answer


def dose_example_error(table: GenotypeDose, formula: DoseFormula, example: ScoreExample) -> str | None:
    """What is wrong when a worked example is recomputed, or None where it agrees within its tolerance."""
    result = formula_dose(table, formula, AsGiven(example.given), GivenDiplotypes(example.given))
    if result.value is None:
        return f"{formula.id}: no value for {example.given}; missing {', '.join(result.facts.missing) or 'nothing'}"
    if abs(result.value - example.expect) > example.tolerance:
        return f"{formula.id}: {result.value:g} for {example.given}, published {example.expect:g}"
    return None
