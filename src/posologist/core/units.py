"""Units: a small table of UCUM codes with their canonical unit and factor.

Text comes in as UCUM or as laboratories write it; `convert` answers in another unit of the same kind. Molar
and mass concentrations convert only with a molar mass (g/mol).
"""

from __future__ import annotations

from posologist.core.errors import InputError

_TABLE: dict[str, tuple[str, float]] = {  # spelling: (dimension, factor to the dimension's base unit)
    # mass, base mg
    "kg": ("mass", 1e6), "g": ("mass", 1e3), "mg": ("mass", 1.0), "ug": ("mass", 1e-3), "ng": ("mass", 1e-6),
    "[lb_av]": ("mass", 453592.37), "[oz_av]": ("mass", 28349.523125),
    # length, base cm
    "m": ("length", 100.0), "cm": ("length", 1.0), "mm": ("length", 0.1), "[in_i]": ("length", 2.54),
    "[ft_i]": ("length", 30.48),
    # time, base h
    "s": ("time", 1 / 3600), "min": ("time", 1 / 60), "h": ("time", 1.0), "d": ("time", 24.0),
    "wk": ("time", 168.0), "mo": ("time", 730.5), "a": ("time", 8766.0), "ms": ("time", 1 / 3.6e6),
    # volume, base L
    "L": ("volume", 1.0), "dL": ("volume", 0.1), "mL": ("volume", 1e-3), "uL": ("volume", 1e-6),
    # mass concentration, base mg/L
    "g/L": ("mass/volume", 1e3), "g/dL": ("mass/volume", 1e4), "mg/dL": ("mass/volume", 10.0),
    "mg/L": ("mass/volume", 1.0), "ug/mL": ("mass/volume", 1.0), "ug/L": ("mass/volume", 1e-3),
    "ng/mL": ("mass/volume", 1e-3), "ug/dL": ("mass/volume", 1e-2), "pg/mL": ("mass/volume", 1e-6),
    "ng/L": ("mass/volume", 1e-6), "mg/mL": ("mass/volume", 1e3), "ng/dL": ("mass/volume", 1e-5),
    "kg/m3": ("mass/volume", 1e3),
    # molar concentration, base umol/L
    "mol/L": ("moles/volume", 1e6), "mmol/L": ("moles/volume", 1e3), "umol/L": ("moles/volume", 1.0),
    "nmol/L": ("moles/volume", 1e-3), "pmol/L": ("moles/volume", 1e-6), "mmol/mL": ("moles/volume", 1e6),
    # equivalents, base mmol/L of charge
    "meq/L": ("equivalents/volume", 1.0),
    # pressure, base mm[Hg]
    "mm[Hg]": ("pressure", 1.0), "kPa": ("pressure", 7.500615758), "cm[H2O]": ("pressure", 0.7355591),
    # rates
    "/min": ("rate", 1.0), "/s": ("rate", 60.0), "Hz": ("rate", 60.0),
    "mL/min": ("flow", 1.0), "L/h": ("flow", 1000 / 60), "mL/s": ("flow", 60.0), "L/min": ("flow", 1000.0),
    "mL/min/{1.73_m2}": ("normalised flow", 1.0),
    # fractions, base %
    "%": ("fraction", 1.0), "1": ("fraction", 100.0), "mmol/mol": ("ifcc fraction", 1.0),
    # ratios
    "mg/g": ("mass ratio", 1.0), "ug/mg": ("mass ratio", 1.0), "mg/mmol": ("mass/moles", 1.0),
    "g/g": ("mass ratio", 1000.0), "g/mol": ("mass/moles", 1.0),
    # temperature
    "Cel": ("temperature C", 1.0), "[degF]": ("temperature F", 1.0),
    # counts and activity
    "10*3/uL": ("cells", 1.0), "10*9/L": ("cells", 1.0), "/uL": ("cells", 1e-3), "10*6/uL": ("red cells", 1.0),
    "10*12/L": ("red cells", 1.0),
    "U/L": ("activity", 1.0), "[iU]/L": ("activity", 1.0), "ukat/L": ("activity", 60.0),
    "m[iU]/L": ("hormone", 1.0), "u[iU]/mL": ("hormone", 1.0),
    "kg/m2": ("body mass index", 1.0), "m2": ("area", 1.0), "{INR}": ("inr", 1.0), "{score}": ("score", 1.0),
    "{mutations}/Mb": ("mutations/bases", 1.0), "1/1000000{Base}": ("mutations/bases", 1.0),
    "ng/mL/h": ("activity by product", 1.0), "ug/L/h": ("activity by product", 1.0),
    "mmol/(24.h)": ("moles/time", 1.0), "mmol/d": ("moles/time", 1.0),
    "h.mg/L": ("auc", 1.0), "h.ng/mL": ("auc", 1e-3), "h.ug/L": ("auc", 1e-3),
}  # fmt: skip

