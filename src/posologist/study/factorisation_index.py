"""The therapeutic index inside the objective of a factorisation, or as a gate on what it says: which one keeps safe?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import MethodRow
from posologist.learn.fit.factorise import Factorisation
from posologist.learn.fit.factorise_choice import chosen
from posologist.study.blocks import Array, IntArray, sub_seed
from posologist.study.experiment import mean_interval

LEAST_INDEX = 2.0
_WEIGHT = 1.0  # of a unit of risk, in units of benefit
_PENALTIES = (0.0, 0.1, 1.0, 10.0)
_RESAMPLES = 400
RULE_NOTE = (
    f"Worlds of 300 patients x 20 treatments; a cell is unsafe where its index is {LEAST_INDEX:g} or less, more often "
    "where the benefit is large; one cell in twenty has no known index. The penalty acts inside the fit, on cells "
    "whose index is known to be too low; the gate passes only what has a known index above k. Gain: true utility of "
    "the picks, mean over all patients; an unsafe pick, or none, counts 0; intervals over worlds."
)


@dataclass(frozen=True)
class World:
    """True benefit, risk and index of every cell (n_patients, n_treatments), and the outcomes that were seen."""

    benefit: Array
    risk: Array
    index: Array
    known_index: Array
    pairs: IntArray
    outcome: Array


def world(seed: int, *, n_patients: int = 300, n_treatments: int = 20) -> World:
    """Benefits of rank 3, harder to have safely the larger they are."""
    rng = np.random.default_rng(seed)
    shape = (n_patients, n_treatments)
    benefit = 2.0 + rng.normal(size=(n_patients, 3)) @ rng.normal(size=(3, n_treatments)) * 0.6
    benefit = benefit + 0.5 * rng.normal(size=n_treatments)
    index = np.exp(1.2 - 0.25 * (benefit - 2.0) + 0.5 * rng.normal(size=shape))
    known = np.where(rng.random(shape) < 0.05, np.nan, index)
    pairs = np.argwhere(rng.random(shape) < 0.4)
    outcome = benefit[pairs[:, 0], pairs[:, 1]] + 0.4 * rng.normal(size=len(pairs))
    return World(benefit, np.broadcast_to(rng.uniform(0.0, 0.5, n_treatments), shape), index, known, pairs, outcome)


def index_rows(seed: int, *, quick: bool) -> tuple[MethodRow, ...]:
    """A row for each penalty, without and with the gate."""
    worlds = [world(sub_seed(seed, "index", number)) for number in range(5 if quick else 20)]
    rows = []
    for penalty in _PENALTIES:
        said = [_said(each, penalty) for each in worlds]
        for gated in (False, True):
            found = [_judged(each, own, gated=gated) for each, own in zip(worlds, said, strict=True)]
            metrics = {
                name: mean_interval(np.array([one[name] for one in found]), seed=seed, n_resamples=_RESAMPLES)
                for name in found[0]
            }
            name = "no penalty" if penalty == 0.0 else f"penalty {penalty:g}"
            rows.append(MethodRow(
                method=f"{name}, {'gate' if gated else 'no gate'}", n=len(worlds) * len(worlds[0].benefit),
                metrics=metrics,
            ))  # fmt: skip
    return tuple(rows)


def _said(each: World, penalty: float) -> Array:
    """Expected benefit of every cell."""
    shape = each.benefit.shape
    model = Factorisation(rank=3, solver="alternating", lambda1=0.5, lambda2=0.5, penalty=penalty, floor=0.0)
    unsafe = np.argwhere(each.known_index <= LEAST_INDEX)
    model.fit(each.pairs, each.outcome, shape=shape, unsafe=unsafe if penalty else None)
    return model.predict(np.argwhere(np.ones(shape))).reshape(shape)


def _judged(each: World, said: Array, *, gated: bool) -> dict[str, float]:
    """Percent of patients picked an unsafe or unchecked treatment for, gain, and error of the cells that are safe."""
    picks = [
        _pick(said[p], each.risk[p], each.known_index[p]) if gated else int(np.argmax(said[p] - _WEIGHT * each.risk[p]))
        for p in range(len(said))
    ]
    who = np.array([p for p, pick in enumerate(picks) if pick is not None], dtype=np.int64)
    what = np.array([pick for pick in picks if pick is not None], dtype=np.int64)
    safe = each.index > LEAST_INDEX
    true = each.benefit - _WEIGHT * each.risk
    return {
        "unsafe_picks_percent": 100.0 * float((each.index[who, what] <= LEAST_INDEX).sum()) / len(said),
        "unchecked_picks_percent": 100.0 * float(np.isnan(each.known_index[who, what]).sum()) / len(said),
        "gain": float(np.where(safe, true, 0.0)[who, what].sum()) / len(said),
        "rmse_safe_cells": float(np.sqrt(np.mean((said - each.benefit)[safe] ** 2))),
    }


def _pick(benefit: Array, risk: Array, index: Array) -> int | None:
    return chosen(benefit, risk, index, weight=_WEIGHT, least_index=LEAST_INDEX).treatment
