"""What a task of learning is for the harness: its table, its methods, and how nothing leaks from test to training.

A method gets the training part with its outcomes and the test part without them. Everything that it chooses (tuning,
imputation, selection, calibration) it chooses inside the training part. The folds here are the outer ones: a patient,
and whatever has the same cells as another row, is never on both sides.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from posologist.learn.features import Frame
    from posologist.learn.fit.engine import FittedEngine

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Cells = Mapping[str, str]
Label = Literal["real patients", "simulated patients", "agreement with practice"]

N_FOLDS = 5


@dataclass(frozen=True)
class Cohort:
    """A task's table, rows aligned.

    Parameters
    ----------
    rows
        Cells as distributed: column to text.
    target
        Outcome in the task's unit, (n,); nan: not known, or hidden from the method.
    patient
        Number of the patient, (n,), by id: rows with the same number never part (nor do rows with equal cells, see
        `kept_together`). Intervals resample patients.
    site
        Number of the site or cohort, (n,), for leaving sites out.
    groups
        Name of a grouping to each row's group: "race" to ("White", ...). "" keeps a row out of it.
    extra
        Further aligned arrays that are no feature: time to event, event, arm. What the test part of a method may not
        see is named in `Block.hidden`.
    notes
        What has to be said about how the table was read: rows left out, with their number.
    """

    rows: tuple[Cells, ...]
    target: Array
    patient: IntArray
    site: IntArray
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: npt.ArrayLike) -> Cohort:
        """The rows at these places (or where a mask is true), in their order."""
        chosen = np.arange(len(self))[np.asarray(index)]
        return Cohort(
            rows=tuple(self.rows[i] for i in chosen),
            target=self.target[chosen],
            patient=self.patient[chosen],
            site=self.site[chosen],
            groups={name: tuple(labels[i] for i in chosen) for name, labels in self.groups.items()},
            extra={name: values[chosen] for name, values in self.extra.items()},
            notes=self.notes,
        )

    def blinded(self, hidden: Sequence[str] = ()) -> Cohort:
        """The same rows without outcome: target and hidden arrays are nan, and groups are gone.

        Groups may be cut by the outcome (a dose band); a method takes what it may know from the cells.
        """
        unknown = np.full(len(self), np.nan)
        return replace(
            self,
            target=unknown,
            groups={},
            extra={name: unknown if name in hidden else values for name, values in self.extra.items()},
        )


@dataclass(frozen=True)
class Scored:
    """What a method says of the rows of a test cohort.

    Parameters
    ----------
    value
        Prediction in the task's unit, (n,); the probability for a yes/no outcome; nan: the method does not answer.
    low, high
        90 % interval of the outcome, (n,).
    decision
        The yes or no of a yes/no outcome where the method's own cut is not at 0.5, (n,).
    abstained
        Where the method says that the patient lies outside what it learned from, (n,).
    chosen
        The arm that a policy picks, (n,).
    extra
        Further aligned arrays that the task's metrics read (for example one column for each horizon), (n, ...).
    """

    value: Array
    low: Array | None = None
    high: Array | None = None
    decision: BoolArray | None = None
    abstained: BoolArray | None = None
    chosen: IntArray | None = None
    extra: Mapping[str, Array] = field(default_factory=dict)

    def take(self, index: npt.ArrayLike) -> Scored:
        """The same at these places (or where a mask is true)."""
        place = np.asarray(index)
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        taken: dict[str, Any] = {name: None if values is None else values[place] for name, values in own.items()}
        return Scored(**taken, extra={name: values[place] for name, values in self.extra.items()})


class Method(Protocol):
    """A row of the table. Defined at module level or a frozen dataclass, so that another process can be given it."""

    @property
    def name(self) -> str: ...

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored: ...


@dataclass(frozen=True)
class Plain:
    """A method made of a function."""

    name: str
    score: Callable[..., Scored]

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        return self.score(train, test, seed=seed, quick=quick)


Resampled = Callable[[Array], Array]
"""Row weights of resamples, (n_resamples, n), to the metric in each, (n_resamples,)."""

Part = Array | Resampled
"""A metric: what each row adds to a mean, (n,) (nan: the row is not counted), or a function of row weights."""

Metrics = Callable[[Array, Scored, Cohort], Mapping[str, Part]]
"""Outcomes, what a method said, and the cohort with its groups and extras, to the metrics by name."""


@dataclass(frozen=True)
class Control:
    """A further nested run of some methods: other folds, or a table that was altered first.

    `alter` gets the cohort and a generator (permute the genome, say); `leave_out` "site" tests each site on a fit to
    the others; `quick` False keeps it out of the quick run.
    """

    name: str
    methods: tuple[str, ...]
    alter: Callable[[Cohort, np.random.Generator], Cohort] | None = None
    leave_out: Literal["", "site"] = ""
    by: str = ""  # the grouping whose groups get rows of their own in this table
    note: str = ""
    quick: bool = True


@dataclass(frozen=True)
class Serving:
    """The model that `train` saves for a task, and what its card says of it.

    `fit` gets the whole table and `seed`, `quick`; what it gives is saved (`learn.fit.engine.FittedEngine`).
    """

    name: str
    version: str
    outcome: str
    unit: str
    fit: Callable[..., FittedEngine]
    use: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Explored:
    """How `explore` looks at a task's table.

    `frame` gives a cohort's rows under the task's schema; `genome` names its features that the genome holds, which the
    negative control deals to other patients with the same value of the feature `within`.
    """

    frame: Callable[[Cohort], Frame]
    genome: tuple[str, ...] = ()
    within: str = ""


@dataclass(frozen=True)
class Block:
    """A task on one public table.

    Parameters
    ----------
    task, part
        `evaluate TASK`; `part` tells the tables of one task apart.
    title, licence, source
        Of the data, for the document.
    file
        Where the table stands below the folder of the data, as it is distributed.
    columns
        What the header of the table must hold: by these a CSV is recognised.
    id_column
        The patient's column, "" where each row is a patient; `compared` are the columns that make two rows the same
        (None: all but `id_column`).
    read
        The table to its cohort. Use `tables.read_rows`.
    metrics, paired, baseline
        What is reported, which differences (method, against, metric), and the published rule or naive line.
    main
        The metric of the group tables' figure and of fairness; `grouped` the methods that get rows for each group.
    strata
        What the folds are balanced by (None: by site).
    hidden
        Arrays of `extra` that no method may see of the test part.
    kind
        Which curves are drawn: calibration, for a probability the decision curve too.
    fairness
        Groupings of the fairness table.
    serving
        What `train` saves; None: the task has nothing to serve.
    explored
        How `explore` reads the table; None: it does not.
    """

    task: str
    title: str
    label: Label
    licence: str
    source: str
    file: str
    columns: tuple[str, ...]
    read: Callable[[Path], Cohort]
    methods: tuple[Method, ...]
    metrics: Metrics
    main: str
    paired: tuple[tuple[str, str, str], ...] = ()
    grouped: tuple[str, ...] = ("engine",)
    part: str = ""
    id_column: str = ""
    compared: tuple[str, ...] | None = None
    strata: Callable[[Cohort], IntArray] | None = None
    hidden: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()
    fairness: tuple[str, ...] = ()
    kind: Literal["amount", "probability", "policy", "other"] = "amount"
    notes: tuple[str, ...] = ()
    quick_rows: int = 0  # at most so many rows in a quick run; 0: all
    serving: Serving | None = None
    explored: Explored | None = None


def sub_seed(seed: int, *names: object) -> int:
    """Seed of a part of a run: the same on every machine, another for each part."""
    mixed = zlib.crc32("/".join(str(name) for name in names).encode())
    return int(np.random.SeedSequence([seed, mixed]).generate_state(1)[0] % (2**31 - 1))


def patient_numbers(rows: Sequence[Cells], *, id_column: str = "", compared: Sequence[str] = ()) -> IntArray:
    """Number of the patient of each row, (n,): equal for equal ids, and for equal cells of the columns `compared`.

    Without either each row is a patient.
    """
    keys = [_by_id(id_column)] if id_column else []
    keys += [_by_cells(compared)] if compared else []
    return _numbers(len(rows), [[key(row) for row in rows] for key in keys])


def kept_together(cohort: Cohort, block: Block) -> IntArray:
    """Number of what never parts, (n,): the rows of a patient, and rows with equal cells (`block.compared`)."""
    equal = _by_cells(_compared(cohort, block))
    return _numbers(len(cohort), [cohort.patient.tolist(), [equal(row) for row in cohort.rows]])


def _numbers(n: int, links: Sequence[Sequence[object]]) -> IntArray:
    """Number of each place's component, (n,), where equal values of a link join places (None: joins nothing)."""
    parent = list(range(n))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for values in links:
        first: dict[object, int] = {}
        for place, value in enumerate(values):
            if value is not None:
                parent[root(place)] = root(first.setdefault(value, place))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(place), len(numbers)) for place in range(n)], dtype=np.int64)


