"""The blocks that `evaluate` and `train` know, and the experiments that `evaluate` does. A new one is one line here."""

from __future__ import annotations

from posologist.study import (
    cardiovascular,
    factorisation,
    factorisation_case,
    heart_disease,
    hypertension,
    imitation,
    immunotherapy,
    nifedipine,
    policy,
    warfarin,
)
from posologist.study.blocks import Block
from posologist.study.experiment import Experiment

BLOCKS: tuple[Block, ...] = (
    warfarin.BLOCK,
    immunotherapy.BLOCK,
    cardiovascular.BLOCK,
    heart_disease.BLOCK,
    *policy.BLOCKS,
    *imitation.BLOCKS,
)
EXPERIMENTS: tuple[Experiment, ...] = (
    hypertension.EXPERIMENT,
    nifedipine.EXPERIMENT,
    factorisation.EXPERIMENT,
    factorisation_case.EXPERIMENT,
)
