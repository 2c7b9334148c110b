"""What every stage of one recommendation shares, and the values that pass between the stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar, cast

from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, PhenotypeProfile
from posologist.core.indication import Indication
from posologist.core.patient import Preference
from posologist.core.recommendation import NotChecked, RuledOut
from posologist.core.regimen import Limits, Regimen
from posologist.core.settings import Settings
from posologist.core.situation import Situation
from posologist.core.statement import Statement
from posologist.core.values import DrugId, Estimate, EvidenceKey
from posologist.genome.express import Genetic, expressed, genetic
from posologist.knowledge.derive import cited_leaf
from posologist.knowledge.expression import Scalar
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject
from posologist.twin.kinetics import KineticModel, MissingKinetics, kinetic_model
from posologist.twin.population import Prior, prior_of

T = TypeVar("T")
NARROW = "narrow therapeutic index"  # group of the drugs whose use needs a concentration window
LOCAL_FORMS = (
    "cream", "ointment", "gel", "lotion", "topical", "inhal", "inhaler", "dry powder", "nasal", "ophthalmic", "otic",
    "eye drop", "ear drop", "intrauterine", "vaginal", "shampoo", "patch for skin",
)  # fmt: skip
"""Words of a form or route by which a medicine acts locally; its weaker interactions are not raised."""


@dataclass(frozen=True)
class Case:
    """One patient, one indication, one set of facts and settings; `ledger` collects the evidence.

    A case may serve several questions, and several threads: what it remembers follows from it alone.
    """

    situation: Situation
    genome: GeneticProfile | None
    indication: Indication
    knowledge: Knowledge
    settings: Settings
    ledger: Ledger
    preferences: tuple[Preference, ...] = ()
    _profiles: dict[frozenset[DrugId], PhenotypeProfile] = field(default_factory=dict)
    _remembered: dict[object, Any] = field(default_factory=dict)

    def remember(self, name: object, make: Callable[[], T]) -> T:
        """Result of `make`, computed once for this case."""
        if name not in self._remembered:
            self._remembered[name] = make()
        return cast(T, self._remembered[name])

    def profile(self, medicines: tuple[DrugId, ...]) -> PhenotypeProfile:
        """Phenotypes as expressed under these medicines, cached by the inhibitors and inducers among them."""
        return self.remember(("profile", *medicines), lambda: self._profile(tuple(medicines)))

    def _profile(self, medicines: tuple[DrugId, ...]) -> PhenotypeProfile:
        drugs = [self.knowledge.drugs[d] for d in medicines if d in self.knowledge.drugs]
        acting = frozenset(d.id for d in drugs if self._acts(d.id))
        if acting not in self._profiles:
            taken = [self.knowledge.drugs[d] for d in sorted(acting)]
            made = expressed(
                self._genetic, taken, ledger=self.ledger, knowledge=self.knowledge, situation=self.situation
            )
            return self._profiles.setdefault(acting, made)  # one object for all threads: others go by its identity
        return self._profiles[acting]

    @property
    def _genetic(self) -> Genetic:
        return self.remember(
            "genetic", lambda: genetic(self.genome, ledger=self.ledger, folder=self.knowledge.gene_folders)
        )

    @property
    def patient(self) -> PatientSubject:
        """The patient under the present medicines, for rules that are not about one drug."""
        return self.remember("patient", lambda: self.subject(DrugId(""), self.present))

    def subject(
        self,
        drug: DrugId,
        medicines: Iterable[DrugId],
        stopped: Iterable[DrugId] = (),
        plan_facts: Mapping[str, Scalar] | None = None,
    ) -> PatientSubject:
        """The patient under `medicines`, for the drug in question, with what a plan has just stopped.

        The drug's own inhibition does not count against itself: guidance on it was made with it on board.
        """
        others, gone = tuple(m for m in medicines if m != drug), tuple(stopped)

        def build() -> PatientSubject:
            return PatientSubject(
                self.situation,
                self.profile(others),
                self.knowledge,
                medicines=others,
                just_stopped=gone,
                plan_facts={
                    "indication": self.indication.id,
                    "starting": drug not in self.present,
                    **(plan_facts or {}),
                },
                ledger=self.ledger,
            )

        told = tuple(sorted(plan_facts.items())) if plan_facts else ()
        return self.remember(("subject", drug, others, gone, told), build)

    def prior(
        self, drug: DrugId, medicines: tuple[DrugId, ...], *, route: str, release: str
    ) -> Prior | MissingKinetics:
        """What is expected of one drug beside `medicines`; one for all with the same inhibitors and inducers."""
        others, release = self.beside(drug, medicines), release or "immediate"

        def build() -> Prior | MissingKinetics:
            return prior_of(
                self.knowledge.drugs[drug],
                self.situation,
                self.profile(others),
                settings=self.settings,
                ledger=self.ledger,
                route=route,
                release=release,
                alongside=[self.knowledge.drugs[m] for m in others if m in self.knowledge.drugs],
                model=self._kinetics(drug, route, release),
            )

        return self.remember(("prior", drug, others, route, release), build)

    def _kinetics(self, drug: DrugId, route: str, release: str) -> KineticModel | MissingKinetics:
        """The kinetics of a drug's file, read once for all patients, with its evidence."""

        def build() -> tuple[KineticModel | MissingKinetics, Ledger]:
            own = Ledger()
            return kinetic_model(self.knowledge.drugs[drug], route=route, release=release, ledger=own), own

        model, evidence = self.knowledge.remember(("kinetics", drug, route, release), build)
        self.ledger.take(evidence)
        return model

    def beside(self, drug: DrugId, medicines: tuple[DrugId, ...]) -> tuple[DrugId, ...]:
        """Those of `medicines` that may change the exposure of a drug."""
        named = {role.auc_with.lower() for role in self.knowledge.drugs[drug].roles}
        return tuple(m for m in medicines if m != drug and (str(m) in named or self._acts(m)))

    def _acts(self, medicine: DrugId) -> bool:
        """Whether a medicine changes enzymes or carriers."""
        known = self.knowledge.drugs.get(medicine)
        return known is not None and any(role.role != "substrate" for role in known.roles)

    def for_indication(self, indication_id: str) -> Case:
        """The same patient asked about the dose of another use: of an indication's own rules, those on first doses."""
        served = self.knowledge.indications.get(indication_id)
        starts = () if served is None else tuple(p for p in served.preferences if p.action == "start")
        asked = self.indication.model_copy(update={"id": indication_id, "preferences": starts})
        return replace(self, indication=asked, _remembered={})

    @property
    def present(self) -> tuple[DrugId, ...]:
        """The drugs taken now."""
        return tuple(c.drug for c in self.situation.current)

    @property
    def local(self) -> frozenset[DrugId]:
        """Present drugs whose form acts where it is applied: inhaled, on skin, eye, nose, in the womb."""
        return self.remember(
            "local",
            lambda: frozenset(
                c.drug
                for c in self.situation.current
                if any(word in f"{c.route} {c.form} {c.text}".lower() for word in LOCAL_FORMS)
            ),
        )

    def knowledge_key(self, text: str, *, source: str, status: str) -> EvidenceKey:
        """Leaf for a cited fact, its source spelled out."""
        return cited_leaf(self.ledger, self.knowledge, text, source=source, status=status)