def without_shared(train: Cohort, test: Cohort, block: Block) -> tuple[Cohort, int]:
    """The training part without the patients of the test part (same id or same cells), and how many rows left."""
    keep = np.ones(len(train), dtype=bool)
    for key in (_by_id(block.id_column), _by_cells(_compared(test, block))):
        known = {value for row in test.rows if (value := key(row)) is not None}
        keep &= np.array([key(row) not in known for row in train.rows], dtype=bool)
    gone = set(train.patient[~keep].tolist())
    keep &= ~np.isin(train.patient, list(gone))
    return train.take(keep), int((~keep).sum())


def _compared(cohort: Cohort, block: Block) -> Sequence[str]:
    if block.compared is not None:
        return block.compared
    return tuple(name for name in cohort.rows[0] if name != block.id_column) if cohort.rows else ()


def _by_id(id_column: str) -> Callable[[Cells], object | None]:
    return lambda row: row.get(id_column, "").strip() or None


def _by_cells(columns: Sequence[str]) -> Callable[[Cells], object | None]:
    return lambda row: tuple(row.get(name, "") for name in columns)


def outer_folds(together: IntArray, strata: IntArray, *, seed: int, n_folds: int = N_FOLDS) -> IntArray:
    """Fold of each row, (n,): what is `kept_together` stays whole, strata are spread evenly, folds are of equal size.

    What is kept together belongs to the stratum of the first of its rows.
    """
    rng = np.random.default_rng(sub_seed(seed, "outer folds"))
    _, first, of_row = np.unique(together, return_index=True, return_inverse=True)
    order = rng.permutation(len(first))
    order = order[np.argsort(strata[first][order], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % n_folds  # runs on from one stratum to the next
    return np.asarray(fold[of_row], dtype=np.int64)


def bins(values: Array, n_bins: int) -> IntArray:
    """Bin of each value by its rank, (n,), for balancing folds by an amount; what is not known has a bin of its own."""
    edges = np.nanquantile(values, np.arange(1, n_bins) / n_bins)
    return np.where(np.isnan(values), n_bins, np.searchsorted(edges, values, side="right")).astype(np.int64)


def combined(*labels: npt.ArrayLike) -> IntArray:
    """One stratum for each combination of labels, (n,)."""
    columns = [np.unique(np.asarray(column), return_inverse=True)[1] for column in labels]
    return np.asarray(np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def assembled(parts: Sequence[tuple[IntArray, Scored]], n_rows: int) -> Scored:
    """One `Scored` for all rows from those of the folds, each with the places of its rows."""

    def joined(values: Sequence[npt.NDArray[np.generic] | None]) -> npt.NDArray[np.generic] | None:
        known = [v for v in values if v is not None]
        if len(known) < len(parts):
            return None
        blank = np.nan if known[0].dtype.kind == "f" else 0
        whole = np.full((n_rows, *known[0].shape[1:]), blank, dtype=known[0].dtype)
        for (places, _), own in zip(parts, known, strict=True):
            whole[places] = own
        return whole

    names = [f.name for f in fields(Scored) if f.name != "extra"]
    extra = {name: joined([s.extra[name] for _, s in parts]) for name in parts[0][1].extra}
    return Scored(
        **{name: joined([getattr(s, name) for _, s in parts]) for name in names},  # type: ignore[arg-type]
        extra={name: values for name, values in extra.items() if values is not None},  # type: ignore[misc]
    )
