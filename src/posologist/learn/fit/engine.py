"""Fitting what is served: parts cross-fitted over whole patients, blended on the margin, calibrated, with intervals.

Everything comes from the rows that are given: an evaluation gives the training part of a fold and nothing else.
Imputing is fitted once on these rows. Each part is fitted without each fold in turn; on these cross-fitted margins the
weights, the calibration and the conformal scores rest (weights for a fold's own scores come from the other folds).
Then each part that keeps its weight is fitted on all rows. What `predict` answers comes from the written graph itself.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.core.manifest import Calibration, IntervalRule, Manifest, Preparation, Training
from posologist.core.version import VERSION
from posologist.learn.conformal import Grouping, Scores, by_bands, by_state, fitted, fitted_bands
from posologist.learn.coverage import fitted_coverage
from posologist.learn.features import Array, Encoder, Frame, Index, prepared
from posologist.learn.fit.blend import Blend, fitted_blend, fitted_calibration, shown
from posologist.learn.fit.model import FittedModel
from posologist.learn.fit.parts import Matrix, Task, fit_part, masks_of
from posologist.learn.fit.recipe import Interval, Part, Recipe
from posologist.learn.fit.save import UNSAVED, Facts, saved, with_facts
from posologist.learn.fit.spread import Spread, fitted_spread
from posologist.learn.predict import Answers, Served, linked

Kind = Literal["regression", "classification"]


@dataclass(frozen=True)
class FittedEngine:
    """A fitted model in its served form, with what it was fitted on.

    `crossed` is the margin of each training row by parts that did not see its patient.
    """

    served: Served
    model: FittedModel
    frame: Frame
    crossed: Array

    def predict(self, frame: Frame) -> Answers:
        """Answers for a frame, from the served graph."""
        return self.served.answers(frame)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each part in the standardised blend; those that were left out are not there."""
        held = self.served.manifest
        return {name: weight / self.model.scale for name, weight in zip(held.components, held.weights, strict=True)}

    def save(self, folder: Path, facts: Facts) -> Manifest:
        """Writes manifest and graph.

        Raises
        ------
        ModelError
            Unless the graph agrees with the fitted parts to 1e-5 on training rows, with values missing.
        """
        return saved(with_facts(self.served.manifest, facts), self.model, self.frame, folder)


def fit_engine(
    frame: Frame,
    target: Array,
    *,
    kind: Kind,
    group: npt.ArrayLike,
    recipe: Recipe,
    seed: int,
    weight: Array | None = None,
) -> FittedEngine:
    """The served model of one task.

    Parameters
    ----------
    frame
        Training rows; published formulas enter through the schema's `formulas`.
    target
        Outcome (n,) in the task's unit (0 or 1 for classification), known for every row.
    group
        Number of each row's patient; rows of one patient are never parted.
    weight
        Weights of the rows; None: all equal.

    Raises
    ------
    InputError
        If an outcome is not known, or lies outside the link's domain.
    """
    outcome = _outcome(np.asarray(target, dtype=np.float64), frame, kind, recipe)
    shift, scale = (0.0, 1.0) if kind == "classification" else (float(outcome.mean()), float(outcome.std()) or 1.0)
    preparation = prepared(frame, masks=recipe.masks)
    encoder = Encoder(frame.schema, preparation)
    task = Task(
        outcome=(outcome - shift) / scale,
        group=np.unique(np.asarray(group), return_inverse=True)[1].astype(np.int64),
        weight=np.ones(len(frame)) if weight is None else np.asarray(weight, dtype=np.float64),
        columns=encoder.columns,
        masks=masks_of(encoder),
        yes_no=kind == "classification",
        seed=seed,
    )
    matrix = encoder.matrix(frame.values)
    fold = folds_of(task.group, task.outcome, recipe.folds, seed)
    _check_folds(task, fold, f"task {frame.schema.task}")
    crossed = cross_fitted(recipe.parts, matrix, task, fold)
    kept = _kept(crossed, task, recipe)
    blend, margin = blended(crossed[:, kept], task, recipe, fold)
    spread = Spread() if task.yes_no else fitted_spread(recipe.interval, matrix, task, margin, fold)
    parts = tuple(fit_part(recipe.parts[k], matrix, _seeded(task, k)) for k in kept)
    model = FittedModel(encoder, parts, spread.extras, scale)
    margin = margin * scale + shift
    manifest = _manifest(frame, preparation, encoder, recipe, kind, seed).model_copy(
        update={
            "components": tuple(f"{recipe.parts[k].kind}-{k + 1}" for k in kept),
            "weights": tuple(map(float, blend.weights * scale)),
            "intercept": float(blend.intercept * scale + shift),
            "extra_outputs": tuple(extra.name for extra in spread.extras),
            "calibration": _calibration(margin, task, recipe),
            "interval": _interval(frame, outcome, margin, spread, scale, recipe, kind),
            "graph_digest": hashlib.sha256(model.graph()).hexdigest(),
        }
    )
    whole = Manifest.model_validate(manifest.model_dump(by_alias=True))
    return FittedEngine(Served(whole, model.graph()), model, frame, margin)


