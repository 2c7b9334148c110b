"""Population models: published kinetics of one drug, one readable TOML file per model in `knowledge/data/models/`.

A model holds what a paper estimated: typical parameters with their equations over covariates, how patients differ
(omega), how a level differs from its prediction (residual), in whom it was studied, and the targets that are aimed
at. docs/model-file.md describes the file. A file states in which convention its variability is printed (variance, SD,
CV); it is converted here, once, so that `PkModel.omega` is always the variance-covariance of the etas.

A model that lacks something says so in `missing`; it can be read and shown, never used for a dose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.values import CitationKey, DrugId, Many, Status, Value, rounded
from posologist.knowledge.expression import Expression, Values, expression
from posologist.knowledge.genes import FileHeader
from posologist.knowledge.variability import lower_triangle

MODELS_FOLDER = Path(__file__).parent / "data" / "models"
Folders = Path | tuple[Path, ...] | None
_DRUG = re.compile(r'^drug\s*=\s*"([^"]*)"', re.MULTILINE)

_VOLUMES = {1: ("V1",), 2: ("V1", "Q", "V2"), 3: ("V1", "Q", "V2", "Q3", "V3")}
_ELIMINATION = {"linear": ("CL",), "michaelis-menten": ("VMAX", "KM"), "mixed": ("CL", "VMAX", "KM")}
_ABSORPTION = {"none": (), "first-order": ("KA",), "zero-order": ("D",), "transit": ("KTR",)}
# Share of a dose that arrives (1 where not given) and its delay in h (0), of doses into the first compartment or the
# one named; duration (h) and rate (dose unit per h) of doses that leave them to the model.
OPTIONAL = ("F", "LAG", *(f"{name}{number}" for name in ("F", "LAG", "D", "R") for number in (1, 2)))
_METABOLITE = {0: (), 1: ("CLM", "VM"), 2: ("CLM", "VM", "QM", "VM2")}
# Share of the parent's elimination that forms the metabolite (1 where not given), share of what is absorbed that
# reaches the body as metabolite (0).
_FORMATION = ("FM", "FP")
CONCENTRATION, METABOLITE = "concentration", "metabolite"


class Covariate(Value):
    """What is known of the patient and enters an equation.

    `low` and `high` bound the studied patients, None where the source gives no range. `carry` says how a value holds
    between records: "forward" from its record on (LOCF), "backward" up to its record (NOCB). `fact` is the name of the
    situation's fact, `codes` its texts as numbers where it is a text; `phenotype:GENE` and `alleles:GENE` take a gene
    (alleles are counted; one outside the codes of all covariates of the gene is unknown), `drug:NAME` a medicine.
    `default` None: without it there is no answer. `reference` is the value of the reference patient, for whom the
    typical values are checked.
    """

    name: str
    unit: str
    meaning: str
    low: float | None = None
    high: float | None = None
    carry: Literal["forward", "backward"] = "forward"
    fact: str = ""
    codes: dict[str, float] = {}
    default: float | None = None
    reference: float | None = None


class Theta(Value):
    """One printed number: `table` is the table or equation of the source that holds it."""

    name: str
    value: float
    unit: str
    meaning: str
    table: str = ""
    source: CitationKey
    status: Status


class RandomEffect(Value):
    """How an eta acts on a structural parameter: P = typical * exp(eta), typical + eta, or expit(logit + eta)."""

    eta: str
    on: str
    kind: Literal["log-normal", "normal", "logit"] = "log-normal"


class Residual(Value):
    """How a measured level scatters about its prediction f.

    SD = a ("additive", `concentration_unit`), b f ("proportional"), a + b f ("combined-sd"),
    sqrt(a^2 + b^2 f^2) ("combined-variance"); "log": ln of the level has the SD b.
    """

    output: str = "concentration"
    form: Literal["additive", "proportional", "combined-sd", "combined-variance", "log"]
    additive: float = Field(default=0.0, ge=0)
    proportional: float = Field(default=0.0, ge=0)
    source: CitationKey = CitationKey("")
    status: Status = "to verify"
    note: str = ""


class Target(Value):
    """A range of exposure aimed at, or (under `toxicity`) a bound above which harm is expected.

    `unbound` is the free fraction where the range is of free drug.
    """

    metric: str
    low: float | None = None
    high: float | None = None
    unit: str
    unbound: float | None = Field(default=None, gt=0, le=1)
    source: CitationKey
    status: Status
    note: str = ""


class PkModel(Value):
    """A population model of one drug.

    Attributes
    ----------
    missing
        What the file lacks, in words; empty for a complete model. A partial model is never used for a dose.
    scale
        Concentration shown = scale * amount [dose_unit] / volume [L].
    metabolite_compartments
        0: none, or 1 or 2. The metabolite's amount is counted in the parent's `dose_unit`, by what it was made of.
    metabolite_scale
        The metabolite's level shown = metabolite_scale * amount [dose_unit] / VM [L], in `metabolite_unit`.
    apparent
        Clearances and volumes are divided by the unknown F: doses into a vein are outside the model.
    release
        Release of the absorbed form that was studied; another one is not dosed by the model.
    dose_content
        Amount of what the model counts in one unit of the labelled dose (a salt, one part of a combination).
    equations
        In order; names in capitals are structural parameters: CL, Q, Q3 (L/h), V1, V2, V3 (L), KA, KTR (1/h), D, LAG
        (h), F, VMAX (dose_unit/h), KM (concentration_unit), CLM, QM (L/h), VM, VM2 (L), FM, FP; F2, LAG2 and the
        like are those of doses into one compartment. Other names are steps.
    omega
        Variance-covariance of the etas, in the order of `random`.
    occasion
        The same between occasions of one patient; empty where none.
    limits
        Lowest and highest typical value that the source allows, by structural parameter.
    """

    id: str
    drug: DrugId
    title: str
    status: Status = "to verify"
    missing: Many[str] = ()
    compartments: Literal[1, 2, 3]
    elimination: Literal["linear", "michaelis-menten", "mixed"] = "linear"
    absorption: Literal["none", "first-order", "zero-order", "transit"] = "none"
    transit: int = Field(default=0, ge=0)
    apparent: bool = False
    release: Literal["immediate", "extended"] = "immediate"
    dose_content: float = Field(default=1.0, gt=0, le=1)
    dose_unit: str = "mg"
    concentration_unit: str = "mg/L"
    scale: float = Field(default=1.0, gt=0)
    molar_mass: float | None = Field(default=None, gt=0, description="g/mol, between mass and moles")
    metabolite_compartments: Literal[0, 1, 2] = 0
    metabolite_unit: str = ""
    metabolite_scale: float = Field(default=1.0, gt=0)
    metabolite_molar_mass: float | None = Field(default=None, gt=0, description="g/mol")
    covariates: Many[Covariate] = ()
    parameters: Many[Theta] = ()
    equations: dict[str, str] = {}
    random: Many[RandomEffect] = ()
    omega: Many[Many[float]] = ()
    occasion: Many[Many[float]] = ()
    variability: str = Field(default="", description="how the source prints omega, and how it was converted")
    residual: Many[Residual] = ()
    limits: dict[str, Many[float]] = {}
    targets: Many[Target] = ()
    toxicity: Many[Target] = ()
    population: str = ""
    citations: Many[Citation] = ()
    about: FileHeader

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def structural(self) -> tuple[str, ...]:
        """The structural parameters that this structure needs."""
        parent = (*_ELIMINATION[self.elimination], *_VOLUMES[self.compartments], *_ABSORPTION[self.absorption])
        return (*parent, *_METABOLITE[self.metabolite_compartments])

    @property
    def optional(self) -> tuple[str, ...]:
        """The structural parameters that this structure may have."""
        formation = _FORMATION if self.metabolite_compartments else ()
        first_pass = self.absorption in ("first-order", "transit")
        return (*OPTIONAL, *(name for name in formation if name != "FP" or first_pass))

    @property
    def units(self) -> dict[str, str]:
        """The outputs that the structure predicts, with their units."""
        parent = {CONCENTRATION: self.concentration_unit}
        return parent | ({METABOLITE: self.metabolite_unit} if self.metabolite_compartments else {})

    @property
    def reference(self) -> dict[str, float]:
        """Covariates of the reference patient, where the file gives them."""
        return {c.name: c.reference for c in self.covariates if c.reference is not None}

    def labelled(self, amount: float) -> float:
        """A dose as the label counts it, of an amount of what the model counts."""
        return rounded(amount / self.dose_content, 9) if self.dose_content != 1.0 else amount

    @cached_property
    def _steps(self) -> tuple[tuple[str, Expression], ...]:
        return tuple((name, expression(text)) for name, text in self.equations.items())

    @cached_property
    def _constants(self) -> dict[str, float]:
        return {theta.name: theta.value for theta in self.parameters}

    def typical(self, covariates: Mapping[str, float]) -> dict[str, float]:
        """Typical structural parameters of a patient with these covariates, in the units of `equations`.

        Parameters
        ----------
        covariates
            Value of each covariate in the model's unit; names that the model does not know are not read.

        Raises
        ------
        InputError
            If a covariate without default is not given, or the equations have no value for these covariates.
        """
        known: dict[str, Any] = dict(self._constants)
        for covariate in self.covariates:
            value = _number(covariates.get(covariate.name, covariate.default))
            if value is None:
                raise InputError(
                    f"the model {self.id} needs {covariate.name} ({covariate.meaning}, {covariate.unit})",
                    where=covariate.name,
                    hint="give a number in this unit",
                )
            known[covariate.name] = value
        found: dict[str, float] = {}
        subject = Values(known)
        for name, step in self._steps:
            with np.errstate(all="ignore"):
                value = _number(step.value(subject))
            if value is None:
                raise InputError(
                    f"{name} of the model {self.id} has no value for these covariates",
                    where=name,
                    hint=f"check {', '.join(sorted(step.names & self.reference.keys())) or 'the covariates'}",
                )
            known[name] = value
            if name.isupper():
                found[name] = value
        return found

    def outside(self, covariates: Mapping[str, float]) -> tuple[Covariate, ...]:
        """Covariates whose value lies outside the studied range."""
        return tuple(
            c
            for c in self.covariates
            if (value := covariates.get(c.name, c.default)) is not None
            and ((c.low is not None and value < c.low) or (c.high is not None and value > c.high))
        )


def _number(value: Any) -> float | None:
    """A finite number as float; None for what is unknown, a text, complex or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def load_models(folders: Folders = None) -> tuple[PkModel, ...]:
    """Every model, by id; a file of a later folder takes the place of one of the same name.

    Raises
    ------
    KnowledgeError
        If a file cannot be read or contradicts itself.
    """
    return tuple(_named(path) for path in model_files(folders))


