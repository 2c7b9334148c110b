"""Which kinetic model a drug's file supports, chosen by stated rules; every choice is listed.

The file prints clearance, volume, half-life and bioavailability as different studies found them. They are
combined only where they agree. In this order:

1. clearance and volume; 2. half-life and volume; 3. half-life and clearance; 4. oral clearance CL/F with a volume or
a half-life; 5. clearance alone, which gives the average exposure but no curve.

Where clearance, volume and half-life are all printed and `ln 2 V / CL` differs from the half-life by more than
three-fold, nothing is answered. A clearance or volume is taken as apparent (divided by F) where the file says so or
where it holds no bioavailability. Absorption is first-order, its rate from the file or from the time of the peak.
An extended-release product has a curve only where the file holds how long it releases.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from posologist.core.drug import Drug, KineticValue
from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Ledger
from posologist.core.recommendation import NotChecked, Reason
from posologist.core.values import Because, DrugId, EvidenceKey, Many, Value, rounded
from posologist.twin.compartment import INTRAVENOUS

Release = Literal["immediate", "extended"]
RenalState = Literal["unchanged", "metabolites", "unclear", "not on file"]

DISAGREEMENT = 3.0  # fold between ln 2 V / CL and the printed half-life above which a file contradicts itself
KA_DISAGREEMENT = 2.0  # fold between the printed peak time and the one that the printed ka makes
_NONLINEAR = r"non-?linear|saturable|michaelis|half-life[^;]*dose.dependent|^dose.dependent, not useful"
_APPARENT = r"\bcl/f\b|clearance oral|\bv is apparent|apparent v|apparent clearance"
_SYSTEMIC_ROUTES = frozenset({"oral", "sc", "im", "transdermal"})
REFERENCE_WEIGHT_KG = 70.0  # weight at which per-kilogram values are expressed before a patient's weight is known

_CLEARANCE = (  # name in the file, unit, factor to L/h at the reference weight, per kg
    ("clearance", "L/h", 1.0, False),
    ("clearance_per_kg", "L/h/kg", REFERENCE_WEIGHT_KG, True),
)
_VOLUME = (("volume_per_kg", "L/kg", REFERENCE_WEIGHT_KG, True), ("volume", "L", 1.0, False))


class Parameter(Value):
    """A parameter's typical value (median) and its between-patient coefficient of variation, where one is printed."""

    name: str
    value: float
    unit: str
    cv: float | None = None
    per_kg: bool = False
    because: Because


class MissingKinetics(Value):
    """The question could not be answered from what is held: which, why, and what would answer it."""

    what: str
    why: str
    would_need: str
    drug: DrugId

    def not_checked(self) -> NotChecked:
        """The same, as the documents list it."""
        return NotChecked(what=self.what, why=self.why, would_need=self.would_need, drugs=(str(self.drug),))


class KineticModel(Value):
    """A one-compartment model of a typical adult of 70 kg, with what was assumed in choosing it.

    `volume` None: only average exposure can be told. `ka` None on an absorbed route: no curve (`no_curve` says why);
    `release_h` holds the duration of zero-order release. `apparent`: clearance and volume are divided by F, and
    `bioavailability` is 1. `unchanged_fraction` is the part of the clearance that is renal excretion of drug as such.
    """

    drug: DrugId
    route: str
    release: Release
    moiety: str = ""
    clearance: Parameter
    volume: Parameter | None = None
    bioavailability: Parameter | None = None
    apparent: bool = False
    ka: Parameter | None = None
    lag: Parameter | None = None
    release_h: Parameter | None = None
    no_curve: str = ""
    renal_state: RenalState
    renal_share: float | None = None
    unchanged_fraction: Parameter | None = None
    assumptions: Many[Reason] = ()
    because: Because


