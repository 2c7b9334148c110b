"""The blocks that `evaluate` and `train` know. A new block is one line here."""

from __future__ import annotations

from posologist.study import cardiovascular, heart_disease, imitation, immunotherapy, policy, warfarin
from posologist.study.blocks import Block

BLOCKS: tuple[Block, ...] = (
    warfarin.BLOCK,
    immunotherapy.BLOCK,
    cardiovascular.BLOCK,
    heart_disease.BLOCK,
    *policy.BLOCKS,
    *imitation.BLOCKS,
)
