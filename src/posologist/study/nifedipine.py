"""T2: who finds the right daily dose of extended-release nifedipine, in simulated patients whose right dose is known.

The right dose brings a patient's own average concentration to the middle of a window; it is not known to any method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from posologist.core.evaluation import ControlTable, EvaluationDocument, MethodRow, Sample
from posologist.study.blocks import sub_seed
from posologist.study.clinic import Floats
from posologist.study.experiment import Experiment, Run, plain
from posologist.study.facts import facts_of
from posologist.study.nifedipine_amlodipine import TOLD, answers, on_amlodipine
from posologist.study.nifedipine_amlodipine import window as amlodipine_window
from posologist.study.nifedipine_findings import TASK, findings, seed_of
from posologist.study.nifedipine_limits import limit_curves, limits_table
from posologist.study.nifedipine_methods import METHODS, PRESSURES, Dose, by_pressures, other_priors
from posologist.study.nifedipine_scores import MAIN, RESAMPLES, Clinics, World, groups_of, measured
from posologist.study.nifedipine_world import (
    N_VISITS,
    Patients,
    Readings,
    closer_readings,
    usual_readings,
    window_of,
    world,
)

ORACLE = "oracle"
_GROUPED = (
    "label: two steps by pressure", "linear regression, no level", "random forest, two levels", "engine, a priori",
    "engine, two pressures", "engine, one level", "engine, two levels",
)  # fmt: skip
_PAIRS = (
    ("engine, a priori", "linear regression, no level"),
    ("engine, a priori", "random forest, no level"),
    ("engine, one level", "linear regression, one level"),
    ("engine, one level", "random forest, one level"),
    ("engine, two levels", "linear regression, two levels"),
    ("engine, two levels", "random forest, two levels"),
    ("engine, one level", "engine, a priori"),
    ("engine, two levels", "engine, one level"),
    ("engine, two pressures", "engine, a priori"),
)


def evaluate_nifedipine(run: Run) -> EvaluationDocument:
    """Every method in worlds of 200 patients, the engine's rivals with more to learn from, and what limits them all."""
    small, large = (4, 2) if run.quick else (20, 10)
    size, more = 200, 500 if run.quick else 2000
    asked = Asked(run, of=4 * small + 2 * large)
    main = asked.clinics(METHODS, size, small)
    learned = asked.clinics(METHODS, more, large)
    priors = asked.clinics(other_priors(), size, small)
    pressures = [
        _pressures(words, asked.clinics(by_pressures(readings), size, small, misses=misses, readings=readings))
        for words, misses, readings in (
            ("no tablet is missed", False, usual_readings()),
            ("no tablet is missed and pressures scatter less", False, closer_readings()),
        )
    ]
    other = asked.amlodipine(size, large)
    asked.tell()
    return EvaluationDocument(
        task=TASK, label="simulated patients", title="The daily dose of nifedipine",
        licence="none needed", source="generated here from the cited facts of study/nifedipine.toml",
        quick=run.quick, resamples=RESAMPLES, concentration_unit="ng/mL",
        split=f"{small} worlds; in each, {size} patients teach and {size} others are asked, with seeds of their own "
        "(worlds are resampled, not patients)",
        train=Sample(n=small * size, levels=small * size * N_VISITS),
        test=Sample(n=small * size, levels=small * size * N_VISITS),
        seed=run.seed, rows=main.rows(), paired=main.paired(_PAIRS), groups=main.group_rows((*_GROUPED, ORACLE)),
        controls=(
            _published(),
            ControlTable(
                name=f"{more} patients teach and {more} are asked", rows=learned.rows(), paired=learned.paired(_PAIRS),
                groups=learned.group_rows(("random forest, two levels", "engine, two levels")),
                note=f"{large} worlds. What the engine knows is published, so that only the learners gain.",
            ),
            ControlTable(
                name="a prior that is not the truth", rows=priors.rows(),
                note="In the rows above the engine's prior is the very population that the patients were drawn from, "
                "which no clinic can promise.",
            ),
            *pressures,
            limits_table(),
            other,
        ),
        curves=limit_curves(), findings=findings(main, run.seed), versions=run.versions,
    )  # fmt: skip