class _File:
    """A drug's kinetics with the evidence of each value that is used."""

    def __init__(self, drug: Drug, ledger: Ledger) -> None:
        self.drug = drug
        self.ledger = ledger
        self.assumptions: list[Reason] = []

    def raw(self, name: str) -> KineticValue | None:
        return self.drug.kinetics.parameters.get(name)

    def note(self, name: str) -> str:
        raw = self.raw(name)
        return raw.note.lower() if raw else ""

    def says(self, pattern: str) -> bool:
        """Whether a note on the kinetics, or on the drug, says so."""
        notes = (*(raw.note for raw in self.drug.kinetics.parameters.values()), *self.drug.notes)
        return any(re.search(pattern, note, re.IGNORECASE) for note in notes)

    def parameter(
        self, key: str, name: str, unit: str, *, printed: str = "", factor: float = 1.0, per_kg: bool = False
    ) -> Parameter | None:
        """The value, or the geometric middle of a printed range; None for a one-sided bound or a value of 0.

        Raises KnowledgeError where the file gives another unit than `printed` (default: `unit`).
        """
        raw = self.raw(key)
        if raw is None:
            return None
        if raw.unit not in ("", printed or unit):
            raise KnowledgeError(
                f"kinetics of {self.drug.name}: {key} is in '{raw.unit}'", hint=f"write it in {printed or unit}"
            )
        value = middle(raw)
        if value is None:
            return None
        because = self.cite(key, raw)
        return Parameter(name=name, value=value * factor, unit=unit, cv=raw.cv, per_kg=per_kg, because=(because,))

    def cite(self, key: str, raw: KineticValue) -> EvidenceKey:
        bounds = f"{_text(raw.low)} to {_text(raw.high)}" if raw.low is not None or raw.high is not None else ""
        value = " ".join(part for part in (_text(raw.value), f"({bounds})" if bounds else "") if part)
        text = f"{self.drug.name}: {key.replace('_', ' ')} {value}" + (f"; {raw.note}" if raw.note else "")
        return self.ledger.add("knowledge", text, source=str(raw.source), status=raw.status)

    def assume(self, text: str, *because: EvidenceKey) -> None:
        key = self.ledger.add("assumption", text, because=because)
        self.assumptions.append(Reason(text=text, because=(key,)))

    def missing(self, why: str, would_need: str) -> MissingKinetics:
        return MissingKinetics(what=f"exposure to {self.drug.name}", why=why, would_need=would_need, drug=self.drug.id)


def middle(raw: KineticValue) -> float | None:
    """The value, or the geometric middle of its printed range; None where neither is there or it is not positive."""
    if raw.value is not None:
        return raw.value if raw.value > 0 else None
    return math.sqrt(raw.low * raw.high) if raw.low and raw.high else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


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
    file = _File(drug, ledger)
    if refused := _outside_of_linear(file, route):
        return refused
    chosen = _clearance_and_volume(file, route)
    if isinstance(chosen, MissingKinetics):
        return chosen
    clearance, volume, apparent = chosen
    fraction = None if route in INTRAVENOUS or apparent else _bioavailability(file, route)
    extended: Release = "extended" if release == "extended" else "immediate"
    ka, lag, release_h, no_curve = _input(file, route, extended, clearance, volume)
    state, percent, unchanged = _renal(file, route)
    _mention_moiety(file)
    used = [p for p in (clearance, volume, fraction, ka, lag, release_h) if p is not None]
    return KineticModel(
        drug=drug.id, route=route, release=extended, moiety=drug.kinetics.moiety, clearance=clearance, volume=volume,
        bioavailability=fraction, apparent=apparent, ka=ka, lag=lag, release_h=release_h, no_curve=no_curve,
        renal_state=state, renal_share=percent, unchanged_fraction=unchanged, assumptions=tuple(file.assumptions),
        because=tuple(dict.fromkeys(key for p in used for key in p.because)),
    )  # fmt: skip


