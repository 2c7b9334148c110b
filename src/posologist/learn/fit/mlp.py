"""Multitask network for tables: small networks that share their weights, over piecewise-linear encodings.

The design is TabM (arXiv:2410.24210) with the encoding of arXiv:2203.05556; `ensemble` says where it differs. Margins,
not probabilities, are averaged over the members, so that a fitted ensemble is one plain network (`layers()`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from posologist.learn.fit.ensemble import Course, Head, Loss, rows_of, train
from posologist.learn.fit.folds import fifths, group_numbers, held_out
from posologist.learn.fit.network import ACTIVATIONS, Activation, Array, IntArray, Network, encoding

_FEWEST_HELD_OUT = 5  # rows held out for early stopping; with fewer the network runs all its epochs


class _NetworkEstimator(BaseEstimator):
    """What the three network estimators share; parameters as in `MultitaskNetwork`."""

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 8,
        n_bins: int = 8,
        activation: Activation = "silu",
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 256,
        max_epochs: int = 100,
        patience: int = 8,
        validation_fraction: float = 0.15,
        masks: Mapping[int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.n_members = n_members
        self.n_bins = n_bins
        self.activation = activation
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.masks = masks
        self.random_state = random_state

    def _train(self, rows: Array, target: Array, heads: tuple[Head, ...], weight: Array, groups: Any) -> None:
        """Fit on checked rows; target has a column for each head, nan where it is not known."""
        self._refuse_settings()
        rng = check_random_state(self.random_state)
        group = group_numbers(groups, len(rows))
        out = held_out(group, _stratum(target[:, 0], heads[0]), fraction=self.validation_fraction, rng=rng)
        if out.sum() < _FEWEST_HELD_OUT or (~out).sum() < _FEWEST_HELD_OUT:
            out = np.zeros(len(rows), dtype=bool)
        found = encoding(rows[~out], n_bins=self.n_bins, masks=dict(self.masks or {}))
        shift, spread = scale = _scales(target[~out], weight[~out], heads)
        known = np.isfinite(target)
        scaled = (np.where(known, target, shift) - shift) / spread
        weights = weight[:, None] * known
        share = weights[~out].mean(axis=0)
        weights = weights / np.where(share > 0.0, share, 1.0)
        encoded = found(rows) - found.centre
        trained = train(
            Course(**{field.name: getattr(self, field.name) for field in fields(Course)}),
            heads,
            rows_of(encoded[~out], scaled[~out], weights[~out]),
            rows_of(encoded[out], scaled[out], weights[out]),
            encoding=found,
            scale=scale,
            seed=int(rng.randint(2**31 - 1)),
        )
        self.heads_, self.network_ = heads, trained.network
        self.n_epochs_, self.held_out_loss_ = trained.n_epochs, trained.held_out_loss

    def _refuse_settings(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden!r}: give the width of at least one hidden layer")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r}: choose one of {sorted(ACTIVATIONS)}")
        if not 0.0 <= self.validation_fraction < 1.0:
            raise ValueError(f"validation_fraction={self.validation_fraction!r}: must be in [0, 1)")

    def layers(self) -> Network:
        """The fitted network as frozen plain layers: encoding, hidden layers, output layer."""
        check_is_fitted(self, "network_")
        return self.network_

    def margin(self, X: Any) -> Array:
        """Margins of rows, shape (n_rows, n_margins); see `Network`."""
        check_is_fitted(self, "network_")
        return self.network_.margin(_checked(self, X, reset=False))


def _checked(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Rows as numbers; refuses what is not known, since imputing is the work of the features."""
    rows: Array = validate_data(estimator, X, reset=reset, dtype=np.float64, ensure_all_finite=False)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=0))
    if bad.size:
        raise ValueError(
            f"{type(estimator).__name__}: X has NaN or inf in column(s) {bad[:10].tolist()}; "
            "impute and mask the rows first (posologist.learn.features)"
        )
    return rows


def _stratum(target: Array, head: Head) -> IntArray:
    """Class, or fifth of a number; -1 where the target is not known."""
    if head.kind == "number":
        return fifths(target)
    return np.where(np.isfinite(target), target, -1.0).astype(np.int64)


def _scales(target: Array, weight: Array, heads: Sequence[Head]) -> Array:
    """Mean and standard deviation of each number, 0 and 1 for classes, shape (2, n_heads)."""
    shift, scale = np.zeros(len(heads)), np.ones(len(heads))
    for j, head in enumerate(heads):
        known = np.isfinite(target[:, j]) & (weight > 0.0)
        if head.kind == "number" and known.any():
            shift[j] = np.average(target[known, j], weights=weight[known])
            spread = np.average((target[known, j] - shift[j]) ** 2, weights=weight[known]) ** 0.5
            scale[j] = spread if spread > 0.0 else 1.0
    return np.stack([shift, scale])


