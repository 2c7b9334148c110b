"""Statement x patient -> true, false or unknown, with the reasons.

The subject joins the situation, the phenotypes as expressed, and the plan under review. Unknown stays unknown:
no list, no fact; an unmapped condition, no answer; a gene not called, no phenotype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from posologist.core.evidence import Ledger
from posologist.core.genotype import PhenotypeProfile
from posologist.core.situation import Situation
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol
from posologist.knowledge.derive import condition_state
from posologist.knowledge.expression import UNKNOWN, Match, Scalar, expression
from posologist.knowledge.load import Knowledge

INDETERMINATE = "Indeterminate"
"""The phenotype of a result whose alleles name none: read as unknown by `gene`, asked for by `indeterminate`."""
_SEVERE_REACTIONS = ("angioedema", "anaphylaxis")


class PatientSubject:
    """The patient under a set of medicines, for one drug in question.

    Parameters
    ----------
    medicines
        What the patient takes apart from the drug in question: kept drugs and the plan's other drugs.
    just_stopped
        What the plan stops: recent() counts it as taken until now.
    plan_facts
        Facts of the plan: `dose_per_day`, `route`, `form`, `indication`.
    """

    def __init__(
        self,
        situation: Situation,
        profile: PhenotypeProfile,
        knowledge: Knowledge,
        *,
        medicines: Iterable[DrugId] = (),
        just_stopped: Iterable[DrugId] = (),
        plan_facts: Mapping[str, Scalar] | None = None,
        ledger: Ledger,
    ) -> None:
        self._situation = situation
        self._profile = profile
        self._knowledge = knowledge
        self._medicines = tuple(medicines)
        self._just_stopped = tuple(just_stopped)
        self._plan_facts = plan_facts or {}
        self._ledger = ledger
        self._groups: dict[str, DrugId] = {}
        for drug in self._medicines:
            for group in knowledge.groups_of(drug):
                self._groups.setdefault(group, drug)

    @property
    def profile(self) -> PhenotypeProfile:
        """Phenotypes as expressed under these medicines."""
        return self._profile

    def fact(self, name: str) -> Scalar:
        """A fact of the plan or of the patient, or UNKNOWN."""
        if name in self._plan_facts:
            return self._plan_facts[name]
        known = self._situation.facts.get(name)
        return UNKNOWN if known is None else known.value

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """Answer of one of the queries of an expression."""
        name = str(arguments[0])
        if function == "dx":
            return self._condition(name)
        if function == "on":
            return name in self._groups
        if function == "recent":
            return self._recently(name, float(arguments[1]))
        if function == "taken":
            return self._taken_longer(name, float(arguments[1]))
        if function == "allergy":
            return self._allergy(name)
        return self._gene(function, GeneSymbol(name), arguments)

    def _recently(self, group: str, hours: float) -> Scalar:
        """Taken now, stopped by the plan, or stopped within `hours`; unknown where the day of stopping is."""
        if group in self._groups or any(group in self._knowledge.groups_of(d) for d in self._just_stopped):
            return True
        ago = [s.hours_ago for s in self._situation.stopped if group in self._knowledge.groups_of(s.drug)]
        if any(h is not None and h <= hours for h in ago):
            return True
        return UNKNOWN if None in ago else False

    def _taken_longer(self, group: str, days: float) -> Scalar:
        """Taken now, and for more than `days`; unknown without a medication list or without the day of starting."""
        if not self._situation.medication_list_given:
            return UNKNOWN
        taken = [c for c in self._situation.current if group in self._knowledge.groups_of(c.drug)]
        if any(c.since is not None and (self._situation.as_of - c.since).days > days for c in taken):
            return True
        return UNKNOWN if any(c.since is None for c in taken) else False

    def _condition(self, code: str) -> Scalar:
        if code in self._situation.conditions:
            return True
        if code in self._knowledge.codes.conditions and self._knowledge.codes.conditions[code].readable:
            return condition_state(self._situation, code)
        return UNKNOWN

    def _allergy(self, group: str) -> Scalar:
        if group in self._situation.allergies:
            return True
        return False if self._situation.allergy_list_given else UNKNOWN

    def _gene(self, function: str, gene: GeneSymbol, arguments: tuple[Any, ...]) -> Scalar:
        if function == "allele":
            carried = self._profile.carries(gene, str(arguments[1]))
            return UNKNOWN if carried is None else carried
        expressed = self._profile.genes.get(gene)
        if expressed is None:
            return UNKNOWN
        if function == "indeterminate":
            return UNKNOWN if expressed.clinical is None else expressed.clinical == INDETERMINATE
        value = expressed.clinical if function == "gene" else expressed.clinical_score
        return UNKNOWN if value in (None, INDETERMINATE) else value

    def match(self, when: str) -> Match:
        """Three-valued truth of a profile for this patient."""
        return expression(when).match(self)

    def because(self, match: Match) -> tuple[EvidenceKey, ...]:
        """Evidence of what a match read, one key for each fact."""
        return tuple(dict.fromkeys(key for label in match.read for key in self._evidence(label)))

    def _evidence(self, label: str) -> tuple[EvidenceKey, ...]:
        function, _, rest = label.partition("(")
        arguments = rest.rstrip(")").split(", ")
        situation = self._situation
        if not rest:
            known = situation.facts.get(label)
            return () if known is None else (known.because,)
        if function == "dx":
            found = situation.conditions.get(arguments[0])
            return (found or self._absent(f"{arguments[0]} is not on the problem list"),)
        if function == "allergy":
            found = situation.allergies.get(arguments[0])
            return (found or self._absent(f"no allergy to {arguments[0]} is recorded"),)
        if function == "taken":
            taken = [c for c in situation.current if arguments[0] in self._knowledge.groups_of(c.drug)]
            none = f"no {arguments[0]} among the medicines taken now"
            return tuple(c.because for c in taken) or (self._absent(none),)
        if function in ("on", "recent"):
            return self._medicine_evidence(arguments[0])
        expressed = self._profile.genes.get(GeneSymbol(arguments[0]))
        return () if expressed is None else expressed.because

    def _medicine_evidence(self, group: str) -> tuple[EvidenceKey, ...]:
        drug = self._groups.get(group)
        taken = {c.drug: c.because for c in self._situation.current} | {
            s.drug: s.because for s in self._situation.stopped
        }
        if drug is not None:
            return (
                taken.get(drug)
                or self._ledger.add("derived", f"{drug} is part of the plan", because=self._order(drug)),
            )
        for stopped in self._situation.stopped:
            if group in self._knowledge.groups_of(stopped.drug):
                return (stopped.because,)
        return (self._absent(f"no {group} among the medicines"),)

    def _order(self, drug: DrugId) -> tuple[EvidenceKey, ...]:
        return (self._ledger.add("setting", f"plan under review starts {drug}", source="plan"),)

    def _absent(self, text: str) -> EvidenceKey:
        return self._ledger.add("patient", text, source=f"record of patient {self._situation.patient_id}")


def severe_allergy(situation: Situation, group: str) -> bool:
    """Whether the recorded reaction to a group was angioedema or anaphylaxis."""
    return any(f"{group}:{reaction}" in situation.allergies for reaction in _SEVERE_REACTIONS)
