"""Drug: what is known of one ingredient. One file per drug in `knowledge/data/drugs/`.

Every fact carries `source` (a key of `citations.toml`) and `status`. Doses are of the salt or base as the
label states them, as an amount per day in `unit` ("mg/day", "mcg/day", "mg/week", "mg/kg/day").
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.statement import Action
from posologist.core.values import CitationKey, DrugId, GeneSymbol, Many, Status, Value

Depth = Literal["rankable", "known", "screening"]
"""rankable: may be recommended. known: facts held, not enough to recommend. screening: recognised and checked only."""


class Fact(Value):
    """Base of a cited fact."""

    source: CitationKey
    status: Status
    note: str = ""


class Product(Fact):
    """One form with the strengths that can be dispensed (amount per unit of the form)."""

    form: str
    route: str = "oral"
    release: Literal["immediate", "extended"] = "immediate"
    strengths: Many[float]
    unit: str = "mg"
    salt: str = ""
    scored: bool = False


class DoseRule(Fact):
    """Start, usual range and maximum for one indication, as amount per day.

    `form` names the product form it holds for (empty: any). `when` restricts it to some patients; of the
    rules whose `when` is true the first in the file is used.
    """

    indication: str
    unit: str = "mg/day"
    start: float | None = None
    usual_low: float | None = None
    usual_high: float | None = None
    max: float | None = None
    doses_per_day: Many[int] = (1,)
    titrate_after_days: int | None = None
    form: str = ""
    release: Literal["", "immediate", "extended"] = ""
    loading: float | None = None
    when: str = "true"
    reads: str = Field(default="", description="how a dose that is not a plain daily amount is given")


class InfusionRule(Fact):
    """How a dose may run into a vein: its shortest duration and highest rate; every rule whose `when` holds applies.

    `rate_unit` is "mg/min", "mg/h", "mg/kg/min" or "mg/kg/h". `continuous`: the source describes an infusion without
    end (24 h a day).
    """

    min_duration_h: float | None = Field(default=None, ge=0)
    max_rate: float | None = Field(default=None, gt=0)
    rate_unit: str = ""
    continuous: bool = False
    when: str = "true"
    text: str = ""


class LoadingRule(Fact):
    """First doses larger than those that follow: `low` to `high` per dose in `unit` ("mg", "mg/kg"), `doses` of them.

    `max` is the most that one of them may be, in mg; `interval_h` lies between them where there are several.
    """

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    unit: str
    max: float | None = Field(default=None, gt=0)
    doses: int = Field(default=1, ge=1)
    interval_h: float | None = Field(default=None, gt=0)
    route: str = "iv"
    indication: str = ""
    when: str = "true"
    text: str = ""


class OrganRule(Fact):
    """Renal, hepatic, age or other adjustment. `when` is an expression; action None = not studied."""

    when: str
    action: Action | None
    value: float | None = None
    unit: str = ""
    indication: str = ""
    text: str = ""


class Contraindication(Fact):
    """`when` None: no record field can show it; it is listed as not checked."""

    code: str
    when: str | None
    level: Literal["absolute", "relative"]
    text: str
    indication: str = ""


class Role(Fact):
    """Part that the drug plays at an enzyme or transporter.

    strength: inhibitor or inducer strong | moderate | weak; substrate sensitive | moderate | major | minor.
    """

    enzyme: str
    role: Literal["substrate", "inhibitor", "inducer"]
    strength: str = ""
    auc_fold: float | None = Field(default=None, gt=0)
    auc_with: str = ""


class GeneEffect(Fact):
    """Observed change of exposure or effect in carriers of a phenotype, against normal metabolisers."""

    gene: GeneSymbol
    phenotype: str
    measure: str = "auc_fold"
    value: float | None = None
    text: str = ""


class KineticValue(Fact):
    """One pharmacokinetic parameter; `cv` is the between-patient coefficient of variation."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    cv: float | None = None