@dataclass
class Asked:
    """Clinics of one run, with what is told of its progress."""

    run: Run
    of: int
    done: int = 0

    def tell(self) -> None:
        self.run.told(TASK, self.done, self.of)
        self.done += 1

    def clinics(
        self, methods: Mapping[str, Dose], n: int, worlds: int, *, misses: bool = True, readings: Readings | None = None
    ) -> Clinics:
        """Methods in `worlds` clinics of `n` patients who teach and `n` who are asked; the oracle is the last row."""
        found = []
        for k in range(worlds):
            self.tell()
            teach, asked = (
                world(n, seed_of(self.run.seed, part, n, k), misses=misses, readings=readings)
                for part in ("train", "test")
            )
            doses = {
                name: method(teach.seen, asked.seen, sub_seed(self.run.seed, name, k))
                for name, method in methods.items()
            }
            found.append(_world(asked, {**doses, ORACLE: asked.right}))
        return Clinics(found, sub_seed(self.run.seed, TASK, "worlds"))

    def amlodipine(self, n: int, worlds: int) -> ControlTable:
        """The ways to a dose of amlodipine."""
        found = []
        for k in range(worlds):
            self.tell()
            patients = on_amlodipine(n, seed_of(self.run.seed, "test", n, k))
            measures = {
                name: {
                    **measured(
                        answer.dose, clearance=patients.clearance, right=patients.right, window=amlodipine_window()
                    ),
                    "levels_used_percent": np.where(answer.used, 100.0, 0.0),
                }
                for name, answer in answers(patients).items()
            }
            found.append(World(measures, groups_of(patients.known)))
        clinics = Clinics(found, sub_seed(self.run.seed, TASK, "amlodipine"))
        pairs = [(name, "engine, a priori") for name in ("engine, two levels", f"engine, two levels, {TOLD}")]
        return ControlTable(
            name="amlodipine, with the whole published model", rows=clinics.rows(), paired=clinics.paired(pairs),
            note=f"{worlds} worlds of {n} patients, four weeks on the label's first dose, levels before the tablet "
            "after two and four weeks. Tablets are missed; unless told, the engine believes that all were taken.",
        )  # fmt: skip


def _world(asked: Patients, doses: Mapping[str, Floats]) -> World:
    window, truth = window_of(facts_of("nifedipine")), {"clearance": asked.clearance, "right": asked.right}
    measures = {name: measured(dose, window=window, **truth) for name, dose in doses.items()}
    return World(measures, groups_of(asked.seen.known))


def _pressures(words: str, clinics: Clinics) -> ControlTable:
    return ControlTable(
        name=f"pressures where {words}", rows=clinics.rows(),
        paired=clinics.paired([(name, PRESSURES[0]) for name in PRESSURES[1:]]),
        note="The same patients. Where pressures scatter less they do so as in the hypertension simulator.",
    )  # fmt: skip


def _published() -> ControlTable:
    facts = facts_of("nifedipine")
    groups = {
        "everybody": facts.numbers("published_engine_rivals"),
        "65 and older": facts.numbers("published_65_and_older"),
        "younger than 65": facts.numbers("published_younger"),
    }
    names = ("founding system", "first rival", "second rival")
    rows = tuple(
        MethodRow(method=f"{name}, {group} (published, not reproduced here)", n=200 if group == "everybody" else 0,
                  metrics={MAIN: plain(value)})
        for group, values in groups.items()
        for name, value in zip(names, values, strict=True)
    )  # fmt: skip
    return ControlTable(
        name="the founding paper's figures", rows=rows,
        note="Published, not reproduced here: neither its patients, nor its right dose, nor its rivals were at hand. "
        "They stand for comparison and nothing was tuned to them. How many patients each age group had is not known.",
    )  # fmt: skip


EXPERIMENT = Experiment(TASK, evaluate_nifedipine)
