"""One patient's parameters: the typical value of the patient's covariates, moved by the patient's random effects.

A random effect acts on one structural parameter: "log-normal" multiplies by exp(eta), "normal" adds eta, "logit" adds
eta to the log-odds. Covariates may differ from record to record; each is carried as the model states: "backward"
(the value on a record holds since the record before, as in NONMEM) or "forward" (it holds until the next record).

Random effects are handled as scores `z`, independent standard normals: eta = factor z with Omega = factor factor'.
A variance of zero, or a perfect correlation, leaves fewer scores than etas, and nothing has to be inverted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, KnowledgeError

Array = npt.NDArray[np.float64]

_NEGLIGIBLE = 1e-10  # share of the standardised variance below which a direction of Omega counts as fixed


class RandomEffect(Protocol):
    """A random effect: its parameter and how it acts."""

    @property
    def on(self) -> str:
        """Structural parameter."""

    @property
    def kind(self) -> str:
        """ "log-normal", "normal" or "logit"."""


class Covariate(Protocol):
    """A covariate of the model."""

    @property
    def name(self) -> str:
        """Name in records and equations."""

    @property
    def carry(self) -> str:
        """ "forward" or "backward"."""


class Model(Protocol):
    """What is asked of a model here; `PkModel` has it."""

    @property
    def covariates(self) -> Sequence[Covariate]:
        """Covariates that the equations read."""

    @property
    def random(self) -> Sequence[RandomEffect]:
        """Random effects, in the order of `omega`."""

    @property
    def omega(self) -> Sequence[Sequence[float]]:
        """Variance-covariance of the random effects between patients."""

    @property
    def occasion(self) -> Sequence[Sequence[float]]:
        """The same between occasions of one patient; empty: none."""

    def typical(self, covariates: Mapping[str, float]) -> dict[str, float]:
        """Structural parameters without random effects."""


class Record(Protocol):
    """What is asked of a record here."""

    @property
    def covariates(self) -> Mapping[str, float]:
        """Covariates as written on this record."""


def individual(model: Model, typical: Mapping[str, npt.ArrayLike], eta: npt.ArrayLike) -> dict[str, Array]:
    """Structural parameters, each (n_draws,), of typical values moved by `eta`, (n_draws, n_eta) or (n_eta,).

    Parameters
    ----------
    typical
        Structural parameters by name (L/h, L, 1/h, h), each a number or (n_draws,).
    eta
        Random effects in the order of `model.random`; without unit on log-normal and logit parameters, in the
        parameter's own unit on normal ones.

    Raises
    ------
    KnowledgeError
        If a random effect is on a parameter that the model does not have, or of an unknown kind.
    """
    values = np.atleast_2d(np.asarray(eta, dtype=np.float64))
    n_draws = values.shape[0]
    moved: dict[str, npt.ArrayLike] = dict(typical)
    for effect, column in zip(model.random, values.T, strict=True):
        if effect.on not in moved:
            raise KnowledgeError(
                f"a random effect is on '{effect.on}', which is no structural parameter of the model",
                hint=f"use one of {', '.join(sorted(moved))}",
            )
        moved[effect.on] = _moved(np.asarray(moved[effect.on], dtype=np.float64), column, effect.kind)
    return {
        name: value if isinstance(value, np.ndarray) and value.shape == (n_draws,) else _spread_out(value, n_draws)
        for name, value in moved.items()
    }


def _spread_out(value: npt.ArrayLike, n_draws: int) -> Array:
    return np.full(n_draws, value, dtype=np.float64)


def _moved(value: Array, eta: Array, kind: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is used
        if kind == "log-normal":
            return np.asarray(value * np.exp(eta))
        if kind == "normal":
            return np.asarray(value + eta)
        if kind == "logit":
            return np.asarray(value / (value + (1.0 - value) * np.exp(-eta)))
    raise KnowledgeError(f"random effects of kind '{kind}' are not known", hint="use log-normal, normal or logit")


def factor_of(covariance: Sequence[Sequence[float]] | Array) -> Array:
    """Matrix (n_eta, rank) with factor factor' = covariance; directions without variance are left out.

    Raises
    ------
    KnowledgeError
        If the matrix is not square and symmetric, or has a negative variance or eigenvalue.
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.size == 0:
        return np.zeros((0, 0))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T, rtol=1e-9):
        raise KnowledgeError("a variance-covariance must be square and symmetric", hint="check omega in the model file")
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    unit = np.where(sd > 0, sd, 1.0)
    eigenvalues, vectors = np.linalg.eigh(matrix / np.outer(unit, unit))
    if np.min(np.diag(matrix)) < 0 or eigenvalues[0] < -1e-6 * max(1.0, eigenvalues[-1]):
        raise KnowledgeError("a variance-covariance has a negative eigenvalue", hint="check omega in the model file")
    kept = eigenvalues > _NEGLIGIBLE * max(1.0, eigenvalues[-1])
    return np.asarray(unit[:, None] * vectors[:, kept] * np.sqrt(eigenvalues[kept]))


