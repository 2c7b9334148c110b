"""Effect models: what concentrations or exposures do, one TOML file per published model in `data/effects/`.

::

    id = "name-of-the-file"        title, drugs, population, note
    structure = "inr-product"      INR by two transit chains, A * B; "inr-mean": (A + B) / 2; "pressure": by exposure
    outcome, unit                  what comes out
    covariates                     as in a kinetic model (docs/model-file.md): name, unit, meaning, low, high (range
                                   studied), fact, codes, default (none: required); `reference` stands in where no
                                   part that is asked for reads the covariate
    kinetics                       the kinetic model whose concentration or exposure drives it
    random, [omega], residual      how patients differ in the structure's parameters ("pressure": in the CHANGE) or in
                                   those of the kinetics, and how a measurement scatters; as in a kinetic model, omega
                                   with a `status`
    held_against                   how its answers compare with real patients, in a sentence; shown with every dose
    toxicity                       bounds of the outcome above which harm is expected
    parameters                     name, value, unit, meaning, table, source, status: one printed number each
    [equations]                    in order; safe expressions over parameters, covariates and earlier equations;
                                   names in capitals are what the structure needs
    [[citations]], [about]         as in every file

What the structures need: "inr-..." EMAX, EC50, GAMMA, STAGES1, MTT1, STAGES2, MTT2, BASE, INRMAX, POWER; "pressure"
PLACEBO, and for each drug EMAX_drug and EAUC50_drug, or SLOPE_drug; JOINT_drug_drug for drugs that act together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rtoml
from pydantic import ValidationError

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.values import DrugId, Many, Status, Value
from posologist.knowledge.expression import UNKNOWN, Values, expression
from posologist.knowledge.genes import FileHeader
from posologist.knowledge.models import Covariate, RandomEffect, Residual, Target, Theta
from posologist.knowledge.variability import lower_triangle

EFFECTS_FOLDER = Path(__file__).parent / "data" / "effects"
_INR = frozenset({"EMAX", "EC50", "GAMMA", "STAGES1", "MTT1", "STAGES2", "MTT2", "BASE", "INRMAX", "POWER"})
_HINT = "see the other files of data/effects"


class EffectModel(Value):
    """A published model of an effect; `equations` gives the parameters of its `structure` for a patient.

    `omega` is the variance-covariance of the etas in the order of `random`; `variability` says how the printed numbers
    were taken, and why.
    """

    id: str
    title: str
    drugs: Many[DrugId]
    structure: Literal["inr-product", "inr-mean", "pressure"]
    outcome: str
    unit: str
    population: str
    note: str = ""
    kinetics: str = ""
    held_against: str = ""
    covariates: Many[Covariate] = ()
    parameters: Many[Theta]
    equations: dict[str, str]
    random: Many[RandomEffect] = ()
    omega: Many[Many[float]] = ()
    variability: str = ""
    variability_status: Status = "to verify"
    residual: Many[Residual] = ()
    toxicity: Many[Target] = ()
    citations: Many[Citation]
    about: FileHeader

    def typical(self, covariates: Mapping[str, float]) -> dict[str, float]:
        """The structure's parameters (names in capitals) for a patient with these covariates.

        Parameters
        ----------
        covariates
            Value by name, in the unit that the model states.

        Raises
        ------
        InputError
            If a covariate is missing, unknown or no number, or the equations have no value for it.
        """
        known: dict[str, Any] = {parameter.name: parameter.value for parameter in self.parameters}
        known |= self._covariates(covariates)
        for name, text in self.equations.items():
            try:
                value = expression(text).value(Values(known))
            except ArithmeticError as error:
                raise self._no_value(name) from error
            if value is UNKNOWN or isinstance(value, complex) or not np.isfinite(value):
                raise self._no_value(name)
            known[name] = float(value)
        return {name: known[name] for name in self.equations if name.isupper()}

    def _covariates(self, given: Mapping[str, float]) -> dict[str, float]:
        names = {covariate.name for covariate in self.covariates}
        if unknown := sorted(set(given) - names):
            raise InputError(
                f"{', '.join(unknown)} is not a covariate of {self.id}", hint=f"use {', '.join(sorted(names))}"
            )
        found: dict[str, float] = {}
        for covariate in self.covariates:
            value = given.get(covariate.name, covariate.default)
            if value is None or not np.isfinite(value):
                raise InputError(
                    f"{self.id} needs {covariate.name} ({covariate.meaning}, {covariate.unit or 'no unit'})",
                    hint="give it as a number",
                )
            found[covariate.name] = value
        return found

    def _no_value(self, name: str) -> InputError:
        return InputError(f"{name} of {self.id} has no value for these covariates", hint="check their units")

    def outside(self, covariates: Mapping[str, float]) -> tuple[Covariate, ...]:
        """Covariates that lie outside the range studied."""
        return tuple(
            covariate
            for covariate in self.covariates
            if (value := covariates.get(covariate.name)) is not None
            and (
                (covariate.low is not None and value < covariate.low)
                or (covariate.high is not None and value > covariate.high)
            )
        )


def load_effects(folder: Path = EFFECTS_FOLDER) -> tuple[EffectModel, ...]:
    """Every effect model of a folder, by id.

    Raises
    ------
    KnowledgeError
        If a file is not TOML, contradicts itself, or lacks what its structure needs.
    """
    return tuple(load_effect(path.stem, folder) for path in sorted(folder.glob("*.toml")))


@lru_cache(maxsize=64)
def load_effect(model: str, folder: Path = EFFECTS_FOLDER) -> EffectModel:
    """One effect model by its id, which is the name of its file; errors as in `load_effects`."""
    path = folder / f"{model}.toml"
    if not path.is_file():
        raise KnowledgeError(f"there is no effect model '{model}'", where=str(folder), hint="see data/effects")
    try:
        found = EffectModel.model_validate(_converted(rtoml.load(path)))
    except rtoml.TomlParsingError as error:
        raise KnowledgeError(f"not valid TOML: {error}", where=str(path), hint="correct the line") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise KnowledgeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(path), hint=_HINT
        ) from error
    except KnowledgeError as error:
        raise KnowledgeError(error.message, where=str(path), hint=error.hint or _HINT) from error
    for problem in _problems(found, model):
        raise KnowledgeError(problem, where=str(path), hint=_HINT)
    return found


def _converted(table: dict[str, Any]) -> dict[str, Any]:
    """The file's table with the variability as variance-covariance."""
    stated = table.pop("omega", None)
    if stated is None:
        return table
    status = stated.pop("status", "to verify")
    effects = table.get("random", [])
    kinds = [effect.get("kind", "log-normal") for effect in effects]
    omega = lower_triangle(stated, [effect["on"] for effect in effects], kinds, "omega")
    words = f"numbers taken as {stated['convention']}; {stated.get('note', '')}"
    return {**table, "omega": omega, "variability": words, "variability_status": status}