def _outside_of_linear(file: _File, route: str) -> MissingKinetics | None:
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
    absorbed = {product.route for product in drug.products} - INTRAVENOUS
    if len(absorbed & _SYSTEMIC_ROUTES) > 1 and file.raw(f"bioavailability_{route}") is None:
        named = ", ".join(sorted(absorbed))
        return file.missing(f"it is given {named}; the file does not say of which its values are", "values by route")
    if absorbed and route not in absorbed:
        return file.missing(
            f"no {route} product is on file, so its absorption is not known", f"a study of {route} doses"
        )
    raw = file.raw(f"bioavailability_{route}") or file.raw("bioavailability")
    if raw is not None and raw.value is not None and raw.value <= 0:
        return file.missing(f"it is not absorbed when given {route}", "another route")
    return None


def _clearance_and_volume(file: _File, route: str) -> tuple[Parameter, Parameter | None, bool] | MissingKinetics:
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
    if contradiction := _contradiction(file, clearance or oral, volume, half_life):
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


def _first(file: _File, keys: tuple[tuple[str, str, float, bool], ...], name: str, unit: str) -> Parameter | None:
    found = (
        file.parameter(key, name, unit, printed=printed, factor=factor, per_kg=per_kg)
        for key, printed, factor, per_kg in keys
    )
    return next((parameter for parameter in found if parameter is not None), None)


def _is_apparent(file: _File) -> bool:
    own = any(re.search(r"cl/f|apparent", file.note(key)) for key, *_ in (*_CLEARANCE, *_VOLUME))
    return own or any(re.search(_APPARENT, note, re.IGNORECASE) for note in file.drug.notes)


def _contradiction(
    file: _File, clearance: Parameter | None, volume: Parameter | None, half_life: Parameter | None
) -> MissingKinetics | None:
    if clearance is None or volume is None or half_life is None:
        return None
    made = math.log(2.0) * volume.value / clearance.value
    fold = max(made / half_life.value, half_life.value / made)
    if fold <= DISAGREEMENT:
        return None
    return file.missing(
        f"clearance and volume on file make a half-life of {made:.3g} h, the file prints {half_life.value:.3g} h "
        f"({fold:.1f}-fold apart)",
        "one study's clearance, volume and half-life, or a model with several compartments",
    )


def _state_choice(file: _File, clearance: Parameter, volume: Parameter | None, half_life: Parameter | None) -> None:
    if volume is not None and half_life is not None:
        made = math.log(2.0) * volume.value / clearance.value
        file.assume(
            f"Clearance and volume are used; they make a half-life of {made:.3g} h (the file prints "
            f"{half_life.value:.3g} h).",
            *clearance.because, *volume.because, *half_life.because,
        )  # fmt: skip


def _from_half_life(file: _File, half_life: Parameter | None, volume: Parameter | None) -> Parameter:
    if half_life is None or volume is None:
        raise AssertionError("half-life and volume were checked before")
    value = math.log(2.0) * volume.value / half_life.value
    because = (*half_life.because, *volume.because)
    file.assume(f"Clearance is computed from half-life and volume: {value:.3g} L/h.", *because)
    return Parameter(name="CL", value=value, unit="L/h", cv=None, per_kg=volume.per_kg, because=because)


def _volume_from(file: _File, clearance: Parameter, half_life: Parameter | None) -> Parameter | None:
    if half_life is None:
        return None
    value = clearance.value * half_life.value / math.log(2.0)
    because = (*clearance.because, *half_life.because)
    file.assume(f"Volume is computed from clearance and half-life: {value:.3g} L.", *because)
    return Parameter(name="V", value=value, unit="L", cv=None, per_kg=clearance.per_kg, because=because)


def _fraction(file: _File, route: str) -> float | None:
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


def _bioavailability(file: _File, route: str) -> Parameter | None:
    value = _fraction(file, route)
    key = f"bioavailability_{route}"
    key = key if file.raw(key) else "bioavailability"
    raw = file.raw(key)
    if value is None or raw is None:
        return None
    return Parameter(name="F", value=value, unit="1", cv=raw.cv, because=(file.cite(key, raw),))


