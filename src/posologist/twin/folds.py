"""Observed folds of exposure that apply to a patient: of a phenotype, or of a medicine taken alongside.

At most one is applied. Each was observed alone, so they are never multiplied: the largest rise decides; without any
rise, the deepest fall. The others are named. A phenotype that the file has no fold for, or that is not known, leaves
the typical value, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from posologist.core.drug import Drug, GeneEffect, Role
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol, Status, Value
from posologist.twin.parameters import middle

_COMPARED_WITH_NORMAL = frozenset({"", "normal", "normal metabolizer", "extensive", "extensive metabolizer"})


class Fold(Value):
    """A fold of the AUC with its reason; `half_life` is the fold of the half-life where that was seen as well."""

    value: float
    half_life: float | None = None
    text: str
    because: EvidenceKey


class _Assume(Protocol):
    def __call__(self, text: str, *because: EvidenceKey) -> EvidenceKey: ...


class _Unanswered(Protocol):
    def __call__(self, what: str, why: str, would_need: str) -> None: ...


def decisive_fold(
    drug: Drug,
    profile: PhenotypeProfile | None,
    taken: Sequence[DrugId],
    alongside: Sequence[Drug] | None,
    *,
    ledger: Ledger,
    assume: _Assume,
    unanswered: _Unanswered,
) -> Fold | None:
    """The one fold that is applied, or None; what is left out or not known goes to `assume` and `unanswered`."""
    folds = [
        *_gene_folds(drug, profile, ledger, assume, unanswered),
        *_medicine_folds(drug, taken, alongside, ledger),
    ]
    if not folds:
        return None
    rises = [fold for fold in folds if fold.value > 1.0]
    chosen = max(rises, key=lambda f: f.value) if rises else min(folds, key=lambda f: f.value)
    others = [fold for fold in folds if fold is not chosen]
    if others:
        named = "; ".join(fold.text for fold in others)
        assume(
            f"Changes of exposure are not multiplied: {chosen.text} is used, not also {named}.",
            chosen.because,
            *(fold.because for fold in others),
        )
    return chosen


def _gene_folds(
    drug: Drug, profile: PhenotypeProfile | None, ledger: Ledger, assume: _Assume, unanswered: _Unanswered
) -> list[Fold]:
    rows = [row for row in drug.gene_effects if row.measure == "auc_fold" and row.value and _against_normal(row)]
    folds: list[Fold] = []
    for gene in dict.fromkeys(row.gene for row in rows):
        expressed = None if profile is None else profile.genes.get(gene)
        own = [row for row in rows if row.gene == gene]
        if expressed is None or expressed.clinical is None:
            _gene_unknown(drug, gene, own, ledger, assume, unanswered)
            continue
        matching = [row for row in own if _is_of(row, expressed)]
        folds.extend(_gene_fold(drug, row, expressed, ledger) for row in matching)
        if not matching and "normal" not in expressed.clinical.lower():
            assume(
                f"No change of exposure is on file for {drug.name} and {gene} {expressed.clinical}: "
                "the typical value is used.",
                *expressed.because,
            )
    return folds


def _gene_unknown(
    drug: Drug, gene: GeneSymbol, rows: Sequence[GeneEffect], ledger: Ledger, assume: _Assume, unanswered: _Unanswered
) -> None:
    worst = max(rows, key=lambda row: row.value or 0.0)
    known = f"exposure is {worst.value:g}-fold in {gene} {_subject(worst)}"
    assume(f"{gene} is not known: the typical value is used; {known}.", _cite(drug, worst, ledger))
    unanswered(f"exposure to {drug.name} by {gene}", f"{gene} was not called", f"a {gene} genotype ({known})")


def _gene_fold(drug: Drug, row: GeneEffect, expressed: ExpressedPhenotype, ledger: Ledger) -> Fold:
    half_life = _half_life_fold(drug, row, expressed)
    text = f"{row.value:g}-fold AUC of {drug.name} in {row.gene} {expressed.clinical}{_unverified(row.status)}"
    key = ledger.add("derived", text, because=(_cite(drug, row, ledger), *expressed.because))
    return Fold(value=float(row.value or 1.0), half_life=half_life, text=text, because=key)


def _half_life_fold(drug: Drug, row: GeneEffect, expressed: ExpressedPhenotype) -> float | None:
    """How the half-life changed: as printed for the phenotype, or from the half-life printed for poor metabolizers."""
    for other in drug.gene_effects:
        if other.measure == "half_life_fold" and other.gene == row.gene and other.value and _is_of(other, expressed):
            return other.value
    usual = drug.kinetics.parameters.get("half_life")
    poor = drug.kinetics.parameters.get("half_life_poor_metabolizer")
    if usual is None or poor is None or _subject(row) != "poor metabolizer":
        return None
    of_usual, of_poor = middle(usual), middle(poor)
    return None if of_usual is None or of_poor is None else of_poor / of_usual


def _cite(drug: Drug, row: GeneEffect, ledger: Ledger) -> EvidenceKey:
    text = f"{drug.name}: {row.gene} {row.phenotype}, {row.measure.replace('_', ' ')} {row.value:g}"
    return ledger.add("knowledge", text, source=str(row.source), status=row.status)


def _words(text: str) -> str:
    return text.lower().replace("metaboliser", "metabolizer").split("(")[0].strip()


def _sides(row: GeneEffect) -> tuple[str, str]:
    subject, _, comparator = _words(row.phenotype).replace(" vs ", " v ").partition(" v ")
    return subject.strip(), comparator.strip()


def _subject(row: GeneEffect) -> str:
    return _sides(row)[0]


def _against_normal(row: GeneEffect) -> bool:
    return _sides(row)[1] in _COMPARED_WITH_NORMAL


def _is_of(row: GeneEffect, expressed: ExpressedPhenotype) -> bool:
    """Whether a row is of this phenotype, or of this diplotype while no medicine changes what it means."""
    subject = _subject(row)
    if subject.startswith("*"):
        return subject == expressed.diplotype and expressed.clinical == expressed.genetic
    return expressed.clinical is not None and subject == _words(expressed.clinical)


def _medicine_folds(
    drug: Drug, taken: Sequence[DrugId], alongside: Sequence[Drug] | None, ledger: Ledger
) -> list[Fold]:
    names = {str(other.id) for other in alongside} if alongside is not None else {str(other) for other in taken}
    folds = [
        _pair_fold(drug, role, role.auc_with, ledger)
        for role in drug.roles
        if role.role == "substrate" and role.auc_fold and role.auc_with.lower() in names
    ]
    for other in alongside or ():
        folds.extend(
            _pair_fold(drug, role, other.name, ledger)
            for role in other.roles
            if role.role != "substrate" and role.auc_fold and role.auc_with.lower() in (str(drug.id), drug.name.lower())
        )
    return folds


def _pair_fold(drug: Drug, role: Role, other: str, ledger: Ledger) -> Fold:
    text = f"{role.auc_fold:g}-fold AUC of {drug.name} with {other} ({role.enzyme}){_unverified(role.status)}"
    key = ledger.add("knowledge", text, source=str(role.source), status=role.status)
    return Fold(value=float(role.auc_fold or 1.0), text=text, because=key)


def _unverified(status: Status) -> str:
    return " (still to be verified)" if status == "to verify" else ""
