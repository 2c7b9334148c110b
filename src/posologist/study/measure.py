"""From a block's table to its document: methods run, compared, by group, under control, fair or not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

import numpy as np

from posologist.core.errors import InputError
from posologist.core.evaluation import ControlTable, EvaluationDocument, GroupRow, MethodRow, Paired, Sample
from posologist.core.genotype import Versions
from posologist.study.blocks import N_FOLDS, Array, Block, BoolArray, Cohort, Control, Scored, sub_seed, without_shared
from posologist.study.compare import Asked, Found, difference, intervals, resampled
from posologist.study.curves import curves
from posologist.study.fairness import SMALL, fairness_tables, recommended
from posologist.study.nested import Settings, on_test, out_of_fold, under_control

_FEWEST = 2 * N_FOLDS  # patients below which five folds say nothing


def evaluate_nested(block: Block, cohort: Cohort, settings: Settings, *, versions: Versions) -> EvaluationDocument:
    """Nested cross-validation: each patient is predicted by what was learned without that patient.

    Raises
    ------
    InputError
        If the table has too few patients for five folds.
    """
    cohort = thinned(block, cohort, settings)
    n = _patients(cohort)
    if n < _FEWEST:
        raise InputError(
            f"{n} patients are too few for {N_FOLDS} folds", where=block.file, hint=f"give {_FEWEST} or more"
        )
    scored = out_of_fold(block, cohort, settings)
    controls = tuple(
        _control(block, cohort, control, settings) for control in block.controls if control.quick or not settings.quick
    )
    document = _document(block, cohort, scored, settings, train=cohort, controls=controls, versions=versions)
    return document.model_copy(
        update={
            "split": f"nested cross-validation, {N_FOLDS} outer folds; a patient's rows and equal rows stay together",
            "findings": (*document.findings, *_left_out(block, settings)),
        }
    )


def evaluate_split(
    block: Block, train: Cohort, test: Cohort, settings: Settings, *, versions: Versions
) -> EvaluationDocument:
    """Learned from one table, tested on another that shares no patient with it.

    A patient of the training table that stands in the test table too (same id, or the same cells) is left out of the
    training table, and the document says how many rows that were.

    Raises
    ------
    InputError
        If nobody is left to learn from.
    """
    kept, gone = without_shared(train, test, block)
    if _patients(kept) < _FEWEST:
        raise InputError(
            f"{_patients(kept)} patients are left to learn from, {gone} rows stand in the test table too",
            where="--train",
            hint="give a training table of other patients",
        )
    scored = on_test(block, thinned(block, kept, settings), test, settings)
    document = _document(block, test, scored, settings, train=kept, controls=(), versions=versions)
    notes = [f"{gone} rows of the training table were left out: the same patient, or equal cells, in the test table"]
    notes += [f"training table: {note}" for note in kept.notes]
    if block.controls:
        notes.append("controls (other folds, altered tables) belong to the nested run and were not made")
    return document.model_copy(
        update={
            "split": "trained on one table, tested on another without its patients",
            "findings": (*document.findings, *notes),
        }
    )


def _document(
    block: Block,
    cohort: Cohort,
    scored: Mapping[str, Scored],
    settings: Settings,
    *,
    train: Cohort,
    controls: tuple[ControlTable, ...],
    versions: Versions,
) -> EvaluationDocument:
    grouped = {name: scored[name] for name in block.grouped if name in scored}
    asked = [_asked(block, cohort, own, name) for name, own in scored.items()]
    asked += _pairs(block, cohort, scored)
    masks = _groups(cohort)
    asked += [
        _asked(block, cohort.take(mask), own.take(mask), (name, group))
        for name, own in grouped.items()
        for group, mask in masks.items()
    ]
    values = resampled(asked, n_resamples=settings.n_resamples, seed=settings.seed)
    groups = tuple(
        _group_row(cohort, name, group, mask, values[name, group], own)
        for name, own in grouped.items()
        for group, mask in masks.items()
    )
    return EvaluationDocument(
        task=block.task, part=block.part, title=block.title, label=block.label, licence=block.licence,
        source=block.source, quick=settings.quick, resamples=settings.n_resamples,
        train=Sample(n=_patients(train)), test=Sample(n=_patients(cohort)), seed=settings.seed,
        rows=tuple(_row(cohort, name, own, values[name]) for name, own in scored.items()),
        paired=_paired(block, scored, values),
        groups=groups,
        fairness=fairness_tables(
            block, cohort, scored, n_resamples=settings.n_resamples, seed=settings.seed
        ),
        controls=controls,
        curves=curves(block, cohort, scored, groups),
        findings=(*block.notes, *cohort.notes, *_silent(cohort, scored)),
        versions=versions,
    )  # fmt: skip


def _asked(block: Block, cohort: Cohort, scored: Scored, key: Hashable) -> Asked:
    return Asked(key, block.metrics(cohort.target, scored, cohort), cohort.patient)


def _groups(cohort: Cohort) -> dict[str, BoolArray]:
    found: dict[str, BoolArray] = {}
    for grouping, labels in cohort.groups.items():
        own = np.array(labels)
        found |= {f"{grouping}={name}": own == name for name in sorted(set(labels) - {""})}
    return found


def _row(cohort: Cohort, name: str, scored: Scored, values: Mapping[str, Array]) -> MethodRow:
    known = np.isfinite(scored.value)
    return MethodRow(method=name, n=_patients(cohort, known), levels=int(known.sum()), metrics=intervals(values))


def _group_row(
    cohort: Cohort, name: str, group: str, mask: BoolArray, values: Mapping[str, Array], scored: Scored
) -> GroupRow:
    known = mask & np.isfinite(scored.value)
    n = _patients(cohort, known)
    return GroupRow(method=name, group=group, n=n, levels=int(known.sum()), small=n < SMALL, metrics=intervals(values))


def _pairs(block: Block, cohort: Cohort, scored: Mapping[str, Scored]) -> list[Asked]:
    """Both methods of a pair on the rows that both answer, where these are not all rows."""
    found = []
    for method, against, _ in block.paired:
        if method in scored and against in scored and not (both := _both(scored, method, against)).all():
            part = cohort.take(both)
            found += [
                _asked(block, part, scored[name].take(both), ("pair", method, against, name))
                for name in (method, against)
            ]
    return found


def _both(scored: Mapping[str, Scored], method: str, against: str) -> BoolArray:
    return np.asarray(np.isfinite(scored[method].value) & np.isfinite(scored[against].value))


def _paired(block: Block, scored: Mapping[str, Scored], values: Found) -> tuple[Paired, ...]:
    found = []
    for method, against, metric in block.paired:
        if method not in scored or against not in scored:
            continue
        first = values.get(("pair", method, against, method), values[method])
        second = values.get(("pair", method, against, against), values[against])
        apart = difference(first, second, metric)
        if apart is not None:
            found.append(Paired(method=method, against=against, metric=metric, difference=apart))
    return tuple(found)


def _control(block: Block, cohort: Cohort, control: Control, settings: Settings) -> ControlTable:
    altered, scored = under_control(block, cohort, control, settings)
    bare = replace(block, grouped=())
    document = _document(
        bare, replace(altered, groups={}), scored, settings, train=altered, controls=(),
        versions=Versions(posologist="", knowledge=""),
    )  # fmt: skip
    groups: tuple[GroupRow, ...] = ()
    if control.by:
        only = replace(altered, groups={control.by: altered.groups[control.by]})
        whole = _document(
            replace(block, grouped=control.methods, fairness=()), only, scored, settings, train=altered, controls=(),
            versions=Versions(posologist="", knowledge=""),
        )  # fmt: skip
        groups = whole.groups
    return ControlTable(name=control.name, note=control.note, rows=document.rows, paired=document.paired, groups=groups)


def _silent(cohort: Cohort, scored: Mapping[str, Scored]) -> list[str]:
    """What the methods did not answer."""
    found = []
    for name, own in scored.items():
        quiet = int((~np.isfinite(own.value)).sum())
        if quiet:
            found.append(f"{name} has no answer for {quiet} of {len(cohort)} rows; it is measured on the others")
        if own.abstained is not None and own.abstained.any():
            rate = 100.0 - float(recommended(own).mean())
            found.append(f"{name} abstains for {rate:.1f} % of the rows; their predictions are measured all the same")
    return found


def _left_out(block: Block, settings: Settings) -> list[str]:
    if not settings.quick:
        return []
    quiet = [control.name for control in block.controls if not control.quick]
    found = ["quick run: fewer rows, resamples and tuning; its figures are a check that all works, not a result"]
    return found + ([f"not made in a quick run: {', '.join(quiet)}"] if quiet else [])


def thinned(block: Block, cohort: Cohort, settings: Settings) -> Cohort:
    """In a quick run at most `quick_rows` rows, of whole patients drawn at random."""
    if not settings.quick or not block.quick_rows or len(cohort) <= block.quick_rows:
        return cohort
    rng = np.random.default_rng(sub_seed(settings.seed, "quick"))
    patients = rng.permutation(np.unique(cohort.patient))
    rank = np.empty(int(cohort.patient.max()) + 1, dtype=np.int64)
    rank[patients] = np.arange(len(patients))
    order = np.argsort(rank[cohort.patient], kind="stable")[: block.quick_rows]
    last = rank[cohort.patient[order[-1]]]
    return cohort.take(rank[cohort.patient] < max(int(last), 1))


def _patients(cohort: Cohort, mask: BoolArray | None = None) -> int:
    return len(np.unique(cohort.patient if mask is None else cohort.patient[mask]))