def _input(
    file: _File, route: str, release: Release, clearance: Parameter, volume: Parameter | None
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
    ka, printed = _absorption_rate(file, clearance.value / volume.value)
    if ka is None:
        return None, None, None, "curve not shown: no absorption rate and no time of peak on file for this form"
    return ka, lag if printed else None, None, ""  # a printed peak time includes the lag


def _absorption_rate(file: _File, ke: float) -> tuple[Parameter | None, bool]:
    """Absorption rate, and whether it is the printed one."""
    printed = file.parameter("absorption_rate", "ka", "1/h")
    peak = file.parameter("tmax", "tmax", "h")
    if peak is not None and file.note("tmax").startswith(("er", "cc", "sr", "extended")):
        peak = None
    if printed is not None and peak is not None:
        made = peak_time(printed.value, ke)
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
    value = ka_for_peak(peak.value, ke)
    reached = peak_time(value, ke)
    short = "" if reached > 0.95 * peak.value else f" (not later, at {peak.value:.2g} h: ka would fall below ke)"
    file.assume(f"The absorption rate {value:.3g} per h puts the peak at {reached:.2g} h{short}.", *peak.because)
    return Parameter(name="ka", value=value, unit="1/h", cv=None, because=peak.because), False


def peak_time(ka: float, ke: float) -> float:
    """Time of the peak (h) after a single dose with first-order absorption into one compartment."""
    if abs(ka - ke) < 1e-9 * ke:
        return 1.0 / ke
    return math.log(ka / ke) / (ka - ke)


def ka_for_peak(tmax_h: float, ke: float) -> float:
    """Absorption rate (1/h) that puts the peak of one dose at `tmax_h`; at least ke, at most 30/tmax.

    Absorption is taken as faster than elimination. A peak later than 1/ke cannot be made so; ka = ke is then used.
    Bisection on log ka to 1e-12.
    """
    if tmax_h >= 1.0 / ke:
        return ke
    low, high = math.log(ke), math.log(max(30.0 / tmax_h, 2.0 * ke))
    for _ in range(60):
        middle = (low + high) / 2.0
        if peak_time(math.exp(middle), ke) > tmax_h:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2.0)


def _renal(file: _File, route: str) -> tuple[RenalState, float | None, Parameter | None]:
    """What renal excretion means here: of unchanged drug only where the file says so, and nothing else."""
    explicit = file.raw("renal_excretion_unchanged")
    raw = explicit or file.raw("renal_excretion")
    if raw is None:
        return "not on file", None, None
    note = raw.note.lower()
    value = raw.value if raw.value is not None else _middle(raw)
    if explicit is None and not _says_unchanged(note):
        state: RenalState = "metabolites" if note.startswith("as metabolites") else "unclear"
        return state, value, None
    if value is None:
        return "unclear", raw.high, None
    share, cited = (
        value / 100.0,
        file.cite("renal_excretion" if explicit is None else "renal_excretion_unchanged", raw),
    )
    fraction = _fraction(file, "oral")
    if fraction is not None and "absorbed" not in note and " iv" not in note and route not in INTRAVENOUS:
        file.assume("The share excreted unchanged is read as of the oral dose, so divided by F (at most 1).", cited)
        share = share / fraction
    because = (cited,)
    return "unchanged", value, Parameter(name="fe", value=rounded(min(share, 1.0)), unit="1", because=because)


def _middle(raw: KineticValue) -> float | None:
    return None if raw.low is None or raw.high is None else (raw.low + raw.high) / 2.0


def _says_unchanged(note: str) -> bool:
    """Whether the note begins by saying that the printed share is of unchanged drug."""
    return note.startswith(
        ("unchanged", "oral dose unchanged", "of absorbed dose, unchanged", "of absorbed drug, unchanged")
    )


def _mention_moiety(file: _File) -> None:
    if file.drug.kinetics.moiety:
        text = f"The kinetics on file are of {file.drug.kinetics.moiety}; the dose is not corrected for molar mass."
        file.assume(text)