@dataclass(frozen=True)
class Effects:
    """How scores become etas: `factor` (n_eta (1 + n_occasions), n_scores); which occasion each record is in."""

    factor: Array
    n_eta: int
    occasion_of: tuple[int, ...]

    @property
    def n_scores(self) -> int:
        """Number of independent scores."""
        return int(self.factor.shape[1])

    def all_etas(self, scores: Array) -> Array:
        """Etas between patients, then those of each occasion: (n_draws, n_eta (1 + n_occasions))."""
        return np.asarray(scores @ self.factor.T)

    def eta_in(self, all_etas: Array, occasion: int) -> Array:
        """Etas that act in one occasion, (n_draws, n_eta)."""
        between = all_etas[:, : self.n_eta]
        if all_etas.shape[1] == self.n_eta:
            return between
        start = self.n_eta * (1 + occasion)
        return np.asarray(between + all_etas[:, start : start + self.n_eta])


OCCASION = "OCC"  # column that numbers the occasions


def effects_of(model: Model, records: Sequence[Record]) -> Effects:
    """Random effects of a patient; occasions come from the column OCC where the model varies between them.

    Raises
    ------
    InputError
        If the model varies between occasions and a record does not say its occasion.
    KnowledgeError
        If a variance-covariance is impossible, or does not match the random effects in number.
    """
    n_eta = len(model.random)
    between, within = factor_of(model.omega), factor_of(model.occasion)
    for matrix in (between, within):
        if matrix.shape[0] not in (n_eta, 0) or (matrix is between and matrix.shape[0] != n_eta):
            raise KnowledgeError(
                f"{n_eta} random effects have a variance-covariance of {matrix.shape[0]} rows",
                hint="give one row and column for each random effect, in the same order",
            )
    if not within.size:
        return Effects(between, n_eta, (0,) * len(records))
    labels = [record.covariates.get(OCCASION) for record in records]
    if any(label is None for label in labels):
        raise InputError(f"the model varies between occasions, and a record has no {OCCASION}", hint="number them")
    known = list(dict.fromkeys(labels))
    return Effects(_blocks(between, within, len(known)), n_eta, tuple(known.index(label) for label in labels))


def _blocks(between: Array, within: Array, n_occasions: int) -> Array:
    (n_eta, rank), rank_within = between.shape, within.shape[1]
    factor = np.zeros((n_eta * (1 + n_occasions), rank + rank_within * n_occasions))
    factor[:n_eta, :rank] = between
    for i in range(n_occasions):
        rows, columns = n_eta * (1 + i), rank + rank_within * i
        factor[rows : rows + n_eta, columns : columns + rank_within] = within
    return factor


def carried_covariates(model: Model, records: Sequence[Record]) -> tuple[dict[str, float], ...]:
    """Covariates that hold over the interval that ends at each record.

    A covariate that a record does not have takes the last value before it, or else the first one after it; one that
    no record has is left out, and `typical` says what it needs.
    """
    carried: list[dict[str, float]] = [{} for _ in records]
    for covariate in model.covariates:
        values = [record.covariates.get(covariate.name) for record in records]
        written = [value for value in values if value is not None]
        if not written:
            continue
        last = written[0]
        filled = [last := last if value is None else value for value in values]
        if covariate.carry == "forward":
            filled = [filled[0], *filled[:-1]]
        for held, value in zip(carried, filled, strict=True):
            held[covariate.name] = value
    return tuple(carried)


def typical_values(model: Model, records: Sequence[Record]) -> tuple[dict[str, float], ...]:
    """Typical parameters over the interval that ends at each record; equal covariates share one dictionary.

    Raises
    ------
    PosologistError
        As `model.typical` does, for instance for a covariate that is missing.
    """
    known: dict[tuple[tuple[str, float], ...], dict[str, float]] = {}
    result = []
    for covariates in carried_covariates(model, records):
        key = tuple(covariates.items())
        if key not in known:
            known[key] = model.typical(covariates)
        result.append(known[key])
    return tuple(result)
