"""The twin: one patient on one drug. The population model is its prior, its log is what happened; the rest is computed.

A twin never changes: `update` returns a new one with more in its log. Possible patients (`people`) are drawn from the
posterior of the levels, or from the population where there are none, with a seed made of model, patient and log-free
settings, so that the same log always gives the same answer. `record` keeps log, model version and seed; `replayed`
makes the same twin of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.core.twin import TwinEvent, TwinRecord
from posologist.core.values import DrugId
from posologist.knowledge.models import PkModel
from posologist.twin.events import DOSE, OTHER, EventTable, Record
from posologist.twin.individual import OCCASION, Array, effects_of, factor_of, individual, typical_values
from posologist.twin.levels import levels_at
from posologist.twin.map import MapResult
from posologist.twin.modelled import predict
from posologist.twin.posterior import Posterior, posterior, resampled_rows
from posologist.twin.randomness import generator_for, normal_draws

SEED = "dose"


@dataclass(frozen=True)
class People:
    """Equally likely possible patients.

    `etas` (n_draws, n_eta) between patients, `all_etas` with those of each occasion behind them; `parameters` hold
    for what is to come, each (n_draws,); `found` is the posterior that they come from, None without levels.
    """

    etas: Array
    all_etas: Array
    parameters: dict[str, Array]
    found: Posterior | None


@dataclass(frozen=True)
class Twin:
    """One patient on one drug.

    Attributes
    ----------
    model
        The prior: a complete population model.
    subject
        The patient's identifier.
    log
        Doses, levels and changes of covariates in the order of time (h after the first dose).
    present
        Covariates that hold for what is to come.
    draws, weighted
        Number of possible patients, and of the weighted draws from which those of a posterior are taken.
    """

    model: PkModel
    subject: str
    log: tuple[Record, ...] = ()
    present: Mapping[str, float] = field(default_factory=dict)
    draws: int = 400
    weighted: int = 2000
    seed: str = SEED

    @cached_property
    def table(self) -> EventTable:
        """The log as an event table."""
        return EventTable(self.subject, self.log)

    @property
    def doses(self) -> tuple[Record, ...]:
        """The doses of the log."""
        return tuple(record for record in self.log if record.is_dose)

    def update(self, *records: Record, present: Mapping[str, float] | None = None) -> Twin:
        """The twin with more in its log: a level at the time of a dose was drawn before the dose.

        Parameters
        ----------
        records
            Doses, levels or changes of covariates (EVID 2), in the model's units.
        present
            Covariates from now on; unchanged if absent.
        """
        log = tuple(sorted((*self.log, *records), key=lambda record: (record.time, record.is_dose)))
        return replace(self, log=log, present=self.present if present is None else present)

    @cached_property
    def people(self) -> People:
        """Possible patients: of the posterior, or of the population where no level is in the log.

        Raises
        ------
        NumericsError
            If no estimate is found from the levels.
        """
        chance = generator_for(self.seed, self.model.id, self.subject, str(self.draws))
        if not levels_at(self.table):
            etas = self._of_population(chance)
            return People(etas, etas, individual(self.model, self._typical_now(), etas), None)
        found = posterior(
            self.model, self.table, n_draws=max(self.draws, self.weighted), rng=chance,
            predict=None if self.model.elimination == "linear" else predict,
        )  # fmt: skip
        rows = resampled_rows(found.weights, self.draws, chance)
        all_etas = np.asarray(found.all_etas[rows])
        acting = self._acting(all_etas)
        return People(np.asarray(found.eta[rows]), all_etas, individual(self.model, self._typical_now(), acting), found)

    def _of_population(self, chance: np.random.Generator) -> Array:
        if not self.model.random:
            return np.zeros((self.draws, 0))
        factor = factor_of(self.model.omega)
        drawn = normal_draws(self.draws, len(self.model.random), chance).T
        return np.asarray(drawn[:, : factor.shape[1]] @ factor.T)

    def _typical_now(self) -> dict[str, float]:
        return typical_values(self.model, (Record(0.0, covariates=carried(self.model, self.present)),))[0]

    def _acting(self, all_etas: Array) -> Array:
        """Etas that act on what is to come: past and coming doses are one occasion."""
        if all_etas.shape[1] == len(self.model.random) or not self.log:
            return all_etas[:, : len(self.model.random)]
        return effects_of(self.model, self.log).eta_in(all_etas, 0)

    def moved_by(self, estimate: MapResult) -> dict[str, Array]:
        """Parameters for what is to come under an estimate from levels of this log, each (1,)."""
        etas = np.concatenate([estimate.eta, estimate.occasions.ravel()])[None, :]
        return individual(self.model, self._typical_now(), self._acting(etas))

    def simulate(self, doses: Sequence[Record], times: Array) -> Array:
        """Concentrations of all possible patients, (n_draws, n_times), after the log and further doses.

        Parameters
        ----------
        doses
            Doses to come, in hours of the log; they are given under the present covariates.
        times
            Hours of the log; a dose at a time comes before it.
        """
        now = carried(self.model, self.present)
        planned = [replace(dose, covariates=now) for dose in doses]
        last = self.log[-1].time if self.log else -np.inf
        asked = [(float(time), n) for n, time in enumerate(times)]
        rows = [(record.time, 0, n, record) for n, record in enumerate((*self._unmeasured(), *planned))]
        rows += [(time, 1, n, Record(time, mdv=1, covariates=now if time >= last else {})) for time, n in asked]
        rows.sort(key=lambda row: row[:3])
        records = tuple(row[3] for row in rows)
        acting = self._acting(self.people.all_etas)
        held: dict[int, dict[str, Array]] = {}
        parameters = [
            held[id(typical)] if id(typical) in held else held.setdefault(id(typical), self._moved(typical, acting))
            for typical in typical_values(self.model, records)
        ]
        values = np.real(predict(self.model, parameters, EventTable(self.subject, records)))
        where = {row[2]: n for n, row in enumerate(rows) if row[1] == 1}
        return np.asarray(values[:, [where[n] for n in range(len(asked))]])

    def _moved(self, typical: Mapping[str, float], acting: Array) -> dict[str, Array]:
        return individual(self.model, typical, acting)

    def _unmeasured(self) -> tuple[Record, ...]:
        """The log with its levels as mere times."""
        return tuple(record if record.is_dose else replace(record, dv=None, limit=None, mdv=1) for record in self.log)

    def compare(self, plans: Mapping[str, Sequence[Record]], times: Array) -> dict[str, Array]:
        """`simulate` of several plans (name -> doses to come) in the same possible patients."""
        return {name: self.simulate(doses, times) for name, doses in plans.items()}

    def record(self, *, origin: str | None, versions: Versions) -> TwinRecord:
        """What is stored of the twin."""
        return TwinRecord(
            drug=DrugId(self.model.drug), model=self.model.id, model_version=self.model.about.version,
            model_digest=digest_of(self.model), patient=self.subject, origin=origin,
            events=tuple(_stored(record) for record in self.log), present=dict(self.present), draws=self.draws,
            weighted=self.weighted, seed=self.seed, versions=versions,
        )  # fmt: skip


def carried(model: PkModel, covariates: Mapping[str, float]) -> dict[str, float]:
    """Covariates of a record; where the model varies between occasions all records are of one."""
    return {**covariates, OCCASION: 1.0} if model.occasion else dict(covariates)


def digest_of(model: PkModel) -> str:
    """First 16 hexadecimal digits of SHA-256 of the model's content."""
    return hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:16]


