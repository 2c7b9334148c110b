"""T8: 100,000 patients x 500 treatments factorised; and the therapeutic index inside the objective beside the gate.

The matrix is made here, of low rank plus side information, so that what can be reached is known: the noise has a
standard deviation of 0.3, and of a patient without any cell the side information leaves the patient's own part open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.core.evaluation import ControlTable, EvaluationDocument, Interval, MethodRow, Paired, Sample
from posologist.learn.fit.factorise import Answer, Factorisation
from posologist.study.blocks import Array, BoolArray, IntArray, sub_seed
from posologist.study.bootstrap import interval
from posologist.study.experiment import Experiment, Run, plain
from posologist.study.factorisation_index import RULE_NOTE, index_rows

Singles = npt.NDArray[np.float32]

RANK = 8
OTHER_RANKS = (6, 12)
_RESAMPLES = 400
_NOISE = 0.3


@dataclass(frozen=True)
class Matrix:
    """Observed cells with what is hidden: `warm` cells of known patients, and all cells of the `cold` patients.

    `pairs` are (patient, treatment), shape (n_cells, 2); `side` has a row for each patient.
    """

    side: Singles
    pairs: IntArray
    outcome: Singles
    warm: BoolArray
    cold: BoolArray
    n_treatments: int

    @property
    def train(self) -> BoolArray:
        return ~self.warm & ~self.cold


def generated(
    seed: int = 0, *, n_patients: int = 100_000, n_treatments: int = 500, n_cells: int = 1_500_000, n_cold: int = 2_000
) -> Matrix:
    """The benchmark's matrix: `default_rng(seed)`, drawn in a fixed order, each array rounded to single precision."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Singles:
        return rng.normal(size=shape).astype(np.float32)

    side = normal(n_patients, 12)
    slopes = np.float32(0.25) * normal(12, 8)
    patients = side @ slopes + np.float32(0.5) * normal(n_patients, 8)
    treatments = normal(n_treatments, 8) * np.float32(1.2 / np.sqrt(8.0))
    bias = np.float32(0.3) * normal(n_treatments)
    cells = np.unique(rng.integers(0, n_patients * n_treatments, int(1.02 * n_cells)))
    rng.shuffle(cells)
    cells = cells[:n_cells]
    patient, treatment = cells // n_treatments, cells % n_treatments
    outcome = np.einsum("nk,nk->n", patients[patient], treatments[treatment]) + bias[treatment]
    outcome = outcome + np.float32(_NOISE) * normal(len(cells))
    cold = patient >= n_patients - n_cold
    warm = (rng.random(len(cells)) < 0.1) & ~cold
    return Matrix(side, np.stack([patient, treatment], axis=1), outcome, warm, cold, n_treatments)


@dataclass(frozen=True)
class Tested:
    """A method's row, and its squared error of each hidden cell by part ("warm", "cold")."""

    row: MethodRow
    squares: dict[str, Array]


def evaluate_factorisation(run: Run) -> EvaluationDocument:
    """The matrix fitted by our estimator and by plain methods, each tested on the hidden cells."""
    size = {"n_patients": 10_000, "n_cells": 150_000, "n_cold": 200} if run.quick else {}
    matrix = generated(run.seed, **size)
    fits = {
        "engine": Factorisation(rank=RANK),
        "alternating, penalties of 1": Factorisation(rank=RANK, solver="alternating"),
        "published descent, 50 steps": Factorisation(
            rank=RANK, solver="descent", biases=False, rate=1e-3, sweeps=50, lambda1=0.1, lambda2=0.1
        ),
    }
    of = len(fits) + len(OTHER_RANKS) + 1
    tested = []
    for done, (name, model) in enumerate(fits.items()):
        run.told("factorisation", done, of)
        tested.append(_fitted(name, model, matrix, run))
    tested.append(_means(matrix, run.seed))
    ranks = []
    for done, rank in enumerate(OTHER_RANKS):
        run.told("factorisation", len(fits) + done, of)
        ranks.append(_fitted(f"engine, rank {rank}, 12 sweeps", Factorisation(rank=rank, sweeps=12), matrix, run).row)
    run.told("factorisation", of - 1, of)
    controls = (
        ControlTable(
            name="a rank that is not that of the truth", rows=tuple(ranks),
            note=f"The matrix has rank {RANK}; with real data the rank is chosen by hidden cells.",
        ),
        ControlTable(name="therapeutic index: inside the objective, or as a gate", note=RULE_NOTE,
                     rows=index_rows(run.seed, quick=run.quick)),
    )  # fmt: skip
    run.told("factorisation", of, of)
    return _document(run, matrix, tested, controls)


def _document(run: Run, matrix: Matrix, tested: list[Tested], controls: tuple[ControlTable, ...]) -> EvaluationDocument:
    n_patients = len(matrix.side)
    n_cold = len(np.unique(matrix.pairs[matrix.cold, 0]))
    n_warm = len(np.unique(matrix.pairs[matrix.warm, 0]))
    return EvaluationDocument(
        task="factorisation", label="simulated patients", title="Patients x treatments, factorised",
        licence="none needed", source=f"generated here, {n_patients} patients x {matrix.n_treatments} treatments",
        quick=run.quick, resamples=_RESAMPLES,
        split="a tenth of the cells hidden (warm), and all cells of some patients (cold: side information alone)",
        train=Sample(n=n_patients - n_cold, levels=int(matrix.train.sum())),
        test=Sample(n=n_warm + n_cold, levels=int((matrix.warm | matrix.cold).sum())),
        seed=run.seed, rows=tuple(each.row for each in tested), paired=_paired(matrix, tested, run.seed),
        controls=controls, findings=_findings(run.quick), versions=run.versions,
    )  # fmt: skip


