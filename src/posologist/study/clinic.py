"""Simulated people of a hypertension clinic: what a record would hold of them, and their genotypes.

Drawn in the order in which one thing depends on another. What may be missing in a record (`CAN_LACK`) depends on
nothing that comes after it, so that it can be drawn again given the rest: this is how the Bayes rule sees a patient
whose renin was never measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clinic:
    """Patients of the clinic, untreated; every field is an array (n,).

    Attributes
    ----------
    age : years.  female, black : flags.  height : cm.  weight : kg.
    sbp, dbp : true untreated systolic and diastolic pressure, mmHg.  heart_rate : per minute.
    creatinine : mg/dL.  potassium : mmol/L.
    renin : plasma renin activity, ng/mL/h.  urine_sodium : mmol/24 h.
    smoker, diabetes, gout, asthma, angioedema, pregnant, bradycardia, family_hypertension : flags.
    primary_aldosteronism, renal_artery_stenosis, sleep_apnoea : secondary hypertension, flags.
    cyp2d6, cyp2c9, cyp3a5 : number of the diplotype in `DIPLOTYPES[gene]`.
    paroxetine, clarithromycin : takes an inhibitor of CYP2D6 / CYP3A4, flags.
    """

    age: Floats
    female: Flags
    black: Flags
    height: Floats
    weight: Floats
    sbp: Floats
    dbp: Floats
    heart_rate: Floats
    creatinine: Floats
    potassium: Floats
    renin: Floats
    urine_sodium: Floats
    smoker: Flags
    diabetes: Flags
    gout: Flags
    asthma: Flags
    angioedema: Flags
    pregnant: Flags
    bradycardia: Flags
    family_hypertension: Flags
    primary_aldosteronism: Flags
    renal_artery_stenosis: Flags
    sleep_apnoea: Flags
    cyp2d6: Indices
    cyp2c9: Indices
    cyp3a5: Indices
    paroxetine: Flags
    clarithromycin: Flags

    def __len__(self) -> int:
        return len(self.age)

    def take(self, index: npt.ArrayLike) -> Self:
        """Some of the patients."""
        chosen = np.asarray(index)
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def secondary(self) -> Flags:
        """Whose hypertension has a cause of its own."""
        return self.primary_aldosteronism | self.renal_artery_stenosis | self.sleep_apnoea
