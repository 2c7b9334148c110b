"""Methods for a yes/no outcome: plain models on the task's matrix, calibrated and cut inside the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from posologist.core.prediction import Schema
from posologist.learn.features import Encoder, Frame, prepared
from posologist.learn.predict import unlinked
from posologist.study.blocks import Array, Cohort, IntArray, Scored

if TYPE_CHECKING:
    from posologist.learn.fit.engine import FittedEngine
    from posologist.learn.fit.models import TunedClassifier
    from posologist.learn.fit.stack import StackClassifier

FrameOf = Callable[[Cohort], Frame]
"""The rows of a cohort under the task's schema; a function of a module, so that another process can be given it."""


class FitEngine(Protocol):
    """How a task's engine is fitted (learn/fit/<task>_engine.py)."""

    def __call__(self, frame: Frame, target: Array, *, group: IntArray, seed: int, quick: bool) -> FittedEngine: ...


@dataclass(frozen=True)
class Learned:
    """A plain model, tuned on inner folds, on the matrix that the engine reads too.

    `features` are those that it is given (none: all); the published formula is a column for none of them.
    """

    name: str
    model: Literal["linear", "tree", "svm", "forest", "lightgbm", "network"]
    frame: FrameOf
    features: tuple[str, ...] = ()

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        from posologist.learn.fit.models import margin_of, plain_model

        rows, target, group, unseen = _parted(self.frame, self.features, train, test)
        network = self.model == "network"
        model = (
            network_model(seed, quick) if network else plain_model(self.model, "classification", seed=seed, quick=quick)
        )
        model.fit(rows, target, groups=group)
        crossed = crossed_margin(model.estimator_, rows, target, group, seed=seed)
        return calibrated(crossed, target, margin_of(model, unseen))


@dataclass(frozen=True)
class Stacked:
    """The founding stack, or a wide one of plain models; its blend is fitted on margins that did not see the patient.

    Its cut is the training part's rate: of calibrated probabilities the one with the best balanced accuracy.
    """

    name: str
    stack: Literal["founding", "wide"]
    frame: FrameOf

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        from posologist.learn.fit.stack import founding_stack

        rows, target, group, unseen = _parted(self.frame, (), train, test)
        made = (
            founding_stack("classification", seed=seed, quick=quick)
            if self.stack == "founding"
            else wide_stack(seed, quick)
        )
        model = made.fit(rows, target, groups=group)
        probability = unlinked(model.margin(unseen), "logit")
        return Scored(value=probability, decision=probability >= target.mean())


@dataclass(frozen=True)
class Engine:
    """The served blend; its cut comes from margins that did not see the patient."""

    fit: FitEngine
    frame: FrameOf
    name: str = "engine"

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        fitted = self.fitted(train, seed=seed, quick=quick)
        answers = fitted.predict(self.frame(test))
        cut = balanced_cut(unlinked(fitted.crossed, "logit"), train.target[np.isfinite(train.target)])
        return Scored(
            value=answers.value,
            low=answers.low,
            high=answers.high,
            decision=answers.value >= cut,
            abstained=answers.abstained,
        )

    def fitted(self, train: Cohort, *, seed: int, quick: bool) -> FittedEngine:
        """The model of a training part, as it is served."""
        known = np.isfinite(train.target)
        rows = self.frame(train).take(known)
        return self.fit(rows, train.target[known], group=train.patient[known], seed=seed, quick=quick)


_NETWORKS = ({"hidden": (32, 32), "dropout": 0.3}, {"hidden": (64,), "dropout": 0.1})


def network_model(seed: int, quick: bool) -> TunedClassifier:
    """A small network, tuned between two shapes on three inner folds; `quick` takes the first untried."""
    from posologist.learn.fit.mlp import NetworkClassifier
    from posologist.learn.fit.models import TunedClassifier

    settings = _NETWORKS[:1] if quick else _NETWORKS
    network = NetworkClassifier(n_members=4, n_bins=6, patience=6, max_epochs=60)
    return TunedClassifier(network, settings, n_folds=3, random_state=seed)


def wide_stack(seed: int, quick: bool) -> StackClassifier:
    """Logistic regression, support vectors, forest, LightGBM and network; the first and fourth are tuned."""
    from posologist.learn.fit.models import plain_model
    from posologist.learn.fit.stack import StackClassifier

    tuned = {name: plain_model(name, "classification", seed=seed, quick=quick) for name in ("linear", "lightgbm")}
    plain = {name: plain_model(name, "classification", seed=seed, quick=True) for name in ("svm", "forest")}
    named = {**tuned, **plain, "network": network_model(seed, quick=True)}
    return StackClassifier(list(named.items()), random_state=seed)


def _parted(
    frame: FrameOf, features: tuple[str, ...], train: Cohort, test: Cohort
) -> tuple[Array, IntArray, IntArray, Array]:
    """Matrix, outcome and patient of the training rows whose outcome is known, and the matrix of the test rows."""
    rows, unseen = matrices(narrowed(frame(train), features), narrowed(frame(test), features))
    known = np.isfinite(train.target)
    return rows[known], train.target[known].astype(np.int64), train.patient[known], unseen


def narrowed(frame: Frame, features: tuple[str, ...]) -> Frame:
    """The frame with these features only (none named: all) and without published formulas."""
    kept = features or frame.schema.names
    places = [frame.schema.names.index(name) for name in kept]
    schema = Schema(
        task=frame.schema.task, version=frame.schema.version, features=tuple(frame.schema.features[j] for j in places)
    )
    return Frame(schema, frame.values[:, places])


def matrices(train: Frame, test: Frame) -> tuple[Array, Array]:
    """Both frames as matrices, imputed and scaled by what the training rows say."""
    encoder = Encoder(train.schema, prepared(train))
    return encoder.matrix(train.values).astype(np.float64), encoder.matrix(test.values).astype(np.float64)


def crossed_margin(estimator: Any, rows: Array, target: IntArray, group: IntArray, *, seed: int) -> Array:
    """Margin of each training row from an equal estimator that did not see its patient."""
    from sklearn.base import clone

    from posologist.learn.fit.folds import fold_of
    from posologist.learn.fit.models import margin_of

    fold = fold_of(group, target, n_folds=5, rng=np.random.RandomState(seed))
    found = np.empty(len(rows))
    for number in range(5):
        out = fold == number
        found[out] = margin_of(clone(estimator).fit(rows[~out], target[~out]), rows[out])
    return found


def calibrated(crossed: Array, target: Array | IntArray, unseen: Array) -> Scored:
    """Probabilities and decisions of unseen margins, by what margins of training rows came to."""
    from posologist.learn.fit.calibrate import fit_platt

    platt = fit_platt(crossed, target)
    probability = platt.probability(unseen)
    return Scored(value=probability, decision=probability >= balanced_cut(platt.probability(crossed), target))


def balanced_cut(score: Array, target: Array | IntArray) -> float:
    """The score from which "yes" has the best balanced accuracy on these rows."""
    order = np.argsort(-score, kind="stable")
    hits = target[order] == 1
    gain = np.cumsum(hits) / max(hits.sum(), 1) - np.cumsum(~hits) / max((~hits).sum(), 1)
    ends = np.r_[score[order][1:] != score[order][:-1], True]  # a cut falls between different scores
    best = int(np.argmax(np.where(ends, gain, -np.inf)))
    ranked = score[order]
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1.0
    return float(0.5 * (ranked[best] + below))
