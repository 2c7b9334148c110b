"""The published case study of factorisation, rebuilt: twenty patients, four doses, a utility fitted to a response.

    U_p = alpha1 D_p + alpha2 G_p - theta T_p          utility of patient p: dose, genome, toxicity
    S(x) = L / (1 + exp(-k (x - x0)))                  response at dose x in {0.3, 0.5, 0.7, 0.9}
    loss = sum over patients of (U_p - S(x_p))^2       fitted by gradient descent
    R(x) = sum_j b_j x / (sum_j a_j x + 1)             risk at dose x

The formulas are known from a restatement; the published patients and constants were not available, so that the
patients are drawn here and every constant below is ours. Our reading: D is the patient's dose x, five patients on
each; G how well the genome suits the drug and T how badly it is tolerated, both between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from posologist.core.evaluation import ControlTable, Curve, EvaluationDocument, MethodRow, Sample
from posologist.study.blocks import Array, sub_seed
from posologist.study.experiment import Experiment, Run, plain
from posologist.study.factorisation_compared import compared, paired_rows, sizes_rows

DOSES = (0.3, 0.5, 0.7, 0.9)
PER_DOSE = 5
RISK_A = (0.4, 0.3, 0.3)  # saturation of three harms (ours)
RISK_B = (0.25, 0.15, 0.10)  # size of three harms (ours)
RATE = 0.02
STEPS = 400
RESAMPLES = 400


@dataclass(frozen=True)
class Sigmoid:
    """S(x) = height / (1 + exp(-steepness (x - middle))): L, k and x0."""

    height: float = 1.0
    steepness: float = 8.0
    middle: float = 0.5

    def __call__(self, dose: Array) -> Array:
        return np.asarray(self.height / (1.0 + np.exp(-self.steepness * (dose - self.middle))))


@dataclass(frozen=True)
class Patients:
    """D, G and T of each patient, shape (n_patients,)."""

    dose: Array
    genome: Array
    toxicity: Array

    @property
    def columns(self) -> Array:
        """What alpha1, alpha2 and theta multiply, shape (n_patients, 3)."""
        return np.stack([self.dose, self.genome, -self.toxicity], axis=1)


@dataclass(frozen=True)
class Fit:
    """(alpha1, alpha2, theta), the response curve, and the loss before each step and after the last."""

    weights: Array
    curve: Sigmoid
    history: Array


def drawn(seed: int) -> Patients:
    """Twenty patients."""
    rng = np.random.default_rng(sub_seed(seed, "case"))
    n = PER_DOSE * len(DOSES)
    return Patients(np.repeat(DOSES, PER_DOSE), rng.uniform(size=n), rng.uniform(size=n))


def loss(patients: Patients, weights: Array, curve: Sigmoid) -> float:
    """Sum of (U - S)^2."""
    return float(np.sum((patients.columns @ weights - curve(patients.dose)) ** 2))


def gradients(patients: Patients, weights: Array, curve: Sigmoid) -> tuple[Array, Array]:
    """Slope of the loss in (alpha1, alpha2, theta), and in (L, k, x0)."""
    response = curve(patients.dose)
    away = patients.columns @ weights - response
    inner = response * (1.0 - response / curve.height)
    of_curve = np.stack(
        [response / curve.height, inner * (patients.dose - curve.middle), -inner * curve.steepness], axis=1
    )
    return 2.0 * away @ patients.columns, -2.0 * away @ of_curve


def fitted(
    patients: Patients, curve: Sigmoid, *, rate: float = RATE, steps: int = STEPS, start: float = 0.0,
    free_curve: bool = False,
) -> Fit:  # fmt: skip
    """Gradient descent: weights <- weights - rate x gradient; `free_curve` lets L, k and x0 follow theirs as well."""
    weights = np.full(3, start)
    history = [loss(patients, weights, curve)]
    for _ in range(steps):
        of_weights, of_curve = gradients(patients, weights, curve)
        weights = weights - rate * of_weights
        if free_curve:
            moved = np.array([curve.height, curve.steepness, curve.middle]) - rate * of_curve
            curve = Sigmoid(*moved.tolist())
        history.append(loss(patients, weights, curve))
    return Fit(weights, curve, np.array(history))


def risk(dose: Array) -> Array:
    """R(x), from 0 up to sum b / sum a."""
    return np.asarray(sum(RISK_B) * dose / (sum(RISK_A) * dose + 1.0))


def evaluate_case(run: Run) -> EvaluationDocument:
    """The case, its parameters, its rivals, and what twenty patients cannot show."""
    patients, curve = drawn(run.seed), Sigmoid()
    n_worlds = 8 if run.quick else 200
    run.told("factorisation-case", 0, 2)
    tested = compared(run.seed, n_patients=len(patients.dose), n_worlds=n_worlds)
    run.told("factorisation-case", 1, 2)
    n_cells = round(0.6 * len(patients.dose) * len(DOSES))
    document = EvaluationDocument(
        task="factorisation-case", label="simulated patients", title="Case study of factorisation: twenty patients",
        licence="none needed", source="generated here; formulas as published, patients and constants ours",
        quick=run.quick, resamples=RESAMPLES,
        split=f"{n_worlds} worlds of the same size; in each, two cells in five are hidden and tested (worlds are "
        "resampled, not patients)",
        train=Sample(n=len(patients.dose), levels=n_cells),
        test=Sample(n=len(patients.dose), levels=len(patients.dose) * len(DOSES) - n_cells),
        seed=run.seed, rows=tested.rows, paired=paired_rows(tested, run.seed),
        controls=(
            _parameters(patients, curve), _free(patients, curve), _noise(patients, curve, run.seed),
            ControlTable(name="more patients", rows=sizes_rows(run.seed, quick=run.quick),
                         note="The same comparison with more patients: RMSE of the hidden cells, mean over worlds."),
        ),
        curves=(*_convergence(patients, curve), *_utility(patients, curve), *_risk(patients, curve)),
        findings=_findings(), versions=run.versions,
    )  # fmt: skip
    run.told("factorisation-case", 2, 2)
    return document


def _row(name: str, patients: Patients, fit: Fit) -> MethodRow:
    response = fit.curve(patients.dose)
    around = float(np.sum((response - response.mean()) ** 2))
    explained = {"r2": 1.0 - float(fit.history[-1]) / around} if around > 1e-12 else {}
    numbers = {
        "loss": float(fit.history[-1]), **explained, "alpha1": float(fit.weights[0]), "alpha2": float(fit.weights[1]),
        "theta": float(fit.weights[2]), "curve_height": fit.curve.height,
    }  # fmt: skip
    return MethodRow(method=name, n=len(patients.dose), metrics={key: plain(value) for key, value in numbers.items()})


def _parameters(patients: Patients, curve: Sigmoid) -> ControlTable:
    """One parameter at a time."""
    rows = [_row("as given", patients, fitted(patients, curve))]
    rows += [_row(f"L = {v:g}", patients, fitted(patients, replace(curve, height=v))) for v in (0.5, 2.0)]
    rows += [_row(f"k = {v:g}", patients, fitted(patients, replace(curve, steepness=v))) for v in (2.0, 4.0, 16.0)]
    rows += [_row(f"x0 = {v:g}", patients, fitted(patients, replace(curve, middle=v))) for v in (0.3, 0.7)]
    rows += [_row(f"rate = {v:g}", patients, fitted(patients, curve, rate=v)) for v in (0.002, 0.04)]
    rows += [_row(f"start = {v:g}", patients, fitted(patients, curve, start=v)) for v in (-1.0, 1.0)]
    best = np.asarray(np.linalg.lstsq(patients.columns, curve(patients.dose), rcond=None)[0], dtype=np.float64)
    closed = Fit(best, curve, np.array([loss(patients, best, curve)]))
    rows.append(_row("closed form (least squares)", patients, closed))
    return ControlTable(
        name="parameter analysis", rows=tuple(rows),
        note=f"{STEPS} steps of rate {RATE:g}, L = {curve.height:g}, k = {curve.steepness:g}, x0 = {curve.middle:g}, "
        "one of them changed at a time. The loss is quadratic in the weights: descent can only find what least squares "
        "gives at once, and loss and weights grow with L, which is a unit and no finding.",
    )  # fmt: skip


def _free(patients: Patients, curve: Sigmoid) -> ControlTable:
    rows = [_row("weights alone", patients, fitted(patients, curve, steps=20_000))]
    rows += [
        _row(f"weights and curve, {steps} steps", patients, fitted(patients, curve, steps=steps, free_curve=True))
        for steps in (400, 4_000, 20_000)
    ]
    nothing = Fit(np.zeros(3), replace(curve, height=0.0), np.zeros(1))
    rows.append(_row("alpha1 = alpha2 = theta = L = 0", patients, nothing))
    return ControlTable(
        name="fitting the response as well", rows=tuple(rows),
        note="When L, k and x0 follow their gradients too, the loss falls further because utility and response meet "
        "each other halfway. Nothing keeps them from the last row, a loss of 0 that says nothing: a small loss is no "
        "evidence unless the response was measured.",
    )  # fmt: skip


def _noise(patients: Patients, curve: Sigmoid, seed: int) -> ControlTable:
    """What three weights explain of responses that belong to other patients; and of a patient who was left out."""
    rng = np.random.default_rng(sub_seed(seed, "shuffled"))
    response, columns = curve(patients.dose), patients.columns
    around = float(np.sum((response - response.mean()) ** 2))

    def explained(target: Array, said: Array) -> float:
        return 1.0 - float(np.sum((said - target) ** 2)) / around

    inside = columns @ np.linalg.lstsq(columns, response, rcond=None)[0]
    keep = ~np.eye(len(response), dtype=bool)
    left_out = np.array([
        columns[p] @ np.linalg.lstsq(columns[keep[p]], response[keep[p]], rcond=None)[0] for p in range(len(response))
    ])  # fmt: skip
    shuffled = []
    for _ in range(1000):
        target = rng.permutation(response)
        shuffled.append(explained(target, columns @ np.linalg.lstsq(columns, target, rcond=None)[0]))
    found = {
        "weights fitted to all twenty": explained(response, inside),
        "each patient left out": explained(response, left_out),
        "responses shuffled, 95th percentile of 1,000 draws": float(np.quantile(shuffled, 0.95)),
    }
    rows = tuple(MethodRow(method=name, n=len(response), metrics={"r2": plain(value)}) for name, value in found.items())
    return ControlTable(
        name="in the fit, left out, and by chance", rows=rows,
        note="r2 may be below 0, since U has no constant term. Here S holds no noise and D is its own x, so that a "
        "high r2 shows that a line is near a sigmoid, not that a response was foreseen.",
    )  # fmt: skip


def _convergence(patients: Patients, curve: Sigmoid) -> tuple[Curve, ...]:
    shown = np.unique(np.round(np.geomspace(1, STEPS, 40)).astype(np.int64))
    return tuple(
        Curve(
            kind="convergence", method=f"rate {rate:g}", x_text="step", y_text="loss, sum of (U - S) squared",
            x=tuple(float(s) for s in shown),
            y=tuple(fitted(patients, curve, rate=rate).history[shown].tolist()),
        )
        for rate in (0.002, RATE, 0.04)
    )  # fmt: skip


def _utility(patients: Patients, curve: Sigmoid) -> tuple[Curve, ...]:
    fine = np.linspace(0.2, 1.0, 33)
    said = patients.columns @ fitted(patients, curve).weights
    lines = (("S(x)", fine, curve(fine)), ("U, each patient", patients.dose, said))
    return tuple(
        Curve(
            kind="utility", method=name, x_text="dose x", y_text="response S(x), utility U", x=tuple(x.tolist()),
            y=tuple(y.tolist()),
        )
        for name, x, y in lines
    )  # fmt: skip


def _risk(patients: Patients, curve: Sigmoid) -> tuple[Curve, ...]:
    weights = fitted(patients, curve).weights
    doses = np.array(DOSES)
    mean = doses * weights[0] + patients.columns[:, 1:].mean(axis=0) @ weights[1:]
    lines = {"R(x)": risk(doses), "U of the mean patient": mean, "U - R": mean - risk(doses)}
    return tuple(
        Curve(kind="risk", method=name, x_text="dose x", y_text="risk R(x), utility", x=DOSES, y=tuple(values.tolist()))
        for name, values in lines.items()
    )


def _findings() -> tuple[str, ...]:
    return (
        "the published patients, constants and tables were not at hand: nothing here repeats a published number",
        "subplots, as we read them: loss over steps; S(x) with each patient's U at the own dose; R(x) over dose, with "
        "the mean patient's U and U - R",
        "U is fitted to S on the same twenty patients: without hidden outcomes a loss cannot show that anything new is "
        "foreseen",
        "S is a formula, not a measurement: no patient of the case has an outcome, so that no table of it can show "
        "that a patient was better off",
        "U rises with dose at the same rate for everybody (alpha1): without R it always asks for the highest dose, and "
        "it cannot say that two patients need different doses",
        "which method is best changes from world to world: best_percent is how often each is, of worlds drawn alike",
        "in our worlds the outcome is a sigmoid shifted by G and T, which favours methods that are given G and T",
    )


EXPERIMENT = Experiment("factorisation-case", evaluate_case)
