"""What a reader of an answer must know of the event table it rests on: what no model or body would expect."""

from __future__ import annotations

from collections.abc import Iterator

from posologist.knowledge.models import PkModel
from posologist.twin.events import EventTable


def remarks_on(model: PkModel, table: EventTable) -> tuple[str, ...]:
    """Sentences: covariates outside of the studied range, levels that no dose explains, levels below zero."""
    return tuple(dict.fromkeys([*_outside(model, table), *_levels(table)]))


def _outside(model: PkModel, table: EventTable) -> Iterator[str]:
    named: set[str] = set()
    for record in table.records:
        for covariate in model.outside(record.covariates):
            if covariate.name in named:
                continue
            named.add(covariate.name)
            value = record.covariates.get(covariate.name, covariate.default)
            low, high = ("any" if bound is None else f"{bound:g}" for bound in (covariate.low, covariate.high))
            yield (
                f"{covariate.name} is {value:g} {covariate.unit} at {record.time:g} h, outside the studied range "
                f"({low} to {high}): the answer extrapolates"
            )


def _levels(table: EventTable) -> Iterator[str]:
    first = next((record.time for record in table.records if record.is_dose), None)
    if first is None:
        yield "no dose is given: the model expects no concentration at any time"
    given = False
    for record in table.records:
        given = given or record.is_dose
        if record.is_level and not given and first is not None:
            yield f"the level at {record.time:g} h lies before the first dose, where the model expects none"
        if record.is_level and record.dv is not None and record.dv < 0:
            yield f"the level at {record.time:g} h is below zero ({record.dv:g}): check it"