class Kinetics(Value):
    """Parameters of the ingredient as dosed (or of the active moiety, said in `moiety`)."""

    moiety: str = ""
    parameters: dict[str, KineticValue] = {}


class Window(Fact):
    """Therapeutic window of a concentration."""

    low: float | None = None
    high: float | None = None
    toxic_above: float | None = None
    unit: str = "mg/L"
    matrix: str = ""
    indication: str = ""


class AdverseEffect(Fact):
    """How often an effect was seen, and how often under placebo (percent of patients)."""

    event: str
    percent: float | None = None
    placebo_percent: float | None = None
    excess_percent: float | None = None
    low: float | None = None
    high: float | None = None
    population: str = ""
    serious: bool = False


class MonitoringRule(Fact):
    """What to measure, and when, in words and (where stated) in days after the start."""

    what: str
    when: str
    days: Many[int] = ()
    condition: str = "true"


class Efficacy(Fact):
    """An observed effect of the drug, as printed."""

    measure: str
    value: float | None = None
    unit: str = ""
    dose: str = ""
    text: str = ""


class Stopping(Fact):
    """How the drug is stopped. `steps` are percents of the present dose, one per `days_per_step` days."""

    abrupt_allowed: bool
    steps_percent: Many[float] = ()
    days_per_step: int | None = None
    text: str


class WorkedCase(Fact):
    """A published question about this drug and its answer, run by the tests.

    `given` sets facts by their expression name (age, sex, weight, crcl, egfr, potassium, ...; `dx`, `on`,
    `allergy` are lists, `gene` a table of phenotypes). `expect` holds one or more of: start, max
    (amount per day), contraindicated, avoid (booleans).
    """

    name: str
    indication: str = ""
    given: dict[str, float | int | bool | str | list[str] | dict[str, str]] = {}
    expect: dict[str, float | int | bool | str]


class Drug(Value):
    """All that is known of one ingredient."""

    id: DrugId
    name: str
    synonyms: Many[str] = ()
    brands: Many[str] = ()
    misspellings: Many[str] = ()
    rxcui: str = ""
    atc: str = ""
    pharmacological_class: str
    classes: Many[str] = ()
    allergy_groups: Many[str] = ()
    components: Many[DrugId] = ()
    depth: Depth
    products: Many[Product] = ()
    doses: Many[DoseRule] = ()
    infusion: Many[InfusionRule] = ()
    loading: Many[LoadingRule] = ()
    renal: Many[OrganRule] = ()
    hepatic: Many[OrganRule] = ()
    age: Many[OrganRule] = ()
    contraindications: Many[Contraindication] = ()
    boxed_warnings: Many[str] = ()
    pregnancy: OrganRule | None = None
    lactation: OrganRule | None = None
    roles: Many[Role] = ()
    gene_effects: Many[GeneEffect] = ()
    kinetics: Kinetics = Kinetics()
    window: Many[Window] = ()
    adverse: Many[AdverseEffect] = ()
    monitoring: Many[MonitoringRule] = ()
    efficacy: Many[Efficacy] = ()
    stopping: Stopping | None = None
    qt: Literal["known", "possible", "conditional", "none stated", ""] = ""
    cases: Many[WorkedCase] = ()
    notes: Many[str] = ()

    @property
    def groups(self) -> frozenset[str]:
        """Every name under which a Statement can reach this drug: id, classes, components, enzyme roles.

        Roles read "CYP3A4 inhibitor" and, with the strength, "strong CYP3A4 inhibitor"; substrates
        "CYP3A4 substrate" and "sensitive CYP3A4 substrate".
        """
        names = {str(self.id), *self.classes, *(str(part) for part in self.components)}
        for role in self.roles:
            names.add(f"{role.enzyme} {role.role}")
            if role.strength:
                names.add(f"{role.strength} {role.enzyme} {role.role}")
        return frozenset(names)