def _stored(record: Record) -> TwinEvent:
    kind = "dose" if record.is_dose else "change" if record.evid == OTHER else "level"
    return TwinEvent.model_validate(
        {
            "kind": kind, "time_h": record.time, "amount": record.amt, "rate": record.rate, "compartment": record.cmt,
            "value": record.dv, "limit": record.limit, "covariates": record.covariates, "where": record.where,
        }
    )  # fmt: skip


def replayed(stored: TwinRecord, model: PkModel) -> Twin:
    """The twin of which a record was kept.

    Raises
    ------
    InputError
        If the model is another one, or its content has changed since.
    """
    if (model.id, digest_of(model)) != (stored.model, stored.model_digest):
        raise InputError(
            f"the twin was made with {stored.model} {stored.model_version} ({stored.model_digest}), the model held is "
            f"{model.id} {model.about.version} ({digest_of(model)})",
            where="--twin", hint="give that version of the model, or make a new twin from the doses and levels",
        )  # fmt: skip
    log = tuple(
        Record(
            event.time_h, evid={"dose": DOSE, "level": 0, "change": OTHER}[event.kind], amt=event.amount,
            rate=event.rate, cmt=event.compartment, dv=event.value, limit=event.limit,
            mdv=0 if event.kind == "level" else 1, covariates=event.covariates, where=event.where,
        )
        for event in stored.events
    )  # fmt: skip
    return Twin(
        model, stored.patient, log, stored.present, draws=stored.draws, weighted=stored.weighted, seed=stored.seed
    )