def _outcome(target: Array, frame: Frame, kind: Kind, recipe: Recipe) -> Array:
    """Outcome on the margin's scale (0 or 1 for classification)."""
    where = f"task {frame.schema.task}"
    if target.shape != (len(frame),) or not np.all(np.isfinite(target)):
        raise InputError("an outcome is not known", where=where, hint="give rows whose outcome is known")
    if (kind == "classification") != (recipe.link == "logit"):
        raise InputError(f"the link {recipe.link} is not of {kind}", where=where, hint="use logit for yes/no outcomes")
    if kind == "classification":
        if set(np.unique(target)) != {0.0, 1.0}:
            raise InputError(
                "a yes/no outcome needs both 0 and 1, and nothing else", where=where, hint="check the column"
            )
        return target
    if (recipe.link == "log" and np.any(target <= 0)) or (recipe.link == "sqrt" and np.any(target < 0)):
        raise InputError(f"an outcome has no {recipe.link}", where=where, hint="choose another link")
    return linked(target, recipe.link)


def folds_of(group: Index, outcome: Array, folds: int, seed: int) -> Index:
    """Fold of each row: whole patients, dealt out in turn in the order of their (mean) outcome, ties shuffled."""
    people = int(group.max()) + 1
    mean = np.bincount(group, weights=outcome, minlength=people) / np.maximum(np.bincount(group, minlength=people), 1)
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(people)
    order = shuffled[np.argsort(mean[shuffled], kind="stable")]
    fold = np.empty(people, dtype=np.int64)
    rng = np.random.Generator(np.random.PCG64(seed + 1))
    for start in range(0, people, folds):
        chosen = order[start : start + folds]
        fold[chosen] = rng.permutation(folds)[: len(chosen)]
    return np.asarray(fold[group])


def _check_folds(task: Task, fold: Index, where: str) -> None:
    """Refuses a yes/no outcome that some fold would leave with one answer only."""
    if task.yes_no and any(len(set(task.outcome[fold != k])) < 2 for k in np.unique(fold)):
        raise InputError("one of the two answers is too rare to be left out in turn", where=where, hint="add patients")


def cross_fitted(parts: Sequence[Part], matrix: Matrix, task: Task, fold: Index) -> Array:
    """Standardised margin of each row by each part, fitted without the row's fold, (n, parts)."""
    found = np.empty((len(matrix), len(parts)))
    for k in np.unique(fold):
        inside = fold == k
        others = task.take(~inside)
        for j, part in enumerate(parts):
            found[inside, j] = fit_part(part, matrix[~inside], _seeded(others, j)).margin(matrix[inside])
    return found


def _seeded(task: Task, number: int) -> Task:
    """A seed of its own for each part, so that the same part told twice is fitted twice."""
    return replace(task, seed=task.seed + number)


def _fitted_blend(crossed: Array, task: Task, recipe: Recipe) -> Blend:
    return fitted_blend(crossed, task.outcome, task.weight, yes_no=task.yes_no, loss=recipe.loss)


def _kept(crossed: Array, task: Task, recipe: Recipe) -> list[int]:
    """Parts that get at least the least share of all weight; the best one is always kept."""
    weights = _fitted_blend(crossed, task, recipe).weights
    share = weights / max(float(weights.sum()), 1e-12)
    first = {0} if recipe.cautious else set()
    return sorted({k for k in range(len(share)) if share[k] >= recipe.least} | {int(np.argmax(share))} | first)