def _problems(model: EffectModel, name: str) -> Iterator[str]:
    """What contradicts itself in a file."""
    if model.id != name:
        yield f"id '{model.id}' is not the name of the file"
    cited = {citation.key for citation in model.citations}
    sources = {row.source for row in model.parameters} | {row.source for row in model.residual}
    for key in sources | {row.source for row in model.toxicity} | {model.about.source}:
        if key not in cited:
            yield f"citation '{key}' is not defined"
    if len(model.omega) != len(model.random):
        yield "random effects and omega do not go together"
    names = [*(p.name for p in model.parameters), *(c.name for c in model.covariates)]
    for repeated in sorted({n for n in [*names, *model.equations] if [*names, *model.equations].count(n) > 1}):
        yield f"the name '{repeated}' is used twice"
    known = set(names)
    read: set[str] = set()
    for left, text in model.equations.items():
        found = expression(text)
        if unknown := sorted(found.names - known):
            yield f"the equation of {left} reads {', '.join(unknown)}, which is not known before it"
        if found.queries:
            yield f"the equation of {left} asks for more than numbers"
        read |= found.names
        known.add(left)
    if unread := sorted(set(names) - read):
        yield f"no equation reads {', '.join(unread)}"
    yield from _incomplete(model)


def _incomplete(model: EffectModel) -> Iterator[str]:
    given = {name for name in model.equations if name.isupper()}
    if model.structure != "pressure":
        if given != _INR:
            yield f"{', '.join(sorted(given ^ _INR))} is missing or not known in an INR model"
        return
    drugs = [str(drug).upper() for drug in model.drugs]
    if "PLACEBO" not in given:
        yield "PLACEBO is missing"
    for drug in drugs:
        forms = [{f"EMAX_{drug}", f"EAUC50_{drug}"} <= given, f"SLOPE_{drug}" in given]
        if sum(forms) != 1:
            yield f"{drug} needs EMAX and EAUC50, or SLOPE"
    for name in given - {"PLACEBO"}:
        kind, *concerned = name.split("_")
        if kind not in ("EMAX", "EAUC50", "SLOPE", "JOINT") or not concerned or not set(concerned) <= set(drugs):
            yield f"{name} is not known in a pressure model of {', '.join(model.drugs)}"
