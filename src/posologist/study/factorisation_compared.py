"""The case study's comparison: each method says the hidden cells of small patients x doses matrices of known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import MethodRow, Paired
from posologist.learn.fit.factorise import Factorisation
from posologist.study.blocks import Array, sub_seed
from posologist.study.experiment import mean_interval, plain
from posologist.study.factorisation_rivals import column_means, item_neighbourhood, plain_svd, user_neighbourhood

DOSES = np.array([0.3, 0.5, 0.7, 0.9])
_SEEN = 0.6  # share of cells with an outcome
_NOISE = 0.05
_RESAMPLES = 400


@dataclass(frozen=True)
class Small:
    """Genome and toxicity of each patient, true responses (n_patients, 4), and those seen (nan: hidden)."""

    genome: Array
    toxicity: Array
    truth: Array
    seen: Array


def small_world(seed: int, n_patients: int) -> Small:
    """Sigmoids whose middle is moved by genome, toxicity and what nobody measured; every patient has one outcome."""
    rng = np.random.default_rng(seed)
    genome, toxicity = rng.uniform(size=(2, n_patients))
    middle = 0.5 - 0.3 * (genome - 0.5) + 0.3 * (toxicity - 0.5) + 0.1 * rng.normal(size=n_patients)
    truth = 1.0 / (1.0 + np.exp(-8.0 * (DOSES - middle[:, None])))
    shown = rng.random(truth.shape) < _SEEN
    shown[np.arange(n_patients), rng.integers(0, len(DOSES), n_patients)] = True
    outcome = truth + _NOISE * rng.normal(size=truth.shape)
    return Small(genome, toxicity, truth, np.where(shown, outcome, np.nan))


def utility_model(world: Small) -> Array:
    """alpha1 x + alpha2 G - theta T, its weights at the least loss on the outcomes seen."""
    n, m = world.seen.shape
    columns = np.stack([np.tile(DOSES, n), np.repeat(world.genome, m), -np.repeat(world.toxicity, m)], axis=1)
    shown = np.isfinite(world.seen).reshape(-1)
    weights = np.linalg.lstsq(columns[shown], world.seen.reshape(-1)[shown], rcond=None)[0]
    return np.asarray(columns @ weights).reshape(n, m)


def factorised(world: Small) -> Array:
    """Our estimator, with genome and toxicity as side information."""
    return _said(Factorisation(rank=2, sweeps=30), world, np.stack([world.genome, world.toxicity], axis=1))


def published_descent(world: Small) -> Array:
    """P T' alone, by the published updates; its penalty is the best of seven on other worlds than those tested."""
    model = Factorisation(
        rank=2, solver="descent", biases=False, lambda1=0.1, lambda2=0.1, rate=0.05, sweeps=500, tolerance=1e-6
    )
    return _said(model, world, None)


def _said(model: Factorisation, world: Small, side: Array | None) -> Array:
    pairs = np.argwhere(np.isfinite(world.seen))
    model.fit(pairs, world.seen[pairs[:, 0], pairs[:, 1]], patient_side=side, shape=world.seen.shape)
    return model.predict(np.argwhere(np.ones(world.seen.shape))).reshape(world.seen.shape)


METHODS: Mapping[str, Callable[[Small], Array]] = {
    "factorisation with side information": factorised,
    "published descent, P T' alone": published_descent,
    "utility model, alpha1 D + alpha2 G - theta T": utility_model,
    "user neighbourhood": lambda world: user_neighbourhood(world.seen),
    "item neighbourhood": lambda world: item_neighbourhood(world.seen),
    "plain SVD": lambda world: plain_svd(world.seen),
    "treatment means": lambda world: np.broadcast_to(column_means(world.seen), world.seen.shape),
}


@dataclass(frozen=True)
class Compared:
    """Rows of the table, and the RMSE of each method in each world."""

    rows: tuple[MethodRow, ...]
    rmse: Mapping[str, Array]


def compared(seed: int, *, n_patients: int, n_worlds: int) -> Compared:
    """Every method on worlds of so many patients: RMSE against the truth of the hidden cells, and how often best."""
    rmse: dict[str, list[float]] = {name: [] for name in METHODS}
    for number in range(n_worlds):
        world = small_world(sub_seed(seed, "rivals", n_patients, number), n_patients)
        hidden = np.isnan(world.seen)
        for name, method in METHODS.items():
            rmse[name].append(float(np.sqrt(np.mean((method(world) - world.truth)[hidden] ** 2))))
    table = {name: np.array(values) for name, values in rmse.items()}
    best = np.argmin(np.stack(list(table.values())), axis=0)
    rows = []
    for place, (name, values) in enumerate(table.items()):
        metrics = {
            "rmse": mean_interval(values, seed=seed, n_resamples=_RESAMPLES),
            "rmse_sd_of_worlds": plain(float(values.std())),
            "best_percent": mean_interval(100.0 * (best == place), seed=seed, n_resamples=_RESAMPLES),
        }
        rows.append(MethodRow(method=name, n=n_patients, metrics=metrics))
    return Compared(tuple(rows), table)


def paired_rows(tested: Compared, seed: int) -> tuple[Paired, ...]:
    """Factorisation against each other method in the same worlds."""
    ours, *others = tested.rmse
    return tuple(
        Paired(
            method=ours, against=other, metric="rmse",
            difference=mean_interval(tested.rmse[ours] - tested.rmse[other], seed=seed, n_resamples=_RESAMPLES),
        )
        for other in others
    )  # fmt: skip


def sizes_rows(seed: int, *, quick: bool) -> tuple[MethodRow, ...]:
    """The comparison at growing numbers of patients."""
    rows = []
    for n_patients, n_worlds in ((100, 20), (500, 8)) if not quick else ((100, 2),):
        for row in compared(seed, n_patients=n_patients, n_worlds=n_worlds).rows:
            rows.append(row.model_copy(update={"method": f"{n_patients} patients: {row.method}"}))
    return tuple(rows)
