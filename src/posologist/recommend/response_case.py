"""What the documents of a dose for a response share: sentences with their evidence, ranked regimens, what binds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.drug import Drug
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.regimen import Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import BindingConstraint, RankedRegimen
from posologist.core.values import Because, Estimate, EvidenceKey, rounded
from posologist.knowledge.effects import EffectModel
from posologist.knowledge.models import PkModel
from posologist.recommend.case import Case
from posologist.twin.exposure import share_estimate
from posologist.twin.goals import Goal
from posologist.twin.individual import Array
from posologist.twin.individual_dose import MOST_RANKED
from posologist.twin.offers import Asked as Tried
from posologist.twin.offers import Habit, Offers, absorbed
from posologist.twin.response import Reached, binding, ordered


@dataclass(frozen=True)
class Asked:
    """One drug, one patient, one target of a response, within these limits."""

    case: Case
    drug: Drug
    aim: Target
    limits: Limits

    @property
    def settings(self) -> Settings:
        """Settings of the case."""
        return self.case.settings

    def finding(self, severity: str, title: str, detail: str, because: Sequence[EvidenceKey]) -> Finding:
        """A finding about the drug."""
        key = self.case.ledger.add("derived", detail, because=because)
        return Finding.model_validate(
            {"severity": severity, "title": title, "detail": detail, "drugs": (str(self.drug.id),), "because": (key,)}
        )

    def assumed(self, text: str, because: Sequence[EvidenceKey] = ()) -> Reason:
        """An assumption that the document states."""
        return Reason(text=text, because=(self.case.ledger.add("assumption", text, because=because),))

    def open(self, what: str, why: str, would_need: str) -> NotChecked:
        """Something about the drug that was not checked."""
        return NotChecked(what=what, why=why, would_need=would_need, drugs=(str(self.drug.id),))

    def estimate(self, values: Array, unit: str, because: Because, value: float | None = None) -> Estimate:
        """Median (or `value`) of the possible patients with their central interval."""
        tail = (1.0 - self.settings.interval_level) / 2.0
        low, middle, high = (rounded(float(v)) for v in np.quantile(values, (tail, 0.5, 1.0 - tail)))
        shown = middle if value is None else rounded(value)
        return Estimate(
            value=shown, unit=unit, low=min(low, shown), high=max(high, shown), level=self.settings.interval_level,
            because=because,
        )  # fmt: skip

    def leaf(self, model: EffectModel | PkModel, status: str) -> EvidenceKey:
        """Evidence of a published model."""
        return self.case.ledger.add(
            "model", f"model {model.id}: {model.title}", source=str(model.about.source), version=model.about.version,
            status=status,  # type: ignore[arg-type]
        )  # fmt: skip

    def offered(self, model: PkModel) -> Offers:
        """Regimens that can be dispensed within the limits."""
        habit = Habit(24.0, 0.0)
        return absorbed(Tried(self.drug, self.limits, None, habit, route="oral", weight_kg=None), model)


def unverified_facts(models: Sequence[EffectModel | PkModel]) -> tuple[str, ...]:
    """What nobody has read in its source, by model."""
    said = []
    for model in models:
        open_facts = [p.name for p in model.parameters if p.status == "to verify"]
        open_facts += [f"residual error of {r.output}" for r in model.residual if r.status == "to verify"]
        if isinstance(model, EffectModel) and model.random and model.variability_status == "to verify":
            open_facts.append("variability between patients")
        if open_facts:
            said.append(f"{model.id}: {', '.join(open_facts)}")
    return tuple(said)


def held_against(asked: Asked, effect: EffectModel, because: Sequence[EvidenceKey]) -> tuple[Finding, ...]:
    """How the model's answers compare with real patients, where the file says it."""
    if not effect.held_against:
        return ()
    return (asked.finding("monitor", "Held against real patients", effect.held_against, because),)


def lowest_status(model: EffectModel | PkModel) -> str:
    """The weakest status among a model's parameters."""
    order = ("to verify", "secondary", "verified")
    return min((p.status for p in model.parameters), key=order.index, default="to verify")


@dataclass(frozen=True)
class Ranking:
    """Regimens as the document lists them; `shown` is the one to show a course of, the first or the nearest, if any."""

    regimens: tuple[RankedRegimen, ...]
    binding: BindingConstraint | None
    findings: tuple[Finding, ...]
    shown: Reached | None


def ranking(asked: Asked, rows: Sequence[Reached], name: str, unit: str, because: Because) -> Ranking:
    """The regimens that qualify, best first; where none does, what binds and the nearest regimen."""
    best = ordered(rows, asked.settings)
    listed = tuple(
        _ranked(asked, rank, row, name, unit, because) for rank, row in enumerate(best[:MOST_RANKED], start=1)
    )
    if best:
        return Ranking(listed, None, (), best[0])
    if not rows:
        what = f"no regimen of {asked.drug.name} that can be given is on file"
        return Ranking((), BindingConstraint(what=what, nearest_regimen=None), (), None)
    what, nearest = binding(rows, asked.settings)
    chances = f", {100 * float(nearest.hits.mean()):.0f} % of possible patients inside it" if nearest.known else ""
    if nearest.known and nearest.harm is not None:
        chances += f", {100 * float(nearest.harmed.mean()):.0f} % beyond the bound of harm"
    detail = (
        f"Nothing is ranked: {what}. The nearest regimen, {nearest.offer.text}, brings the middle patient to "
        f"{nearest.middle:.3g}{chances}."
    )
    finding = asked.finding("serious", "No regimen qualifies", detail, because)
    return Ranking((), BindingConstraint(what=what, nearest_regimen=nearest.offer.text), (finding,), nearest)


def unranked(why: str) -> Ranking:
    """No regimens, because the model does not hold for this patient."""
    return Ranking((), BindingConstraint(what=why, nearest_regimen=None), (), None)


def _ranked(asked: Asked, rank: int, row: Reached, name: str, unit: str, because: Because) -> RankedRegimen:
    level = asked.settings.interval_level
    return RankedRegimen(
        rank=rank,
        text=row.offer.text,
        target_attainment=share_estimate(row.hits, level=level, because=because) if row.known else None,
        toxic_probability=share_estimate(row.harmed, level=level, because=because)
        if row.known and row.harm is not None
        else None,
        exposure={name: asked.estimate(row.values, unit, because)},
    )


def goal_for(asked: Asked, unit: str) -> Goal:
    """The target as a goal in this unit; the bounds are in it already."""
    return Goal("level", asked.aim.low, asked.aim.high, unit=unit, text=asked.aim.text)
