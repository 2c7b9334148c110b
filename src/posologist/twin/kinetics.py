"""Which kinetic model a drug's file supports, chosen by stated rules; every choice is listed.

The file prints clearance, volume, half-life and bioavailability as different studies found them. They are
combined only where they agree. In this order:

1. clearance and volume; 2. half-life and volume; 3. half-life and clearance; 4. oral clearance CL/F with a volume or
a half-life; 5. clearance alone, which gives the average exposure but no curve.

Where clearance, volume and half-life are all printed and `ln 2 V / CL` differs from the half-life by more than
three-fold, nothing is answered. With intercompartmental clearance and peripheral volume the model has two
compartments, and the terminal half-life is compared. A clearance or volume is taken as apparent (divided by F) where
the file says so or where it holds no bioavailability. Absorption is first-order, its rate from the file or from the
time of the peak. An extended-release product has a curve only where the file holds how long it releases.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from posologist.core.drug import Drug, KineticValue
from posologist.core.evidence import Ledger
from posologist.core.recommendation import Reason
from posologist.core.values import Because, DrugId, EvidenceKey, Many, Value, rounded
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.parameters import REFERENCE_WEIGHT_KG, DrugFile, MissingKinetics, Parameter
from posologist.twin.peak import Terms, ka_for_peak, peak_time, terms_of

__all__ = ["KineticModel", "MissingKinetics", "Parameter", "RenalExcretion", "kinetic_model"]

Release = Literal["immediate", "extended"]
RenalState = Literal["unchanged", "metabolites", "unclear", "not on file"]

DISAGREEMENT = 3.0  # fold between ln 2 V / CL and the printed half-life above which a file contradicts itself
KA_DISAGREEMENT = 2.0  # fold between the printed peak time and the one that the printed ka makes
_NONLINEAR = r"non-?linear|saturable|michaelis|half-life[^;]*dose.dependent|^dose.dependent, not useful"
_APPARENT = r"\bcl/f\b|clearance oral|\bv is apparent|apparent v|apparent clearance"
_SYSTEMIC_ROUTES = frozenset({"oral", "sc", "im", "transdermal"})

_CLEARANCE = (  # name in the file, unit, factor to L/h at the reference weight, per kg
    ("clearance", "L/h", 1.0, False),
    ("clearance_per_kg", "L/h/kg", REFERENCE_WEIGHT_KG, True),
)
_INTERCOMPARTMENTAL = (
    ("intercompartmental_clearance", "L/h", 1.0, False),
    ("intercompartmental_clearance_per_kg", "L/h/kg", REFERENCE_WEIGHT_KG, True),
)
_PERIPHERAL = (
    ("peripheral_volume_per_kg", "L/kg", REFERENCE_WEIGHT_KG, True),
    ("peripheral_volume", "L", 1.0, False),
)
_VOLUME = (("volume_per_kg", "L/kg", REFERENCE_WEIGHT_KG, True), ("volume", "L", 1.0, False))


class RenalExcretion(Value):
    """How much leaves by the kidney, and of what: `share` as printed, `unchanged` (fe) the part of the clearance."""

    state: RenalState
    share: float | None = None
    unchanged: Parameter | None = None
    because: Many[EvidenceKey] = ()


class KineticModel(Value):
    """A model of a typical adult of 70 kg, with what was assumed in choosing it.

    `volume` is the central one where `peripheral` holds a second compartment (intercompartmental clearance L/h,
    volume L).

    `volume` None: only average exposure can be told. `ka` None on an absorbed route: no curve (`no_curve` says why);
    `release_h` holds the duration of zero-order release. `apparent`: clearance and volume are divided by F, and
    `bioavailability` is None (1).
    """

    drug: DrugId
    route: str
    release: Release
    moiety: str = ""
    clearance: Parameter
    volume: Parameter | None = None
    peripheral: tuple[Parameter, Parameter] | None = None
    bioavailability: Parameter | None = None
    apparent: bool = False
    ka: Parameter | None = None
    lag: Parameter | None = None
    release_h: Parameter | None = None
    no_curve: str = ""
    renal: RenalExcretion
    assumptions: Many[Reason] = ()
    because: Because

    @property
    def compartments(self) -> str:
        """How many compartments, as a word."""
        return "one" if self.peripheral is None else "two"


def kinetic_model(
    drug: Drug, *, route: str = "oral", release: str = "immediate", ledger: Ledger
) -> KineticModel | MissingKinetics:
    """The model that the drug's file supports for one route and release, or why it supports none.

    Parameters
    ----------
    drug
        Its `kinetics.parameters` are read; per-kilogram values are expressed at 70 kg.
    route
        "iv" enters the blood directly; every other route is absorbed.
    release
        "extended" gives average exposure only, unless the file holds `release_duration`.
    ledger
        Receives the citations and the assumptions.
    """
    file, route = DrugFile(drug, ledger), short_route(route)
    if refused := _outside_of_linear(file, route):
        return refused
    chosen = _clearance_and_volume(file, route)
    if isinstance(chosen, MissingKinetics):
        return chosen
    clearance, volume, apparent = chosen
    outer = None if volume is None else _peripheral(file)
    fraction = None if route in INTRAVENOUS or apparent else _bioavailability(file, route)
    extended: Release = "extended" if release == "extended" else "immediate"
    ka, lag, release_h, no_curve = _input(file, route, extended, clearance, volume, outer)
    renal = _renal(file, route)
    _mention_moiety(file, clearance)
    _mention_unverified(file)
    used = [p for p in (clearance, volume, *(outer or ()), fraction, ka, lag, release_h) if p is not None]
    return KineticModel(
        drug=drug.id, route=route, release=extended, moiety=drug.kinetics.moiety, clearance=clearance, volume=volume,
        peripheral=outer, bioavailability=fraction, apparent=apparent, ka=ka, lag=lag, release_h=release_h,
        no_curve=no_curve, renal=renal, assumptions=tuple(file.assumptions),
        because=tuple(dict.fromkeys(key for p in used for key in p.because)),
    )  # fmt: skip


def _outside_of_linear(file: DrugFile, route: str) -> MissingKinetics | None:
    """Why the file's values must not be put into a linear model of this drug by this route, if they must not."""
    drug = file.drug
    if not drug.kinetics.parameters:
        return file.missing("no pharmacokinetic parameter is on file", "clearance, or half-life and volume")
    if drug.components:
        return file.missing(
            "it is a combination, and one set of parameters cannot be of all parts", "a model of each part"
        )
    if file.says(_NONLINEAR):
        return file.missing("its kinetics are not linear", "a model with saturable elimination or absorption")
    if file.says(r"clearance is renal clearance"):
        return file.missing("the clearance on file is of the kidney alone", "the total clearance")
    if route in INTRAVENOUS:
        return None
    absorbed = {short_route(product.route) for product in drug.products} - INTRAVENOUS
    if len(absorbed & _SYSTEMIC_ROUTES) > 1 and file.raw(f"bioavailability_{route}") is None:
        named = ", ".join(sorted(absorbed))
        return file.missing(f"it is given {named}; the file does not say of which its values are", "values by route")
    if drug.products and route not in absorbed:
        why = f"no {route} product is on file, so its absorption is not known"
        return file.missing(why, f"a study of {route} doses")
    raw = file.raw(f"bioavailability_{route}") or file.raw("bioavailability")
    if raw is not None and raw.value is not None and raw.value <= 0:
        return file.missing(f"it is not absorbed when given {route}", "another route")
    return None


