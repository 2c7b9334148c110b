"""A synthetic table in the columns of the IWPC's, whose dose follows from genes, age and weight."""

import numpy as np

from posologist.learn.tasks.warfarin import CYP2C9_LEVELS, DOSE, SITE, STABLE
from posologist.study.warfarin import COLUMNS, ID

EMPTY = dict.fromkeys((*COLUMNS, "Current Smoker", "INR on Reported Therapeutic Dose of Warfarin"), "")
GENOTYPES = {"A/A": -1.6, "A/G": -0.85, "G/G": 0.0}


def distributed(**cells):
    given = {"Gender": "male", "Race (OMB)": "White", "Age": "60 - 69", "Height (cm)": "170", "Weight (kg)": "70"}
    return {**EMPTY, **given, STABLE: "1.0", DOSE: "35.0", SITE: "1", **cells}


def synthetic_table(n=300, seed=0):
    """Rows as distributed, whose dose follows from genes, age and weight."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(n):
        decade, weight = int(rng.integers(3, 9)), round(float(rng.normal(75, 14)))
        vk, c9 = rng.choice(list(GENOTYPES)), rng.choice(CYP2C9_LEVELS[:3], p=[0.7, 0.2, 0.1])
        root = 6.5 - 0.25 * decade + 0.013 * weight + GENOTYPES[vk] - 0.7 * CYP2C9_LEVELS.index(c9)
        dose = max(root + rng.normal() * 0.8, 1.5) ** 2
        cells = {
            ID: f"P{seed}-{place}", "Age": f"{decade}0 - {decade}9", "Weight (kg)": f"{weight}", DOSE: f"{dose:.2f}",
            SITE: str(1 + place % 4), "Race (OMB)": str(rng.choice(["White", "Asian", "Black or African American"])),
            "VKORC1 -1639 consensus": vk if place % 7 else "", "CYP2C9 consensus": c9 if place % 11 else "",
            "Gender": "male" if place % 2 else "female", "Height (cm)": "" if place % 5 == 0 else "170.0",
        }  # fmt: skip
        found.append(distributed(**cells))
    return found