class MultitaskNetwork(_NetworkEstimator):
    """One network for several outcomes; an outcome that is not known for a row takes no part in the fit there.

    Parameters
    ----------
    heads
        What each column of y is; None: a number with squared loss, each.
    hidden
        Width of each hidden layer, of each member.
    n_members
        Members of the ensemble.
    n_bins
        Bins of the piecewise-linear encoding of a column.
    activation
        "relu", "silu" or "tanh".
    dropout, input_dropout
        Share of the hidden values, and of the input columns, that a training step leaves out.
    learning_rate, weight_decay, batch_size, max_epochs
        Of AdamW (Loshchilov, Hutter. ICLR 2019, arXiv:1711.05101).
    patience, validation_fraction
        The fit stops when the loss on this share of the rows (whole groups, held out) was not improved for so many
        epochs, and takes the weights of the best epoch.
    masks
        Column -> the column that is 1 where its value was not measured; there the network sees the typical value,
        whatever was imputed.
    random_state
        Same seed, same rows: same network.

    Attributes
    ----------
    network_ : Network
    n_epochs_ : int
    held_out_loss_ : float
        Least loss on the rows held out; inf when too few rows could be held out.
    """

    def __init__(
        self,
        heads: Sequence[Head] | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 8,
        n_bins: int = 8,
        activation: Activation = "silu",
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 256,
        max_epochs: int = 100,
        patience: int = 8,
        validation_fraction: float = 0.15,
        masks: Mapping[int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.heads = heads
        super().__init__(
            hidden=hidden,
            n_members=n_members,
            n_bins=n_bins,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            masks=masks,
            random_state=random_state,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.non_deterministic = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit; y has a column for each head, nan where the outcome is not known, classes numbered from 0.

        Rows of the same group are never parted by the inner split.
        """
        rows = _checked(self, X, reset=True)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        target = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(rows, target)
        self._one_column = target.ndim == 1
        target = target.reshape(len(target), -1)
        heads = tuple(self.heads) if self.heads is not None else (Head(),) * target.shape[1]
        if len(heads) != target.shape[1]:
            raise ValueError(f"y has {target.shape[1]} column(s) and there are {len(heads)} heads; give one head each")
        self._train(rows, target, heads, _check_sample_weight(sample_weight, rows, dtype=np.float64), groups)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted number, or number of the most probable class, shape (n_rows, n_heads); (n_rows,) if y was so."""
        margin = self.margin(X)
        found = np.empty((len(margin), len(self.heads_)))
        at = 0
        for j, head in enumerate(self.heads_):
            own = margin[:, at : at + head.n_margins]
            at += head.n_margins
            if head.kind == "number":
                found[:, j] = own[:, 0]
            else:
                found[:, j] = own[:, 0] > 0.0 if head.n_margins == 1 else own.argmax(axis=1)
        return found[:, 0] if self._one_column else found

    def probability(self, X: Any, *, head: int) -> Array:
        """Probability of each class of one head, shape (n_rows, n_classes)."""
        check_is_fitted(self, "network_")
        if self.heads_[head].kind != "classes":
            raise ValueError(f"head {head} is a number; it has no classes")
        at = sum(h.n_margins for h in self.heads_[:head])
        return _probability(self.margin(X)[:, at : at + self.heads_[head].n_margins])


def _probability(margin: Array) -> Array:
    if margin.shape[1] == 1:
        return np.concatenate([expit(-margin), expit(margin)], axis=1)
    return np.asarray(softmax(margin, axis=1))


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """Network for one number; `loss` and `quantile` as in `Head`, the other parameters as in `MultitaskNetwork`."""

    def __init__(
        self,
        loss: Loss = "squared",
        *,
        quantile: float = 0.5,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 8,
        n_bins: int = 8,
        activation: Activation = "silu",
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 256,
        max_epochs: int = 100,
        patience: int = 8,
        validation_fraction: float = 0.15,
        masks: Mapping[int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.loss = loss
        self.quantile = quantile
        super().__init__(
            hidden=hidden,
            n_members=n_members,
            n_bins=n_bins,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            masks=masks,
            random_state=random_state,
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit; rows of the same group are never parted by the inner split."""
        rows = _checked(self, X, reset=True)
        _, target = validate_data(self, X, y, reset=False, dtype=np.float64, y_numeric=True)
        weight = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        head = Head("number", loss=self.loss, quantile=self.quantile)
        self._train(rows, np.asarray(target, dtype=np.float64)[:, None], (head,), weight, groups)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted numbers, shape (n_rows,)."""
        return self.margin(X)[:, 0]


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """Network for classes; parameters as in `MultitaskNetwork`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit; rows of the same group are never parted by the inner split."""
        rows = _checked(self, X, reset=True)
        _, labels = validate_data(self, X, y, reset=False, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, target = np.unique(labels, return_inverse=True)
        if self.classes_.size < 2:
            raise ValueError("NetworkClassifier needs two classes in y; there is only one class")
        weight = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        head = Head("classes", n_classes=self.classes_.size)
        self._train(rows, target.astype(np.float64)[:, None], (head,), weight, groups)
        return self

    def decision_function(self, X: Any) -> Array:
        """Log odds of the second class, shape (n_rows,); of more than two classes a margin each."""
        margin = self.margin(X)
        return margin[:, 0] if self.classes_.size == 2 else margin

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, shape (n_rows, n_classes)."""
        return _probability(self.margin(X))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class of each row."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])
