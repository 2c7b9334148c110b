"""The blocks that `evaluate` and `train` know, and the experiments that `evaluate` does. A new one is one line here."""

from __future__ import annotations

from posologist.study import factorisation, factorisation_case, warfarin
from posologist.study.blocks import Block
from posologist.study.experiment import Experiment

BLOCKS: tuple[Block, ...] = (warfarin.BLOCK,)
EXPERIMENTS: tuple[Experiment, ...] = (factorisation.EXPERIMENT, factorisation_case.EXPERIMENT)