def _clearance_and_volume(file: DrugFile, route: str) -> tuple[Parameter, Parameter | None, bool] | MissingKinetics:
    """Clearance, volume (None: not held) and whether both are apparent."""
    absorbed = route not in INTRAVENOUS
    clearance = _first(file, _CLEARANCE, "CL", "L/h")
    oral = file.parameter("oral_clearance", "CL/F", "L/h") if absorbed else None
    volume = _first(file, _VOLUME, "V", "L")
    half_life = file.parameter("half_life", "half-life", "h")
    fraction_known = _fraction(file, route) is not None
    stated_apparent = absorbed and _is_apparent(file)
    if clearance is not None and stated_apparent:
        oral, clearance = oral or clearance, None
    if clearance is None and oral is None and not (half_life and volume):
        held = "a half-life alone" if half_life else "neither clearance nor a half-life with a volume"
        return file.missing(f"the file holds {held}", "a clearance, or a volume with the half-life")
    if contradiction := _contradiction(file, clearance or oral, volume, half_life, _peripheral(file)):
        return contradiction
    if clearance is not None and (fraction_known or not absorbed or oral is None):
        apparent = absorbed and not fraction_known
        _state_choice(file, clearance, volume, half_life)
    elif oral is not None:
        clearance, apparent = oral, True
        file.assume("Clearance is of the dose swallowed (CL/F); the volume is taken as apparent too.", *oral.because)
    else:
        apparent = absorbed and (stated_apparent or not fraction_known)
        clearance = _from_half_life(file, half_life, volume)
        if absorbed and not apparent:
            file.assume(
                "The volume on file is taken as that of drug in the body, not divided by F.", *clearance.because
            )
    if apparent and not fraction_known:
        file.assume(
            f"Bioavailability of {file.drug.name} is not on file: clearance and volume are taken as apparent "
            "(divided by F); exposure is overestimated where they were measured after intravenous doses.",
            *clearance.because,
        )
    return clearance, volume or _volume_from(file, clearance, half_life), apparent


