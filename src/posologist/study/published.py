"""Published scores over the rows of a table: the same files that are computed for a patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import numpy as np
import rtoml

from posologist.core.indication import Score
from posologist.knowledge.expression import Scalar
from posologist.knowledge.scores import Given, compute
from posologist.study.blocks import Array


@cache
def published(score_id: str) -> Score:
    """The score as its file in the knowledge base says."""
    text = files("posologist.knowledge").joinpath("data", "scores", f"{score_id}.toml").read_text(encoding="utf-8")
    return Score.model_validate(rtoml.loads(text))


def computed(score_id: str, rows: Iterable[Mapping[str, Scalar]]) -> Array:
    """The score of each row's facts, (n,); nan where a fact that matters is missing."""
    score = published(score_id)
    found = [compute(score, Given(facts)).value for facts in rows]
    return np.array([np.nan if value is None else float(value) for value in found])
