"""What the tables of the hypertension study say, and where the founding papers' figures could come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posologist.core.evaluation import MethodRow

Tables = Mapping[tuple[str, int], Sequence[MethodRow]]
"""Rows by world and number of training patients."""
PUBLISHED = {"founding engine": 91.2, "LR": 82.3, "guideline rule": 78.5}
"""Drug-matching accuracy of the founding paper, %, 500 patients: a line to compare with, never a target."""


def conclusions(tables: Tables, quick: bool) -> tuple[str, ...]:
    """Sentences that hold for these tables."""
    told = ["a check with few trials, not a result"] if quick else []
    told += [_engine(tables), _where(tables), *_CAVEATS]
    return tuple(told)


def _metric(rows: Sequence[MethodRow], method: str, metric: str) -> float | None:
    row = next((row for row in rows if row.method == method), None)
    found = None if row is None else row.metrics.get(metric)
    return None if found is None else found.value


def _engine(tables: Tables) -> str:
    parts = []
    for (world, size), rows in tables.items():
        value, loss = _metric(rows, "engine", "value_percent"), _metric(rows, "engine", "loss_mmhg")
        if value is not None:
            parts.append(f"{value:.0f} % ({world}; {size} training patients)")
        elif loss is not None:
            parts.append(f"a loss of {loss:.2f} mmHg where there is nothing to gain ({size} training patients)")
    return "the engine reaches, of the Bayes rule's gain: " + "; ".join(parts)


def _where(tables: Tables) -> str:
    """In which world the founding figures could arise."""
    best = {
        method: max((found, world, size) for (world, size), rows in tables.items()
                    if (found := _metric(rows, method, "top1_percent")) is not None)
        for method in ("Bayes rule", "engine", "LR", "guideline rule")
    }  # fmt: skip
    bayes, engine, lr, rule = (best[name] for name in ("Bayes rule", "engine", "LR", "guideline rule"))
    return (
        f"the published 91.2 / 82.3 / 78.5 % (engine / logistic regression / rule) could arise only in a world where "
        f"the record explains more of the individual effect than any here and a rule on age and race is nearly right "
        f"for all, so that the 'correct drug' follows from the same features: the highest top-1 reached here is "
        f"{bayes[0]:.1f} % by the Bayes rule ({bayes[1]}), {engine[0]:.1f} % by the engine, {lr[0]:.1f} % by logistic "
        f"regression and {rule[0]:.1f} % by the rule"
    )


_CAVEATS = (
    "the patients are simulated: the tables show what methods can do when the truth has this form, not what they do "
    "for real patients; a third of the constants are assumptions or still to be verified (hypertension.toml)",
    "what the record explains is linear in few measures but for Song's equations: real data will be harder",
    "all but the oracle choose behind the product's gate, so that the choice alone is compared; forbidden choices "
    "(unsafe_picks) of plain methods are what they put first themselves",
    "the Bayes rule knows how the effect depends on the features; no method that learns from so few patients can",
)
