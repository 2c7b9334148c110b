"""One trial of the hypertension study: training patients, new patients, and what each method chose for these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.study import hypertension_methods as methods
from posologist.study.blocks import sub_seed
from posologist.study.clinic import Flags, Floats
from posologist.study.hypertension_methods import Engine, Given, Method
from posologist.study.simulator import Dials, World, bayes, reference, world
from posologist.study.simulator_data import GENOME, KINETICS, periods
from posologist.study.simulator_gate import gate

SINGLE, BAYES, ORACLE, ENGINE = "best single drug", "Bayes rule", "oracle", "engine"
METHODS: Mapping[str, Method] = {
    SINGLE: methods.best_single,
    "guideline rule": methods.guideline,
    "published effects": methods.published,
    "LR": methods.logistic,
    "LightGBM": methods.lightgbm,
    "MLP": methods.network,
    "founding stack": methods.founding,
    "factorisation": methods.factorised,
    ENGINE: Engine(),
}
ABLATIONS: Mapping[str, Method] = {
    "engine without genome": Engine(without=GENOME),
    "engine without kinetics": Engine(without=KINETICS),
    "engine without factorisation": Engine(leave_out="factorisation"),
    "engine without stacking": Engine(best_alone=True),
    "engine, genomes dealt out anew": Engine(shuffled=True),
}
_GATED = {"published effects", ENGINE, *ABLATIONS}  # whose gate is the product's own
_ALL = "all"
_LOT = 1e-6  # mmHg
MEASURES = ("n", "net", "single", "bayes", "oracle", "top1", "top2", "unsafe")
"""Sums over new patients: their number, net effects (mmHg) of the choice and of three yardsticks, hits, forbidden
choices."""


@dataclass(frozen=True)
class Trial:
    """What is to be tried: a world, so many training and new patients, and a number that makes the seeds."""

    dials: Dials
    n_train: int
    n_test: int
    seed: int
    number: int
    ablations: bool = False
    left_out: tuple[str, ...] = ()

    def seed_of(self, what: str) -> int:
        """Seed of the training or of the new patients: never the same."""
        return sub_seed(self.seed, "hypertension", self.number, what)


Tally = dict[str, dict[str, Floats]]
"""Method -> group of patients -> sums in the order of `MEASURES`."""


def tried(trial: Trial) -> Tally:
    """The sums of every method in one trial."""
    train = world(trial.n_train, trial.dials, trial.seed_of("train"))
    test = world(trial.n_test, trial.dials, trial.seed_of("test"))
    given = Given(train, periods(train, trial.seed_of("periods")), test, trial.seed_of("fit"))
    product = gate(test.clinic, test.lacking)
    yardsticks = _Yardsticks(test, product, trial)
    chosen = {**METHODS, **(ABLATIONS if trial.ablations else {})}
    found: Tally = {}
    for name, method in chosen.items():
        if name not in trial.left_out:
            found[name] = yardsticks.sums(method(given), product, gated=name in _GATED)
    found[BAYES] = yardsticks.sums(yardsticks.expected, product, gated=True)
    found[ORACLE] = yardsticks.sums(test.net, test.allowed, gated=True)
    return found


class _Yardsticks:
    """The new patients with the choices that others are held against: all but the oracle choose behind one gate."""

    def __init__(self, test: World, product: Flags, trial: Trial) -> None:
        self.test = test
        self.expected = bayes(test, trial.seed_of("redraw"))
        self._rows = np.arange(len(test))
        self._lots = _LOT * np.random.default_rng(trial.seed_of("lots")).random(test.net.shape)
        self._single = self._net(reference().mean[None, :].repeat(len(test), axis=0), product)
        self._bayes, self._oracle = self._net(self.expected, product), self._net(test.net, test.allowed)
        clinic = test.clinic
        self._groups: dict[str, Flags] = {
            _ALL: np.ones(len(test), dtype=np.bool_),
            "age=<65": clinic.age < 65.0, "age=>=65": clinic.age >= 65.0,
            "disease=primary": ~clinic.secondary, "disease=secondary": clinic.secondary,
        }  # fmt: skip

    def _net(self, score: Floats, allowed: Flags) -> Floats:
        return np.asarray(self.test.net[self._rows, _best(score, allowed)])

    def sums(self, score: Floats, allowed: Flags, *, gated: bool) -> dict[str, Floats]:
        """Sums by group; the choice is the best of what is allowed.

        A forbidden choice is one that the gate let through, or, for a method that has none of its own, what the method
        itself put first.
        """
        score = score + self._lots  # drugs that a method holds equal are drawn by lot, not by their order
        choice = _best(score, allowed)
        second = _best(np.where(np.arange(score.shape[1]) == choice[:, None], -np.inf, score), allowed)
        own = choice if gated else score.argmax(axis=1)
        right = _best(self.test.net, self.test.allowed)
        each = np.stack([
            np.ones(len(choice)), self.test.net[self._rows, choice], self._single, self._bayes, self._oracle,
            choice == right, (choice == right) | (second == right), ~self.test.allowed[self._rows, own],
        ])  # fmt: skip
        return {group: each[:, who].sum(axis=1) for group, who in self._groups.items()}


def _best(score: Floats, allowed: Flags) -> npt.NDArray[np.int64]:
    return np.asarray(np.where(allowed, score, -np.inf).argmax(axis=1))