_SPELLINGS = {
    "µg": "ug", "mcg": "ug", "μg": "ug", "lb": "[lb_av]", "lbs": "[lb_av]", "in": "[in_i]", "inches": "[in_i]",
    "ft": "[ft_i]", "hr": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "years": "a", "year": "a",
    "week": "wk", "weeks": "wk", "msec": "ms", "sec": "s",
    "l": "L", "dl": "dL", "ml": "mL", "mcg/mL": "ug/mL", "mcg/L": "ug/L", "µg/mL": "ug/mL", "µg/L": "ug/L",
    "mcg/dL": "ug/dL", "mg/dl": "mg/dL", "g/dl": "g/dL", "mmol/l": "mmol/L", "µmol/L": "umol/L",
    "μmol/L": "umol/L", "umol/l": "umol/L", "micromol/L": "umol/L", "mEq/L": "meq/L", "meq/l": "meq/L",
    "mg/l": "mg/L", "ng/ml": "ng/mL", "ug/ml": "ug/mL", "g/l": "g/L", "gm/dL": "g/dL",
    "mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "bpm": "/min", "{beats}/min": "/min", "beats/min": "/min",
    "beats/minute": "/min", "{Beats}/min": "/min", "per minute": "/min", "/minute": "/min",
    "mL/min/1.73m2": "mL/min/{1.73_m2}", "mL/min/{1.73_m2}": "mL/min/{1.73_m2}",
    "mL/min/1.73 m2": "mL/min/{1.73_m2}", "mL/min/{1.73m2}": "mL/min/{1.73_m2}", "ml/min/1.73m2": "mL/min/{1.73_m2}",
    "ml/min": "mL/min", "percent": "%", "{ratio}": "{INR}", "INR": "{INR}", "kg/m^2": "kg/m2", "Kg/m2": "kg/m2",
    "ratio": "{INR}", "C": "Cel", "°C": "Cel", "degC": "Cel", "F": "[degF]", "degF": "[degF]", "°F": "[degF]",
    "K/uL": "10*3/uL", "10^3/uL": "10*3/uL", "10^9/L": "10*9/L", "x10^9/L": "10*9/L", "thou/uL": "10*3/uL",
    "IU/L": "[iU]/L", "mIU/L": "m[iU]/L", "uIU/mL": "u[iU]/mL", "mg/24h": "mg", "kgs": "kg", "grams": "g",
    "mg/mmol creat": "mg/mmol", "µg/mg": "ug/mg", "mcg/mg": "ug/mg", "h*mg/L": "h.mg/L", "mg*h/L": "h.mg/L",
    "mg.h/L": "h.mg/L", "ng*h/mL": "h.ng/mL", "ng.h/mL": "h.ng/mL",
    "ng/mL/hr": "ng/mL/h", "ng/(mL.h)": "ng/mL/h", "ng/mL/hour": "ng/mL/h", "mmol/24h": "mmol/(24.h)",
    "mmol/24 h": "mmol/(24.h)", "mmol/24hr": "mmol/(24.h)", "mmol/day": "mmol/d",
    "mutations/Mb": "{mutations}/Mb", "mut/Mb": "{mutations}/Mb",
}  # fmt: skip


def ucum(text: str) -> str:
    """UCUM code of a unit as laboratories write it; the text itself when it is not in the table."""
    cleaned = text.strip()
    return cleaned if cleaned in _TABLE else _SPELLINGS.get(cleaned, cleaned)


def is_known(text: str) -> bool:
    """Whether the table holds this unit."""
    return ucum(text) in _TABLE


def dimension(text: str) -> str:
    """Kind of quantity, e.g. "mass/volume".

    Raises
    ------
    InputError
        If the unit is not in the table.
    """
    code = ucum(text)
    if code not in _TABLE:
        raise InputError(f"unit '{text}' is not known", hint="use a UCUM unit, e.g. mg/dL, umol/L, mm[Hg]")
    return _TABLE[code][0]


def convert(value: float, source: str, target: str, *, molar_mass: float | None = None, valence: int = 1) -> float:
    """The value in `target`'s unit.

    Parameters
    ----------
    value
        In `source`'s unit.
    molar_mass
        g/mol; needed between mass and molar concentrations, and from mg/mmol to mg/g.
    valence
        Charge of the ion; needed between equivalents and molar concentrations.

    Raises
    ------
    InputError
        If a unit is not known or the two measure different things.
    """
    kind_in, kind_out = dimension(source), dimension(target)
    factor_in, factor_out = _TABLE[ucum(source)][1], _TABLE[ucum(target)][1]
    base = value * factor_in
    if kind_in == kind_out:
        return base / factor_out if ucum(source) != ucum(target) else value
    kinds = (kind_in, kind_out)
    if kinds == ("temperature F", "temperature C"):
        return (value - 32.0) * 5.0 / 9.0
    if kinds == ("temperature C", "temperature F"):
        return value * 9.0 / 5.0 + 32.0
    if kinds == ("ifcc fraction", "fraction"):
        return (0.09148 * value + 2.152) / factor_out  # NGSP = 0.09148 IFCC + 2.152, ngsp.org master equation
    if kinds == ("fraction", "ifcc fraction"):
        return (base - 2.152) / 0.09148
    if kinds == ("equivalents/volume", "moles/volume"):
        return base * 1e3 / valence / factor_out
    if kinds == ("moles/volume", "equivalents/volume"):
        return base * valence / 1e3 / factor_out
    if molar_mass is not None:
        if kinds == ("mass/volume", "moles/volume"):  # mg/L -> umol/L
            return base / molar_mass * 1e3 / factor_out
        if kinds == ("moles/volume", "mass/volume"):
            return base * molar_mass / 1e3 / factor_out
        if kinds == ("mass/moles", "mass ratio"):  # mg/mmol of a substance -> mg/g
            return base / molar_mass * 1e3 / factor_out
    raise InputError(
        f"'{source}' is {kind_in}, '{target}' is {kind_out}: they do not convert",
        hint="check the unit of this value",
    )