def model_files(folders: Folders = None) -> tuple[Path, ...]:
    """The files that `load_models` reads, by id."""
    return tuple(_files(_places(folders)).values())


def models_of(drug: str, folders: Folders = None) -> tuple[PkModel, ...]:
    """The models of one drug, by id; other drugs' files are looked at but not read.

    Raises
    ------
    KnowledgeError
        If one of these files cannot be read or contradicts itself.
    """
    return tuple(_named(path) for path in _by_drug(_places(folders)).get(drug, ()))


def _named(path: Path) -> PkModel:
    """A model of a folder, where the file bears the model's name so that a later folder can replace it."""
    model = load_model(path)
    if model.id != path.stem:
        raise KnowledgeError(f"id {model.id!r} is not the file's name", where=str(path), hint="name it <id>.toml")
    return model


def load_model(path: Path) -> PkModel:
    """One model, read and checked once.

    Raises
    ------
    KnowledgeError
        If the file cannot be read or contradicts itself: unknown names in equations, an omega that is no
        variance-covariance, a citation without entry, parameters that do not fit the structure, missing units.
    """
    return _load(str(path))


def _places(folders: Folders) -> tuple[str, ...]:
    given = (MODELS_FOLDER,) if folders is None else (folders,) if isinstance(folders, Path) else folders
    return tuple(map(str, given))


