"""Randomised trials from which a treatment policy is learned: arms, known probabilities, and what is known at the draw.

A feature is only what was known before the patient was randomised. Every other column of the table is named in
`left_out` with the reason, so that a column that nobody judged is refused by a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.learn.tasks.cells import number

Array = npt.NDArray[np.float64]
Cells = Mapping[str, str]

_MISSING = ("", "NA", ".")


@dataclass(frozen=True)
class Covariate:
    """A number of a patient from the cells of one row; nan where it was not recorded.

    `sources` are the columns that it reads.
    """

    name: str
    sources: tuple[str, ...]
    read: Callable[[Cells], float]


@dataclass(frozen=True)
class Trial:
    """A trial: its arms in order, the probability of each, what may be used, and its outcome (more is better).

    Parameters
    ----------
    arm
        The place in `arms` of the regimen that a row was given by the draw.
    probability
        Of each arm, as the protocol fixed it; not estimated from the table.
    outcome
        Of a row in `unit`; nan: not known. More is better.
    second
        A second outcome in which the value of the same policies is told, with its name and unit, if there is one.
    left_out
        Column to why it is no feature.
    """

    name: str
    arms: tuple[str, ...]
    probability: tuple[float, ...]
    arm: Callable[[Cells], int]
    covariates: tuple[Covariate, ...]
    outcome: Callable[[Cells], float]
    outcome_text: str
    unit: str
    left_out: Mapping[str, str]
    second: Callable[[Cells], float] | None = None
    second_text: str = ""

    @property
    def columns(self) -> frozenset[str]:
        """Every column that a feature reads."""
        return frozenset(source for covariate in self.covariates for source in covariate.sources)

    def matrix(self, rows: Sequence[Cells]) -> Array:
        """The features of the rows, (n, number of covariates), nan where not recorded."""
        return np.array([[c.read(row) for c in self.covariates] for row in rows], dtype=np.float64)


def _number(row: Cells, column: str) -> float:
    value = number(row[column], where=column)
    return math.nan if value is None else value


def _coded(row: Cells, column: str, codes: Mapping[str, float]) -> float:
    text = row[column].strip()
    if text in _MISSING:
        return math.nan
    if text not in codes:
        raise InputError(f"'{text}' is no known code", where=column, hint=f"use one of {', '.join(codes)}")
    return codes[text]


def _amounts(*columns: str) -> tuple[Covariate, ...]:
    return tuple(Covariate(c, (c,), lambda row, c=c: _number(row, c)) for c in columns)  # type: ignore[misc]


def _codes(codes: Mapping[str, float], *columns: str) -> tuple[Covariate, ...]:
    return tuple(Covariate(c, (c,), lambda row, c=c: _coded(row, c, codes)) for c in columns)  # type: ignore[misc]


def _levels(column: str, *levels: str) -> tuple[Covariate, ...]:
    return tuple(
        Covariate(f"{column}={level}", (column,), lambda row, v=level: float(row[column].strip() == v))  # type: ignore[misc]
        for level in levels
    )


def _arm_of(column: str, arms: Mapping[str, int]) -> Callable[[Cells], int]:
    def read(row: Cells) -> int:
        text = row[column].strip()
        if text not in arms:
            raise InputError(f"'{text}' is no arm of the trial", where=column, hint=f"use one of {', '.join(arms)}")
        return arms[text]

    return read


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_AFTER = "known only after the draw"
_OUTCOME = "an outcome"
_DRAWN = "the draw itself"
_PLACE = "names a patient, a place or a day, not a state of the patient"


ACTG175 = Trial(
    name="actg175",
    arms=("zidovudine", "zidovudine + didanosine", "zidovudine + zalcitabine", "didanosine"),
    probability=(0.25, 0.25, 0.25, 0.25),
    arm=_arm_of("arms", {"0": 0, "1": 1, "2": 2, "3": 3}),
    covariates=(
        *_amounts("age", "wtkg", "karnof", "cd40", "cd80", "strat"),
        Covariate("log(1 + preanti)", ("preanti",), lambda row: math.log1p(_number(row, "preanti"))),
        *_codes({"0": 0.0, "1": 1.0}, "hemo", "homo", "drugs", "oprior", "z30", "race", "gender", "str2", "symptom"),
    ),
    outcome=lambda row: _number(row, "cd420") - _number(row, "cd40"),
    outcome_text="change of the CD4 count from the start to 20 weeks",
    unit="cells/mm3",
    second=lambda row: 100.0 * (1.0 - _number(row, "cens")),
    second_text="no event (CD4 halved, AIDS or death) seen in follow-up, percentage points",
    left_out={
        "pidnum": _PLACE,
        "zprior": "the same for everyone",
        "treat": _DRAWN,
        "arms": _DRAWN,
        "offtrt": _AFTER,
        "cd420": _OUTCOME,
        "cd496": _OUTCOME,
        "r": "whether an outcome was measured",
        "cd820": _AFTER,
        "cens": _OUTCOME,
        "days": _OUTCOME,
    },
)
"""AIDS Clinical Trials Group study 175; four arms of equal size (372, 365, 367 and 393 patients in the table read)."""


_ASPIRIN = ("", "aspirin")
_HEPARIN = ("", "low-dose heparin", "medium-dose heparin")
_HEPARIN_CODES = {"N": 0, "L": 1, "M": 2, "H": 2}  # H: the medium dose as the pilot wrote it
_DEPENDENT = {"1": 0.0, "2": 0.0, "3": 100.0, "4": 100.0, "0": math.nan, "9": math.nan}  # OCCODE at six months


def _ist_arm(row: Cells) -> int:
    aspirin = _coded(row, "RXASP", {"N": 0.0, "Y": 1.0})
    heparin = _coded(row, "RXHEP", {code: float(place) for code, place in _HEPARIN_CODES.items()})
    if math.isnan(aspirin) or math.isnan(heparin):
        raise InputError("the arm is not given", where="RXASP, RXHEP", hint="give Y or N, and N, L, M or H")
    return int(3 * aspirin + heparin)


def _deficits(row: Cells) -> float:
    return float(sum(row[f"RDEF{k}"].strip() == "Y" for k in range(1, 9)))


IST = Trial(
    name="ist",
    arms=tuple(" + ".join(d for d in (a, h) if d) or "neither" for a in _ASPIRIN for h in _HEPARIN),
    probability=(0.25, 0.125, 0.125, 0.25, 0.125, 0.125),
    arm=_ist_arm,
    covariates=(
        *_amounts("RDELAY", "AGE", "RSBP"),
        *_codes({"F": 0.0, "D": 1.0, "U": 2.0}, "RCONSC"),
        *_codes({"F": 0.0, "M": 1.0}, "SEX"),
        *_codes({"N": 0.0, "Y": 1.0}, "RSLEEP", "RATRIAL", "RCT", "RVISINF", "RHEP24", "RASP3"),
        *_codes({"N": 0.0, "C": 0.5, "Y": 1.0}, *(f"RDEF{k}" for k in range(1, 9))),
        Covariate("number of deficits", tuple(f"RDEF{k}" for k in range(1, 9)), _deficits),
        *_levels("STYPE", "TACS", "PACS", "LACS", "POCS"),
    ),
    outcome=lambda row: _coded(row, "OCCODE", _DEPENDENT),
    outcome_text="neither dead nor dependent at six months",
    unit="percentage points",
    left_out={
        **dict.fromkeys(("HOSPNUM", "RDATE", "HOURLOCAL", "MINLOCAL", "DAYLOCAL", "COUNTRY", "CNTRYNUM"), _PLACE),
        **dict.fromkeys(("RXASP", "RXHEP"), _DRAWN),
        **dict.fromkeys(("EXPDD", "EXPD6", "EXPD14"), "a prediction that was fitted to the outcomes of the trial"),
        **dict.fromkeys(
            _names(
                "DASP14 DASPLT DLH14 DMH14 DHH14 ONDRUG DSCH DIVH DAP DOAC DGORM DSTER DCAA DHAEMD DCAREND DTHROMB"
                " DMAJNCH DMAJNCHD DMAJNCHX DSIDE DSIDED DSIDEX DDIAGISC DDIAGHA DDIAGUN DNOSTRK DNOSTRKX DRSISC"
                " DRSISCD DRSH DRSHD DRSUNK DRSUNKD DPE DPED DALIVE DALIVED DPLACE FAP FOAC FU1_RECD FU2_DONE FU1_COMP"
                " NCCODE CMPLASP CMPLHEP SET14D FPLACE FLASTD"
            ),
            _AFTER,
        ),
        **dict.fromkeys(
            _names(
                "DDEAD DDEADD DDEADC DDEADX FDEAD FDEADD FDEADC FDEADX FRECOVER FDENNIS DIED TD ID14 OCCODE DEAD1 DEAD2"
                " DEAD3 DEAD4 DEAD5 DEAD6 DEAD7 DEAD8 H14 ISC14 NK14 STRK14 HTI14 PE14 DVT14 TRAN14 NCB14"
            ),
            _OUTCOME,
        ),
    },
)
"""International Stroke Trial (Lancet 1997, PubMed 9174558; data: Sandercock 2011, doi 10.7488/ds/104)."""


GUSTO1 = Trial(
    name="gusto1",
    arms=("streptokinase", "tPA", "streptokinase + tPA"),
    probability=(0.5, 0.25, 0.25),  # four equal arms, of which two gave streptokinase alone
    arm=_arm_of("tx", {"SK": 0, "tPA": 1, "SK+tPA": 2}),
    covariates=(
        *_amounts("age", "ste", "pulse", "sysbp", "height", "weight"),
        *_codes({"0": 0.0, "1": 1.0}, "sho", "dia", "hyp", "hrt", "ant"),
        *_codes({"1": 0.0, "2": 1.0}, "htn", "pan", "fam", "prevcvd", "prevcabg"),
        *_codes({"female": 0.0, "male": 1.0}, "sex"),
        *_codes({"no": 0.0, "yes": 1.0}, "pmi"),
        *_codes({"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0}, "Killip"),
        *_codes({"never": 0.0, "quit": 1.0, "current": 2.0}, "smk"),
    ),
    outcome=lambda row: 100.0 * (1.0 - _number(row, "day30")),
    outcome_text="alive at 30 days",
    unit="percentage points",
    left_out={
        "day30": _OUTCOME,
        "ttr": "relief of pain: it differs between the arms (z -4.7 for tPA), so it came after the drug",
        "hig": "made from features that are already used",
        "miloc": "the same as `ant`, with the other places joined",
        **dict.fromkeys(("regl", "grpl", "grps"), _PLACE),
        **dict.fromkeys(("tpa", "tx"), _DRAWN),
    },
)
"""GUSTO-I (N Engl J Med 1993; 329:673); the table is the teaching data of Lee 1995 and Steyerberg."""

TRIALS: tuple[Trial, ...] = (ACTG175, IST, GUSTO1)