def blended(crossed: Array, task: Task, recipe: Recipe, fold: Index) -> tuple[Blend, Array]:
    """The blend fitted on all rows, and each row's margin by weights of the other folds."""
    blend, margin = _plainly_blended(crossed, task, recipe, fold)
    if not recipe.cautious or crossed.shape[1] < 2:
        return blend, margin
    first, alone = _plainly_blended(crossed[:, :1], task, recipe, fold)
    share = shown(margin - alone, task.outcome - alone, task.weight, task.group)
    weights = share * blend.weights
    weights[0] += (1.0 - share) * first.weights[0]
    return Blend(share * blend.intercept + (1.0 - share) * first.intercept, weights), alone + share * (margin - alone)


def _plainly_blended(crossed: Array, task: Task, recipe: Recipe, fold: Index) -> tuple[Blend, Array]:
    margin = np.empty(len(crossed))
    for k in np.unique(fold):
        others = _fitted_blend(crossed[fold != k], task.take(fold != k), recipe)
        margin[fold == k] = others(crossed[fold == k])
    return _fitted_blend(crossed, task, recipe), margin


def _calibration(margin: Array, task: Task, recipe: Recipe) -> Calibration:
    if not task.yes_no:
        return Calibration(method="none")
    return fitted_calibration(margin, task.outcome, method=recipe.calibration)


def _interval(
    frame: Frame, outcome: Array, margin: Array, spread: Spread, scale: float, recipe: Recipe, kind: Kind
) -> IntervalRule:
    """Conformal rule from cross-fitted margins; a probability's interval stands in its calibration."""
    wanted = recipe.interval
    if kind == "classification":
        return IntervalRule(method="none", level=0.9)
    held = {name: values * scale for name, values in spread.crossed.items()}
    zero = np.zeros_like(margin)
    lower, upper = margin + held.get("lower", zero), margin + held.get("upper", zero)
    size = held.get("spread", zero + 1.0)
    rule = fitted(
        Scores.of(outcome, lower, upper, size), method=wanted.method, level=wanted.level,
        groupings=_groupings(frame, margin, wanted, recipe), group_level=wanted.asked_level,
    )  # fmt: skip
    if not wanted.truth_cuts:
        return rule
    cuts = linked(np.asarray(wanted.truth_cuts, dtype=np.float64), recipe.link).tolist()
    truth = fitted_bands(outcome, lower, upper, size, cuts=cuts, level=wanted.asked_level)
    return rule.model_copy(update={"truth": truth})


def _groupings(frame: Frame, margin: Array, wanted: Interval, recipe: Recipe) -> list[Grouping]:
    features = {feature.name: feature for feature in frame.schema.features}
    found = []
    for name in wanted.by_features:
        states = 2 if features[name].kind == "flag" else int(features[name].another) + 1
        found.append(by_state(name, frame.column(name), states))
    if wanted.by_bands:
        cuts = linked(np.asarray(wanted.by_bands, dtype=np.float64), recipe.link)
        found.append(by_bands(margin, tuple(map(float, cuts))))
    return found


def _manifest(
    frame: Frame, preparation: Preparation, encoder: Encoder, recipe: Recipe, kind: Kind, seed: int
) -> Manifest:
    """The manifest before anything was fitted to the outcome."""
    training = Training(
        data=UNSAVED.data, digest=UNSAVED.digest, licence=UNSAVED.licence, n=len(frame), seed=seed, label=UNSAVED.label
    )
    return Manifest(
        schema="posologist/model/1", task=frame.schema.task, name=UNSAVED.name, version=UNSAVED.version,
        outcome=UNSAVED.outcome, unit=UNSAVED.unit, kind=kind, training=training, features=frame.schema,
        features_digest=frame.schema.digest, preparation=preparation, link=recipe.link, components=(), weights=(),
        intercept=0.0, calibration=Calibration(method="none"), interval=IntervalRule(method="none"),
        coverage=fitted_coverage(encoder, frame, limit=recipe.abstain_beyond),
        typical=tuple(fill.fill for fill in preparation.fills), bounds=recipe.bounds, graph_digest="",
        recipe=recipe.model_dump(mode="json"), versions=_versions(),
    )  # fmt: skip


def _versions() -> dict[str, str]:
    held = {
        distribution: version(distribution) for distribution in ("numpy", "lightgbm", "torch", "onnx", "onnxruntime")
    }
    return {"posologist": VERSION, "python": platform.python_version(), **held}