def _fitted(name: str, model: Factorisation, matrix: Matrix, run: Run) -> Tested:
    sides = {} if model.solver == "descent" else {"patient_side": matrix.side}
    shape = (len(matrix.side), matrix.n_treatments)
    before = run.used()
    model.fit(matrix.pairs[matrix.train], matrix.outcome[matrix.train], shape=shape, **sides)
    after = run.used()
    metrics = {
        "fit_seconds": plain(after.wall_s - before.wall_s),
        "fit_cpu_seconds": plain(after.cpu_s - before.cpu_s),
        **({} if after.peak_mib is None else {"peak_memory_mib": plain(after.peak_mib)}),
    }
    answers = {part: model.interval(matrix.pairs[_cells(matrix, part)]) for part in ("warm", "cold")}
    return _tested(name, matrix, answers, metrics, run.seed)


def _means(matrix: Matrix, seed: int) -> Tested:
    """What one would say of any patient: the treatment's mean."""
    treatment, outcome = matrix.pairs[matrix.train, 1], matrix.outcome[matrix.train].astype(np.float64)
    number = np.bincount(treatment, minlength=matrix.n_treatments)
    mean = np.bincount(treatment, weights=outcome, minlength=matrix.n_treatments) / np.maximum(number, 1)
    unknown = np.zeros(0)
    answers = {
        part: Answer(mean[matrix.pairs[_cells(matrix, part), 1]], unknown, unknown, 0.9) for part in ("warm", "cold")
    }
    return _tested("treatment means", matrix, answers, {}, seed)


def _tested(name: str, matrix: Matrix, answers: dict[str, Answer], metrics: dict[str, Interval], seed: int) -> Tested:
    squares, found = {}, dict(metrics)
    for part, answer in answers.items():
        cells = _cells(matrix, part)
        outcome, patient = matrix.outcome[cells].astype(np.float64), matrix.pairs[cells, 0]
        squares[part] = (answer.value - outcome) ** 2
        found[f"rmse_{part}"] = interval(_rmse_of_resamples(squares[part], patient, seed))
        if len(answer.low):
            inside = np.where((answer.low <= outcome) & (outcome <= answer.high), 100.0, 0.0)
            found[f"coverage_90_percent_{part}"] = interval(_means_of_resamples(inside, patient, seed))
    hidden = matrix.warm | matrix.cold
    row = MethodRow(method=name, n=len(np.unique(matrix.pairs[hidden, 0])), levels=int(hidden.sum()), metrics=found)
    return Tested(row, squares)


def _paired(matrix: Matrix, tested: list[Tested], seed: int) -> tuple[Paired, ...]:
    ours = tested[0]
    found = []
    for other in tested[1:]:
        for part in ("warm", "cold"):
            patient = matrix.pairs[_cells(matrix, part), 0]
            own, theirs = (_rmse_of_resamples(each.squares[part], patient, seed) for each in (ours, other))
            found.append(Paired(
                method=ours.row.method, against=other.row.method, metric=f"rmse_{part}",
                difference=interval(own - theirs),
            ))  # fmt: skip
    return tuple(found)


def _cells(matrix: Matrix, part: str) -> BoolArray:
    return matrix.warm if part == "warm" else matrix.cold


def _rmse_of_resamples(squares: Array, patient: IntArray, seed: int) -> Array:
    return np.asarray(np.sqrt(_means_of_resamples(squares, patient, seed)), dtype=np.float64)


def _means_of_resamples(values: Array, patient: IntArray, seed: int) -> Array:
    """Mean over cells in the sample (first) and in resamples of its patients, (1 + resamples,).

    Each resample is drawn in turn: the counts of 100,000 patients in all resamples at once would be large.
    """
    _, place = np.unique(patient, return_inverse=True)
    total, number = np.bincount(place, weights=values), np.bincount(place)
    rng = np.random.default_rng(sub_seed(seed, "patients", len(total)))
    found = [total.sum() / number.sum()]
    for _ in range(_RESAMPLES):
        counts = np.bincount(rng.integers(0, len(total), len(total)), minlength=len(total))
        found.append((counts @ total) / (counts @ number))
    return np.array(found)


def _findings(quick: bool) -> tuple[str, ...]:
    quick_line = (
        ("a tenth of the patients and cells: times and errors are not those of the benchmark",) if quick else ()
    )
    return (
        *quick_line,
        "seconds and memory are those of this machine at this moment; memory is the peak of the whole process, the "
        "matrix and its making included, so that only the first row's is its own",
        "the noise alone gives an RMSE of 0.3; no method can be below it",
        "the matrix follows the model's own form (low rank, normal noise, cells missing at random): what is reached "
        "here is a bound for real outcomes, where patients are not treated at random",
    )


EXPERIMENT = Experiment("factorisation", evaluate_factorisation)