def _first(file: DrugFile, keys: tuple[tuple[str, str, float, bool], ...], name: str, unit: str) -> Parameter | None:
    found = (
        file.parameter(key, name, unit, printed=printed, factor=factor, per_kg=per_kg)
        for key, printed, factor, per_kg in keys
    )
    return next((parameter for parameter in found if parameter is not None), None)


def _is_apparent(file: DrugFile) -> bool:
    own = any(re.search(r"cl/f|apparent", file.note(key)) for key, *_ in (*_CLEARANCE, *_VOLUME))
    return own or any(re.search(_APPARENT, note, re.IGNORECASE) for note in file.drug.notes)


def _peripheral(file: DrugFile) -> tuple[Parameter, Parameter] | None:
    """Intercompartmental clearance and peripheral volume, where the file holds both."""
    q = _first(file, _INTERCOMPARTMENTAL, "Q", "L/h")
    v2 = _first(file, _PERIPHERAL, "V2", "L")
    return None if q is None or v2 is None else (q, v2)


def _terms(clearance: Parameter, volume: Parameter, outer: tuple[Parameter, Parameter] | None) -> Terms:
    q, v2 = (0.0, 0.0) if outer is None else (outer[0].value, outer[1].value)
    return terms_of(clearance.value, volume.value, q, v2)


def _contradiction(
    file: DrugFile,
    clearance: Parameter | None,
    volume: Parameter | None,
    half_life: Parameter | None,
    outer: tuple[Parameter, Parameter] | None,
) -> MissingKinetics | None:
    """Whether the printed half-life is far from the (terminal) one that clearance and volumes make."""
    if clearance is None or volume is None or half_life is None:
        return None
    made = math.log(2.0) / min(rate for rate, _ in _terms(clearance, volume, outer))
    fold = max(made / half_life.value, half_life.value / made)
    if fold <= DISAGREEMENT:
        return None
    return file.missing(
        f"clearance and volume on file make a half-life of {made:.3g} h, the file prints {half_life.value:.3g} h "
        f"({fold:.1f}-fold apart)",
        "one study's clearance, volume and half-life, or a model with several compartments",
    )


def _state_choice(file: DrugFile, clearance: Parameter, volume: Parameter | None, half_life: Parameter | None) -> None:
    if volume is not None and half_life is not None and _peripheral(file) is None:
        made = math.log(2.0) * volume.value / clearance.value
        file.assume(
            f"Clearance and volume are used; they make a half-life of {made:.3g} h (the file prints "
            f"{half_life.value:.3g} h).",
            *clearance.because, *volume.because, *half_life.because,
        )  # fmt: skip


def _from_half_life(file: DrugFile, half_life: Parameter | None, volume: Parameter | None) -> Parameter:
    if half_life is None or volume is None:
        raise AssertionError("half-life and volume were checked before")
    value = math.log(2.0) * volume.value / half_life.value
    because = (*half_life.because, *volume.because)
    file.assume(f"Clearance is computed from half-life and volume: {value:.3g} L/h.", *because)
    return Parameter(name="CL", value=value, unit="L/h", cv=None, per_kg=volume.per_kg, because=because)


def _volume_from(file: DrugFile, clearance: Parameter, half_life: Parameter | None) -> Parameter | None:
    if half_life is None:
        return None
    value = clearance.value * half_life.value / math.log(2.0)
    because = (*clearance.because, *half_life.because)
    file.assume(f"Volume is computed from clearance and half-life: {value:.3g} L.", *because)
    return Parameter(name="V", value=value, unit="L", cv=None, per_kg=clearance.per_kg, because=because)


def _fraction(file: DrugFile, route: str) -> float | None:
    key = "bioavailability"
    raw = file.raw(f"bioavailability_{route}") or (file.raw(key) if route == "oral" else None)
    if raw is None and route in ("sc", "im"):
        raw = file.raw(key)
    if raw is None:
        return None
    value = raw.value
    if value is None and raw.low is not None and raw.high is not None:
        value = (raw.low + raw.high) / 2.0
    return None if value is None or value <= 0 else min(value, 1.0)


def _bioavailability(file: DrugFile, route: str) -> Parameter | None:
    value = _fraction(file, route)
    key = f"bioavailability_{route}"
    key = key if file.raw(key) else "bioavailability"
    raw = file.raw(key)
    if value is None or raw is None:
        return None
    return Parameter(name="F", value=value, unit="1", cv=raw.cv, because=(file.cite(key, raw),))


