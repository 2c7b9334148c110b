"""What was read from the genome, and what it means under the present medicines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posologist.core.evidence import Evidence
from posologist.core.values import Because, GeneSymbol, Many, Value

EvidenceState = Literal["called", "partly called", "assumed reference", "not called"]
Probability = Annotated[float, Field(ge=0, le=1, json_schema_extra={"number": "probability"})]
ActivityScore = Annotated[float, Field(ge=0, json_schema_extra={"number": "score"})]


class DiplotypeCandidate(Value):
    """A diplotype that explains the calls."""

    diplotype: str
    probability: Probability
    phenotype: str | None
    activity_score: ActivityScore | None = None


class NotExcluded(Value):
    """An allele that the file could not exclude, with its population frequency where one is held.

    `changes_guidance`: whether it would change what guidance is looked up with (phenotype, activity score); None
    where that is not known, because the gene has no phenotypes or nothing was called.
    """

    allele: str
    frequency: Probability | None = None
    changes_guidance: bool | None = None


class GeneCall(Value):
    """Everything that is known of one gene of one sample."""

    called: bool
    diplotype: str | None
    candidates: Many[DiplotypeCandidate] = ()
    phenotype: str | None
    activity_score: ActivityScore | None = None
    phased: bool = False
    evidence_state: EvidenceState
    not_excluded: Many[NotExcluded] = ()
    missing_positions: Many[str] = ()
    lowest_function: Many[str] | None = None
    other_variants: dict[str, str] = Field(default={}, description="positions read that define no allele, by rsID")
    source: Literal["vcf", "outside call", "none"] = "none"
    findings: Many[str] = ()
    because: Because


class Versions(Value):
    """What produced a document."""

    posologist: str
    knowledge: str
    definitions: dict[str, str] = {}
    models: dict[str, str] = {}


class GeneticProfile(Value):
    """A sample's genes, as called (document `posologist/phenotype/1`)."""

    schema_: Literal["posologist/phenotype/1"] = Field(default="posologist/phenotype/1", alias="schema")
    sample: str
    build: str
    sex_from_genome: Literal["male", "female"] | None = None
    genes: dict[GeneSymbol, GeneCall]
    findings: Many[str] = ()
    evidence: dict[str, Evidence]
    versions: Versions


class ExpressedPhenotype(Value):
    """One gene's phenotype with and without the other medicines (phenoconversion)."""

    gene: GeneSymbol
    diplotype: str | None
    evidence_state: EvidenceState
    genetic: str | None
    clinical: str | None
    genetic_score: ActivityScore | None = None
    clinical_score: ActivityScore | None = None
    reason: str = ""
    because: Because


class PhenotypeProfile(Value):
    """Phenotypes as expressed under a set of medicines.

    `alleles` holds what each gene's call names; "?" stands for an allele that it does not name, "not *57:01" for one
    that it says is absent, and "maybe *2" for one that only some of its candidates have.
    """

    genes: dict[GeneSymbol, ExpressedPhenotype] = {}
    alleles: dict[GeneSymbol, Many[str]] = {}

    def carries(self, gene: GeneSymbol, allele: str) -> bool | None:
        """Whether the allele is there; None where the gene was not called, not in full, or not clearly."""
        named = self.alleles.get(gene)
        if named is None or f"maybe {allele}" in named:
            return None
        if allele in named:
            return True
        return None if "?" in named and f"not {allele}" not in named else False
