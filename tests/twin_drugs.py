"""Drugs for tests of the twin: those that ship, and small ones made by hand."""

from datetime import date
from functools import cache

from posologist.core.drug import Drug, GeneEffect, Kinetics, KineticValue, Product, Role, Window
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.situation import CurrentDrug, KnownFact, Situation
from posologist.core.values import CitationKey, DrugId, GeneSymbol
from posologist.knowledge.load import load_knowledge

SOURCE = CitationKey("test")


_knowledge = cache(load_knowledge)


def shipped_drugs() -> dict[str, Drug]:
    """Every drug that ships with kinetics, by id."""
    return {str(drug.id): drug for drug in _knowledge().drugs.values() if drug.kinetics.parameters}


def shipped_drug(name: str) -> Drug:
    """One drug that ships."""
    return _knowledge().drugs[DrugId(name)]


def made_drug(
    name: str = "madeupril",
    *,
    roles: tuple[Role, ...] = (),
    gene_effects: tuple[GeneEffect, ...] = (),
    window: tuple[Window, ...] = (),
    products: tuple[Product, ...] = (),
    **parameters: float,
) -> Drug:
    """A drug whose kinetics are these values, as in `half_life=4.0`."""
    values = {key: KineticValue(value=value, source=SOURCE, status="verified") for key, value in parameters.items()}
    return Drug(
        id=DrugId(name), name=name, pharmacological_class="made", depth="known", roles=roles, products=products,
        gene_effects=gene_effects, window=window, kinetics=Kinetics(parameters=values),
    )  # fmt: skip


def patient(ledger: Ledger, *, on: tuple[str, ...] = (), **facts: float | bool | str) -> Situation:
    """A situation with these facts, as in `weight=80.0`, taking the drugs in `on`."""
    known = {
        name: KnownFact(value=value, because=ledger.add("patient", f"{name} {value}", source="record of patient p"))
        for name, value in facts.items()
    }
    taken = tuple(
        CurrentDrug(drug=DrugId(d), text=d, because=ledger.add("patient", f"takes {d}", source="record of patient p"))
        for d in on
    )
    return Situation(
        patient_id="p", as_of=date(2026, 1, 1), facts=known, conditions={}, current=taken,
        problem_list_given=True, medication_list_given=True, allergy_list_given=True,
    )  # fmt: skip


def phenotypes(ledger: Ledger, **genes: str | None) -> PhenotypeProfile:
    """A profile with these phenotypes, as in `CYP2D6="Poor Metabolizer"`."""
    return PhenotypeProfile(
        genes={
            GeneSymbol(gene): ExpressedPhenotype(
                gene=GeneSymbol(gene), diplotype=None, evidence_state="called", genetic=value, clinical=value,
                because=(ledger.add("patient", f"{gene} {value}", source="genome of patient p"),),
            )
            for gene, value in genes.items()
        }
    )  # fmt: skip
