"""Kinetics of the simulated patients: what the twin expects of them, vectorised over patients.

The twin's prior of a drug file moves clearance by the share that leaves unchanged by the kidney and by one fold of the
genes or of an inhibitor; each is asked of the twin itself once, and put together here as the twin does.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.settings import Settings
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol
from posologist.genome.translate import Translation, from_score, translate
from posologist.knowledge.genes import load_gene
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.study.clinic import Clinic, Flags, Floats
from posologist.study.clinic_draw import DIPLOTYPES, crcl_of
from posologist.twin.kinetics import KineticModel, MissingKinetics, kinetic_model
from posologist.twin.population import NORMAL_CRCL, REDUCED_CRCL, SUBSTANTIAL_RENAL_SHARE, prior_of

DRUGS = tuple(
    DrugId(name)
    for name in (
        "hydrochlorothiazide", "chlorthalidone", "lisinopril", "enalapril", "losartan", "olmesartan", "amlodipine",
        "nifedipine", "metoprolol", "spironolactone",
    )
)  # fmt: skip
"""The treatments of the simulator, in the order of every array of treatments."""
_INHIBITOR = DrugId("paroxetine")
_CYP2D6 = GeneSymbol("CYP2D6")


class Genes(NamedTuple):
    """What the diplotypes give: activity scores as expressed under the medicines, and whether CYP3A5 is expressed."""

    cyp2d6_score: Floats
    cyp2c9_score: Floats
    cyp3a5_expresser: Flags


@cache
def knowledge() -> Knowledge:
    """The package's knowledge, read once."""
    return load_knowledge()


def genes_of(clinic: Clinic) -> Genes:
    """Scores of the patients, CYP2D6 as expressed under an inhibitor where one is taken."""
    untouched = _translations("CYP2D6")
    score = np.array([told.activity_score for told in untouched], dtype=np.float64)[clinic.cyp2d6]
    cyp2c9 = np.array([told.activity_score for told in _translations("CYP2C9")], dtype=np.float64)
    expressed = np.array([told.phenotype != "Poor Metabolizer" for told in _translations("CYP3A5")])
    return Genes(
        np.where(clinic.paroxetine, score * _strong_factor(), score),
        cyp2c9[clinic.cyp2c9], expressed[clinic.cyp3a5],
    )  # fmt: skip


def poor_cyp2d6(clinic: Clinic) -> Flags:
    """Who is a poor metaboliser of CYP2D6 as expressed."""
    gene = load_gene("CYP2D6")
    score = genes_of(clinic).cyp2d6_score
    poor = {value: from_score(gene, value).phenotype == "Poor Metabolizer" for value in np.unique(score).tolist()}
    return np.array([poor[value] for value in score.tolist()], dtype=np.bool_)


def folds(clinic: Clinic) -> Floats:
    """AUC of each patient over a typical adult's on the same dose, (n, drugs); NaN where the twin has no prior.

    The twin has none for weak kidneys where a drug's file does not say how much of it they clear.
    """
    crcl = np.minimum(crcl_of(clinic), NORMAL_CRCL)
    found = np.full((len(clinic), len(DRUGS)), np.nan)
    for j, drug in enumerate(DRUGS):
        unchanged = _unchanged(drug)
        if unchanged is not None:
            found[:, j] = 1.0 / (unchanged * crcl / NORMAL_CRCL + 1.0 - unchanged)
        if _unclear(drug):
            found[crcl < REDUCED_CRCL, j] = np.nan
    scores = genes_of(clinic).cyp2d6_score
    metoprolol = DRUGS.index(DrugId("metoprolol"))
    for score in np.unique(scores).tolist():
        for inhibited in (False, True):
            here = (scores == score) & (clinic.paroxetine == inhibited)
            if here.any():
                found[here, metoprolol] *= _gene_fold(score, inhibited)
    return found


def _translations(gene: str) -> tuple[Translation, ...]:
    held = load_gene(gene)
    return tuple(translate(held, one, two) for one, two in DIPLOTYPES[gene])


def _strong_factor() -> float:
    """Factor of the activity score under a strong inhibitor of CYP2D6."""
    told = load_gene("CYP2D6").phenoconversion
    assert told is not None  # the file has the convention
    rule = next(rule for rule in told.changes if rule.role == "inhibitor" and rule.strength == "strong")
    return float(rule.factor or 0.0)


@cache
def _unchanged(drug: DrugId) -> float | None:
    """Share of a drug that leaves unchanged by the kidney (0 where it is not known); None where there is no prior."""
    model = _model(drug)
    if isinstance(model, MissingKinetics):
        return None
    return 0.0 if model.renal.unchanged is None else model.renal.unchanged.value


@cache
def _unclear(drug: DrugId) -> bool:
    """Whether much of a drug is found in urine and its file does not say whether unchanged."""
    model = _model(drug)
    if isinstance(model, MissingKinetics) or model.renal.unchanged is not None or model.renal.state == "metabolites":
        return False
    return model.renal.share is not None and model.renal.share >= SUBSTANTIAL_RENAL_SHARE


@cache
def _model(drug: DrugId) -> KineticModel | MissingKinetics:
    return kinetic_model(knowledge().drugs[drug], route="oral", release="immediate", ledger=Ledger())


@cache
def _gene_fold(score: float, inhibited: bool) -> float:
    """Fold of the exposure to metoprolol at an activity score of CYP2D6, as the twin's prior applies it."""
    ledger = Ledger()
    told = from_score(load_gene("CYP2D6"), score)
    key = ledger.add("assumption", "simulated genotype", because=[EvidenceKey("simulated")])
    phenotype = ExpressedPhenotype(
        gene=_CYP2D6, diplotype=None, evidence_state="called", genetic=told.phenotype, clinical=told.phenotype,
        genetic_score=score, clinical_score=score, because=(key,),
    )  # fmt: skip
    held = knowledge()
    prior = prior_of(
        held.drugs[DrugId("metoprolol")], None, PhenotypeProfile(genes={_CYP2D6: phenotype}), settings=Settings(),
        ledger=ledger, alongside=[held.drugs[_INHIBITOR]] if inhibited else [],
    )  # fmt: skip
    assert not isinstance(prior, MissingKinetics)  # the file gives its clearance
    return prior.fold