def _input(
    file: DrugFile,
    route: str,
    release: Release,
    clearance: Parameter,
    volume: Parameter | None,
    outer: tuple[Parameter, Parameter] | None,
) -> tuple[Parameter | None, Parameter | None, Parameter | None, str]:
    """Absorption rate, lag, duration of release, and why there is no curve ("" where there is one)."""
    if volume is None:
        return None, None, None, "curve not shown: neither a volume nor a half-life is on file"
    if route in INTRAVENOUS:
        return None, None, None, ""
    lag = file.parameter("lag_time", "lag", "h")
    if release == "extended":
        duration = file.parameter("release_duration", "release", "h")
        if duration is None:
            return None, None, None, "curve not shown: release profile not known"
        file.assume("Extended release is taken as a constant rate over the duration on file.", *duration.because)
        return None, lag, duration, ""
    ka, printed = _absorption_rate(file, _terms(clearance, volume, outer))
    if ka is None:
        return None, None, None, "curve not shown: no absorption rate and no time of peak on file for this form"
    return ka, lag if printed else None, None, ""  # a printed peak time includes the lag


def _absorption_rate(file: DrugFile, terms: Terms) -> tuple[Parameter | None, bool]:
    """Absorption rate, and whether it is the printed one."""
    printed = file.parameter("absorption_rate", "ka", "1/h")
    peak = file.parameter("tmax", "tmax", "h")
    if peak is not None and file.note("tmax").startswith(("er", "cc", "sr", "extended")):
        peak = None
    if printed is not None and peak is not None:
        made = peak_time(printed.value, terms)
        if max(made / peak.value, peak.value / made) > KA_DISAGREEMENT:
            file.assume(
                f"The absorption rate on file would put the peak at {made:.2g} h, the file prints {peak.value:.2g} h: "
                "the peak time is used.",
                *printed.because,
                *peak.because,
            )
            printed = None
    if printed is not None or peak is None:
        return printed, printed is not None
    value = ka_for_peak(peak.value, terms)
    reached = peak_time(value, terms)
    short = (
        ""
        if reached > 0.95 * peak.value
        else f" (not at {peak.value:.2g} h: absorption would be slower than elimination)"
    )
    file.assume(f"The absorption rate {value:.3g} per h puts the peak at {reached:.2g} h{short}.", *peak.because)
    return Parameter(name="ka", value=value, unit="1/h", cv=None, because=peak.because), False


def _renal(file: DrugFile, route: str) -> RenalExcretion:
    """What renal excretion means here: of unchanged drug only where the file says so, and nothing else."""
    explicit = file.raw("renal_excretion_unchanged")
    raw = explicit or file.raw("renal_excretion")
    if raw is None:
        return RenalExcretion(state="not on file")
    note = raw.note.lower()
    value = raw.value if raw.value is not None else _middle(raw)
    key = file.cite("renal_excretion" if explicit is None else "renal_excretion_unchanged", raw)
    if explicit is None and not _says_unchanged(note):
        state: RenalState = "metabolites" if note.startswith("as metabolites") else "unclear"
        return RenalExcretion(state=state, share=value, because=(key,))
    if value is None:
        return RenalExcretion(state="unclear", share=raw.high, because=(key,))
    part, fraction = value, _fraction(file, "oral")
    if fraction is not None and "absorbed" not in note and " iv" not in note and route not in INTRAVENOUS:
        file.assume("The share excreted unchanged is read as of the oral dose, so divided by F (at most 1).", key)
        part = value / fraction
    unchanged = Parameter(name="fe", value=rounded(min(part, 1.0)), unit="1", because=(key,))
    return RenalExcretion(state="unchanged", share=value, unchanged=unchanged, because=(key,))


def _middle(raw: KineticValue) -> float | None:
    return None if raw.low is None or raw.high is None else (raw.low + raw.high) / 2.0


def _says_unchanged(note: str) -> bool:
    """Whether the note begins by saying that the printed share is of unchanged drug."""
    return note.startswith(
        ("unchanged", "oral dose unchanged", "of absorbed dose, unchanged", "of absorbed drug, unchanged")
    )


def _mention_moiety(file: DrugFile, clearance: Parameter) -> None:
    if file.drug.kinetics.moiety:
        text = "the kinetics on file are used with the dose as it is, without a molar factor"
        file.assume(f"{file.drug.kinetics.moiety}: {text}.", *clearance.because)


def _mention_unverified(file: DrugFile) -> None:
    if file.recalled:
        names = ", ".join(sorted(file.recalled))
        file.assume(f"Still to be verified in a source: {names} of {file.drug.name}.", *file.recalled.values())
