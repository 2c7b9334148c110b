"""What must hold of a population model before it is used; each broken rule is a KnowledgeError that names it."""

from __future__ import annotations

from itertools import chain

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.units import convert
from posologist.knowledge.expression import QUERIES, expression
from posologist.knowledge.models import METABOLITE, OPTIONAL, Covariate, PkModel, Residual
from posologist.knowledge.variability import is_covariance

_FORMED = frozenset({"CLM", "VM", "QM", "VM2", "FM", "FP"})
_STRUCTURAL = frozenset({"CL", "V1", "Q", "V2", "Q3", "V3", "KA", "D", "KTR", "VMAX", "KM", *OPTIONAL}) | _FORMED
_MAY_BE_ZERO = frozenset({"LAG", "LAG1", "LAG2", "FP"})
_NEEDS = {  # form of the residual error: which of its two numbers must be above zero
    "additive": (True, False),
    "proportional": (False, True),
    "combined-sd": (True, True),
    "combined-variance": (True, True),
    "log": (False, True),
}


def check_model(model: PkModel, where: str) -> None:
    """Refuse a model that contradicts itself.

    Parameters
    ----------
    model
        As read; a partial one (`missing`) is held to the rules of what it has.
    where
        File, for the message.

    Raises
    ------
    KnowledgeError
        With the rule that is broken.
    """
    try:
        _names(model)
        _structure(model)
        _variability(model)
        _residual(model)
        _citations(model)
        _units(model)
        _domain(model)
        if model.complete and all(covariate.reference is not None for covariate in model.covariates):
            _reference_patient(model)
    except KnowledgeError as error:
        raise KnowledgeError(error.message, where=where, hint=error.hint) from error


def _names(model: PkModel) -> None:
    inputs = [theta.name for theta in model.parameters] + [covariate.name for covariate in model.covariates]
    for name in chain(inputs, model.equations):
        if not name.isidentifier():
            raise KnowledgeError(f"'{name}' is not a name", hint="letters, digits and _ only")
    if twice := sorted({name for name in inputs if inputs.count(name) > 1} | (set(inputs) & model.equations.keys())):
        raise KnowledgeError(f"{', '.join(twice)} is defined twice")
    if shouting := [name for name in inputs if name != name.lower()]:
        raise KnowledgeError(f"{', '.join(shouting)}: only structural parameters are written in capitals")
    known, used = set(inputs), set[str]()
    for name, text in model.equations.items():
        step = expression(text)
        if step.queries or any(f"{query}(" in text for query in QUERIES):
            raise KnowledgeError(f"equation {name}: a model reads covariates only, no questions to the record")
        if unknown := sorted(step.names - known):
            raise KnowledgeError(f"equation {name} uses unknown names {', '.join(unknown)}")
        used |= step.names
        known.add(name)
    if model.complete and (idle := sorted(set(inputs) - used)):
        raise KnowledgeError(f"{', '.join(idle)} is never used in an equation")


def _structure(model: PkModel) -> None:
    found = [name for name in model.equations if name != name.lower()]
    allowed = {*model.structural, *model.optional}
    if wrong := [name for name in found if name not in allowed]:
        reason = "other structures have it" if set(wrong) <= _STRUCTURAL else "steps are written in lower case"
        raise KnowledgeError(f"{', '.join(wrong)} is no parameter of this structure: {reason}")
    if model.complete and (without := [name for name in model.structural if name not in found]):
        raise KnowledgeError(f"the structure needs {', '.join(without)}")
    if (model.absorption == "transit") != (model.transit > 0):
        raise KnowledgeError("`transit` counts the stages of transit absorption, and is 0 for every other")
    if model.complete and model.random and not model.residual:  # with neither the model is a curve, not a population
        raise KnowledgeError("no residual error", hint="give it, or say in `missing` that it is missing")
    if odd := sorted(name for name, bounds in model.limits.items() if len(bounds) != 2):
        raise KnowledgeError(f"limits of {', '.join(odd)} are not two numbers", hint="e.g. CL = [1, 20]")
    if unknown := sorted(model.limits.keys() - set(found)):
        raise KnowledgeError(f"limits of {', '.join(unknown)}, which the model does not have")


def _variability(model: PkModel) -> None:
    etas, targets = [effect.eta for effect in model.random], [effect.on for effect in model.random]
    if wrong := sorted(set(targets) - model.equations.keys()) or sorted(set(targets) - _STRUCTURAL):
        raise KnowledgeError(f"a random effect acts on {', '.join(wrong)}, which is no structural parameter here")
    if len(set(etas)) < len(etas) or len(set(targets)) < len(targets):
        raise KnowledgeError("two random effects have one name or act on one parameter")
    if len(model.omega) != len(model.random):
        raise KnowledgeError(f"omega is for {len(model.omega)} random effects, the model has {len(model.random)}")
    if model.complete and model.residual and not model.random:
        raise KnowledgeError("no random effect", hint="give them, or say in `missing` that they are missing")
    for name, matrix in (("omega", model.omega), ("occasion", model.occasion)):
        if matrix and (len(matrix) != len(model.random) or not is_covariance(matrix)):
            raise KnowledgeError(f"{name} is not symmetric positive semidefinite")