@lru_cache(maxsize=16)
def _files(folders: tuple[str, ...]) -> dict[str, Path]:
    found = {path.stem: path for folder in folders for path in sorted(Path(folder).glob("*.toml"))}
    return dict(sorted(found.items()))


@lru_cache(maxsize=16)
def _by_drug(folders: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    found: dict[str, tuple[Path, ...]] = {}
    for path in _files(folders).values():
        for drug in _DRUG.findall(path.read_text(encoding="utf-8"))[:1]:
            found[drug] = (*found.get(drug, ()), path)
    return found


@lru_cache(maxsize=256)
def _load(path: str) -> PkModel:
    from posologist.knowledge.model_check import check_model  # it needs the types above

    table = _read(Path(path))
    try:
        model = PkModel.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise KnowledgeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=path, hint="see docs/model-file.md"
        ) from error
    check_model(model, path)
    return model


def _read(path: Path) -> dict[str, Any]:
    """The file's table with variability converted and the file's source and status given to what has none."""
    try:
        table: dict[str, Any] = rtoml.load(path)
    except OSError as error:
        raise KnowledgeError("the model file cannot be read", where=str(path), hint=str(error)) from error
    except rtoml.TomlParsingError as error:
        raise KnowledgeError(f"not valid TOML: {error}", where=str(path)) from error
    try:
        _convert(table)
        _inherit(table)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise KnowledgeError(
            f"the file is not shaped like a model: {error!r}", where=str(path), hint="see docs/model-file.md"
        ) from error
    except KnowledgeError as error:
        raise KnowledgeError(error.message, where=str(path), hint=error.hint) from error
    return table


def _convert(table: dict[str, Any]) -> None:
    names = [effect["on"] for effect in table.get("random", [])]
    kinds = [effect.get("kind", "log-normal") for effect in table.get("random", [])]
    if "omega" in table:
        stated = table.pop("omega")
        table["omega"] = lower_triangle(stated, names, kinds, "omega")
        table["variability"] = _words(stated)
    if "occasion" in table:
        table["occasion"] = lower_triangle(table["occasion"], names, kinds, "occasion")
    for residual in table.get("residual", []):
        if residual.pop("convention", "sd") == "variance":
            for part in ("additive", "proportional"):
                residual[part] = residual.get(part, 0.0) ** 0.5


def _words(stated: dict[str, Any]) -> str:
    note = stated.get("note", "")
    return f"printed as {stated['convention']}" + (f"; {note}" if note else "")


def _inherit(table: dict[str, Any]) -> None:
    source, status = table["about"]["source"], table.get("status", "to verify")
    for part in ("parameters", "residual", "targets", "toxicity"):
        for row in table.get(part, []):
            row.setdefault("source", source)
            row.setdefault("status", status)
