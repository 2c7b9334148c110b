"""Numbers of possible patients as estimates, and sentences as findings, each with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.settings import Settings
from posologist.core.values import Because, Estimate, EvidenceKey, Quantity, rounded
from posologist.knowledge.models import PkModel
from posologist.twin.exposure import share_estimate
from posologist.twin.individual import Array
from posologist.twin.residual import Flags


def model_leaf(model: PkModel, ledger: Ledger) -> EvidenceKey:
    """Evidence of a population model, with its version and the status of its file."""
    return ledger.add(
        "model", f"model {model.id}: {model.title}", source=str(model.about.source), version=model.about.version,
        status=model.status,
    )  # fmt: skip


@dataclass(frozen=True)
class Teller:
    """Puts an answer about one drug into words and numbers; `because` is what everything computed rests on."""

    drug: Drug
    settings: Settings
    ledger: Ledger
    because: Because

    def finding(self, severity: str, title: str, detail: str, because: Sequence[EvidenceKey] = ()) -> Finding:
        """A finding that rests on the computation, or on what is named."""
        key = self.ledger.add("derived", detail, because=because or self.because)
        return Finding.model_validate(
            {"severity": severity, "title": title, "detail": detail, "drugs": (str(self.drug.id),), "because": (key,)}
        )

    def open(self, what: str, why: str, would_need: str) -> NotChecked:
        """Something that could not be checked."""
        return NotChecked(what=what, why=why, would_need=would_need, drugs=(str(self.drug.id),))

    def said(self, text: str) -> Reason:
        """An assumption."""
        return Reason(text=text, because=(self.ledger.add("assumption", text, because=self.because),))

    def derived(self, text: str, because: Sequence[EvidenceKey] = ()) -> EvidenceKey:
        """Evidence of something computed."""
        return self.ledger.add("derived", text, because=because or self.because)

    def quantity(self, value: float, unit: str, because: Because | None = None) -> Quantity:
        """A number without an interval."""
        return Quantity(value=rounded(value), unit=unit, because=because or self.because)

    def estimate(self, values: Array, unit: str, value: float | None = None) -> Estimate:
        """Median (or a given value) and the central interval of possible patients, (n_draws,)."""
        level = self.settings.interval_level
        tail = (1.0 - level) / 2.0
        low, mid, high = (rounded(float(v)) for v in np.quantile(values, (tail, 0.5, 1.0 - tail)))
        shown = mid if value is None else rounded(value)
        return Estimate(
            value=shown, unit=unit, low=min(low, shown), high=max(high, shown), level=level, because=self.because
        )

    def share(self, hits: Flags | None) -> Estimate | None:
        """Share of possible patients; None stays None."""
        return None if hits is None else share_estimate(hits, level=self.settings.interval_level, because=self.because)
