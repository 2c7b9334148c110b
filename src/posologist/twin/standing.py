"""What regimens are held against: target, toxic bound, therapeutic index, and whether the facts behind are verified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.errors import InputError
from posologist.core.recommendation import NotChecked
from posologist.core.regimen import Target
from posologist.core.values import Estimate
from posologist.knowledge.models import PkModel
from posologist.twin.exposure import comparable_window
from posologist.twin.goals import Goal, Shape, dose_reaching, goal_of
from posologist.twin.individual import Array
from posologist.twin.mixture import Exposures, Member
from posologist.twin.teller import Teller

_NOT_IN_PROPORTION = ("time_above",)  # measures that do not rise in proportion to a dose even in linear models


@dataclass(frozen=True)
class Standing:
    """Target and toxic bound in the first model's units, and what is open about them.

    `unverified` names facts behind the ranking that are not verified: sentences for the reader.
    """

    goal: Goal | None
    target: Target | None
    toxic: Goal | None
    open: tuple[NotChecked, ...]
    unverified: tuple[str, ...]


def standing_of(
    members: Sequence[Member], asked: Target | None, teller: Teller, *, mic: float | None = None
) -> Standing:
    """What the regimens of these models are held against; `mic` is the minimal inhibitory concentration (mg/L).

    Raises
    ------
    InputError
        If the target asked for is none of a concentration.
    """
    models = [member.model for member in members]
    goal, target, open_goal, goal_status = _goal(models, asked, teller, mic)
    toxic, open_toxic, toxic_status = _toxic(models, teller)
    unverified = [f"{model.id}: {text}" for model in models for text in _unverified(model)]
    unverified += [text for text in (goal_status, toxic_status) if text]
    return Standing(goal, target, toxic, (*open_goal, *open_toxic), tuple(unverified))


def _goal(
    models: Sequence[PkModel], asked: Target | None, teller: Teller, mic: float | None
) -> tuple[Goal | None, Target | None, tuple[NotChecked, ...], str]:
    """What is aimed at: as asked, else the models' first target that can be told, in the first model's units."""
    model = models[0]
    if asked is not None:
        free = next((row.unbound for held in models for row in held.targets if row.unbound is not None), None)
        found = goal_of(model, asked.measure, asked.low, asked.high, asked.unit, asked.text, mic=mic, unbound=free)
        if found is None and "mic" in asked.measure:
            need = "give --mic" if mic is None else "no free fraction is on file; use time_above_C with total levels"
            raise InputError(f"'{asked.measure}' cannot be told", where="--target", hint=need)
        if found is None:
            raise InputError(
                f"'{asked.measure}' is no target of a concentration",
                where="--target",
                hint="use auc24, average, trough, peak, level_12h or time_above_2 (the bound in the model's unit)",
            )
        return found, asked, (), ""
    for row in [row for held in models for row in held.targets]:
        found = goal_of(model, row.metric, row.low, row.high, row.unit, mic=mic, unbound=row.unbound)
        if found is not None:
            bounds = "-".join(f"{b:g}" for b in (row.low, row.high) if b is not None)
            at = f" at a MIC of {mic or 1.0:g} mg/L" if row.metric.lower().endswith("mic") else ""
            note = f": {row.note}" if row.note else ""
            text = f"{row.metric} {bounds} {row.unit}{at} (of the model file, {row.status}{note})"
            key = teller.ledger.add("knowledge", text, source=str(row.source), status=row.status)
            aim = Target(
                measure=found.metric, low=found.low, high=found.high, unit=found.unit, text=text, reasons=(str(key),)
            )
            return found, aim, (), f"target ({row.source})" if row.status == "to verify" else ""
    listed = ", ".join(row.metric for held in models for row in held.targets) or "none"
    name = teller.drug.name
    why = f"the model files' targets ({listed}) cannot be told"
    need = "a target with --target, or the MIC with --mic" if "MIC" in listed else "a target with --target"
    return None, None, (teller.open(f"target of {name}", why, need),), ""


def _toxic(models: Sequence[PkModel], teller: Teller) -> tuple[Goal | None, tuple[NotChecked, ...], str]:
    """The first toxic bound of a model file, else of the drug's window, in the first model's units."""
    model = models[0]
    for row in [row for held in models for row in held.toxicity]:
        found = goal_of(model, row.metric, row.low, row.high, row.unit)
        if found is not None and found.high is not None:
            return found, (), f"toxic bound ({row.source})" if row.status == "to verify" else ""
    window, why = comparable_window(teller.drug, teller.ledger)
    if window is not None and window.toxic_above is not None:
        found = goal_of(model, window.measure, None, window.toxic_above, window.unit)
        if found is not None:
            unverified = teller.ledger[window.because].status == "to verify"
            return found, (), "toxic bound (the drug's window)" if unverified else ""
    name = teller.drug.name
    reason = f"no model file has a toxic bound of a concentration, and the drug's file: {why or 'no toxic threshold'}"
    return None, (teller.open(f"probability of toxicity of {name}", reason, "a bound in the model file"),), ""


def _unverified(model: PkModel) -> list[str]:
    said = [
        ("parameters", {str(p.source) for p in model.parameters if p.status == "to verify"}),
        ("residual error", {str(r.source) for r in model.residual if r.status == "to verify"}),
        ("variability", {str(model.about.source)} if model.random and model.status == "to verify" else set()),
    ]
    return [f"{what} ({', '.join(sorted(sources))})" for what, sources in said if sources]


def is_verified(model: PkModel) -> bool:
    """Whether no parameter or error of the model waits for its source."""
    return not _unverified(model)


def therapeutic_index(
    exposures: Exposures, standing: Standing, shape: Shape, teller: Teller
) -> tuple[Estimate | None, NotChecked | None]:
    """Dose that reaches the toxic bound over the dose that reaches the lower bound of the target, in each patient.

    For measures that rise in proportion to the dose it is told for every possible patient; otherwise from the doses of
    the middle patient, without an interval.
    """
    goal, toxic = standing.goal, standing.toxic
    if goal is None or goal.low is None or toxic is None or toxic.high is None:
        why = (
            "no effective concentration is on file" if goal is None or goal.low is None else "no toxic bound is on file"
        )
        need = "an effective and a toxic concentration"
        return None, teller.open(f"therapeutic index of {teller.drug.name}", why, need)
    values = _index_by_patient(exposures, goal, toxic, shape)
    if values is None:
        need = "a dose that reaches both bounds"
        return None, teller.open(f"therapeutic index of {teller.drug.name}", "no dose reaches both bounds", need)
    return teller.estimate(values, "1"), None


def _index_by_patient(exposures: Exposures, goal: Goal, toxic: Goal, shape: Shape) -> Array | None:
    assert goal.low is not None
    assert toxic.high is not None
    metrics = (goal.metric, toxic.metric)
    if exposures.linear and not any(metric in _NOT_IN_PROPORTION for metric in metrics):
        curve = exposures.curve(shape, 1.0)
        return None if curve is None else np.asarray(toxic.high * curve.value(goal) / (goal.low * curve.value(toxic)))
    doses = [
        dose_reaching(lambda dose, aim=aim: exposures.middle(shape, dose, aim), bound, first=100.0)  # type: ignore[misc]
        for aim, bound in ((goal, goal.low), (toxic, toxic.high))
    ]
    if doses[0] is None or doses[1] is None or not math.isfinite(doses[0] * doses[1]):
        return None
    return np.array([doses[1] / doses[0]])