@dataclass(frozen=True)
class Proposal:
    """A plan before its doses: what to stop, keep and start. `raises`: a present drug whose dose goes up."""

    stop: tuple[DrugId, ...]
    keep: tuple[DrugId, ...]
    start: tuple[DrugId, ...]
    raises: tuple[DrugId, ...] = ()

    @property
    def drugs(self) -> tuple[DrugId, ...]:
        """What the patient takes under this plan."""
        return (*self.keep, *self.start)


@dataclass(frozen=True)
class Hit:
    """A statement that holds (or, in `truth` None, could not be decided) for a drug of the plan.

    `about` is the drug that the statement acts on: of an interacting pair, only its dose is narrowed.
    """

    statement: Statement
    drugs: tuple[DrugId, ...]
    truth: bool | None
    because: tuple[EvidenceKey, ...]
    missing: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    about: DrugId | None = None


@dataclass(frozen=True)
class Screened:
    """Outcome of screening one plan: what holds, what limits each started drug, which dose rule stayed open."""

    hits: tuple[Hit, ...] = ()
    limits: dict[DrugId, Limits] = field(default_factory=dict)
    blocks: tuple[RuledOut, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


class Triple(NamedTuple):
    """Value, low and high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """One additive part of the utility, per 1,000."""

    feature: str
    text: str
    value: float
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True)
class Worth:
    """Central benefit, risk and utility of a plan, per 1,000: enough to rank it."""

    benefit: float
    risk: float
    utility: float


@dataclass(frozen=True)
class Outcome:
    """Benefit, risk and utility with their intervals, and the parts they consist of.

    `learned` says, for each measure or harm that was moved, of whom this was learned; empty where nothing was.
    """

    benefit: Triple
    risk: Triple
    utility: Triple
    changes: dict[str, Triple]
    parts: tuple[Part, ...]
    benefit_because: tuple[EvidenceKey, ...]
    risk_because: tuple[EvidenceKey, ...]
    unweighted: tuple[str, ...] = ()
    learned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assessed:
    """A dosed plan with its worth; ready for the gate."""

    proposal: Proposal
    regimens: tuple[Regimen, ...]
    screened: Screened
    tier: int
    tier_reasons: tuple[EvidenceKey, ...]
    worth: Worth
    wishes: tuple[Part, ...] = ()
    therapeutic_index: Estimate | None = None
    toxic_probability: Estimate | None = None