def _residual(model: PkModel) -> None:
    outputs = [residual.output for residual in model.residual]
    if len(set(outputs)) < len(outputs):
        raise KnowledgeError("two residual errors for one output")
    for residual in model.residual:
        if residual.output == METABOLITE and not model.metabolite_compartments:
            raise KnowledgeError("residual error of a metabolite that the model does not form")
        if not _fits(residual):
            raise KnowledgeError(
                f"residual error of {residual.output}: {residual.form} does not fit additive {residual.additive:g} "
                f"and proportional {residual.proportional:g}"
            )


def _fits(residual: Residual) -> bool:
    return (residual.additive > 0, residual.proportional > 0) == _NEEDS[residual.form]


def _citations(model: PkModel) -> None:
    known = {citation.key for citation in model.citations}
    cited = [theta.source for theta in model.parameters] + [residual.source for residual in model.residual]
    cited += [target.source for target in (*model.targets, *model.toxicity)]
    for key in (model.about.source, *cited):
        if key not in known:
            raise KnowledgeError(f"citation {key} is not defined")


def _units(model: PkModel) -> None:
    named = [(theta.name, theta.unit, theta.meaning) for theta in model.parameters]
    named += [(covariate.name, covariate.unit, covariate.meaning) for covariate in model.covariates]
    for name, unit, meaning in named:
        if not unit or not meaning:
            raise KnowledgeError(f"{name} has no unit or no meaning", hint='the unit of a plain number is "1"')
    for target in chain(model.targets, model.toxicity):
        if not target.unit or (target.low is None and target.high is None):
            raise KnowledgeError(f"the target {target.metric} has no unit or no bound")
    if not model.dose_unit or not model.concentration_unit:
        raise KnowledgeError("the units of dose and concentration must be stated")
    try:
        scale = convert(1.0, f"{model.dose_unit}/L", model.concentration_unit, molar_mass=model.molar_mass)
    except InputError as error:
        raise KnowledgeError(error.message, hint="mass and moles need `molar_mass` (g/mol)") from error
    if abs(scale - model.scale) > 1e-9 * scale:
        raise KnowledgeError(
            f"scale {model.scale:g} does not turn {model.dose_unit}/L into {model.concentration_unit}",
            hint=f"it is {scale:.12g}",
        )
    _metabolite(model)


def _metabolite(model: PkModel) -> None:
    """The unit of the metabolite's levels and what turns amounts of the parent into them."""
    if not model.metabolite_compartments:
        if model.metabolite_unit or model.metabolite_scale != 1.0 or model.metabolite_molar_mass is not None:
            raise KnowledgeError("a unit, scale or molar mass of a metabolite without `metabolite_compartments`")
        return
    if not model.metabolite_unit:
        raise KnowledgeError("the unit of the metabolite's levels must be stated", hint="give `metabolite_unit`")
    own, amount = model.metabolite_molar_mass, f"{model.dose_unit}/L"
    try:
        if own is None:
            scale = convert(1.0, amount, model.metabolite_unit, molar_mass=model.molar_mass)
        else:
            moles = convert(1.0, amount, "mmol/L", molar_mass=model.molar_mass)
            scale = convert(moles, "mmol/L", model.metabolite_unit, molar_mass=own)
    except InputError as error:
        raise KnowledgeError(error.message, hint="mass and moles need `molar_mass` (g/mol)") from error
    if abs(scale - model.metabolite_scale) > 1e-9 * scale:
        raise KnowledgeError(
            f"metabolite_scale {model.metabolite_scale:.12g} does not turn {amount} of the parent into "
            f"{model.metabolite_unit} of the metabolite",
            hint=f"it is {scale:.12g}",
        )


def _domain(model: PkModel) -> None:
    for covariate in model.covariates:
        if covariate.low is not None and covariate.high is not None and covariate.low > covariate.high:
            raise KnowledgeError(f"{covariate.name}: low is above high")
        for kind, value in (("reference", covariate.reference), ("default", covariate.default)):
            if value is not None and not _inside(covariate, value):
                raise KnowledgeError(f"{covariate.name}: the {kind} {value:g} is outside the studied range")


def _inside(covariate: Covariate, value: float) -> bool:
    low = covariate.low if covariate.low is not None else value
    high = covariate.high if covariate.high is not None else value
    return low <= value <= high


def _reference_patient(model: PkModel) -> None:
    try:
        typical = model.typical(model.reference)
    except InputError as error:
        raise KnowledgeError(f"the reference patient has no typical values: {error.message}") from error
    for name, value in typical.items():
        if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise KnowledgeError(f"{name} of the reference patient is {value:g}, not above zero")
        low, high = model.limits.get(name, (value, value))
        if not low <= value <= high:
            raise KnowledgeError(
                f"{name} of the reference patient is {value:g}, outside its limits {low:g} to {high:g}"
            )
    for name in ("FM", "FP"):
        if typical.get(name, 0.0) > 1:
            raise KnowledgeError(f"{name} of the reference patient is {typical[name]:g}, a share above 1")
    for effect in model.random:
        if effect.on == "FP" and effect.kind != "logit":
            raise KnowledgeError("a random effect on FP must be of the kind logit, which keeps it between 0 and 1")
        if effect.kind == "logit" and not 0 < typical[effect.on] < 1:
            raise KnowledgeError(f"{effect.on} has a logit random effect and is {typical[effect.on]:g}")
