"""The blocks that `evaluate` and `train` know. A new block is one line here."""

from __future__ import annotations

from posologist.study import imitation, policy, warfarin
from posologist.study.blocks import Block

BLOCKS: tuple[Block, ...] = (warfarin.BLOCK, *policy.BLOCKS, *imitation.BLOCKS)
