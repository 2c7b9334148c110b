"""Multitask network for tables: small networks that share their weights, over piecewise-linear encodings.

The design is TabM (Gorishniy, Kotelnikov, Babenko. TabM: advancing tabular deep learning with parameter-efficient
ensembling. ICLR 2025, arXiv:2410.24210) with the encoding of Gorishniy, Rubachev, Babenko (NeurIPS 2022,
arXiv:2203.05556). Members share every weight matrix and differ by a scale of the inputs and outputs of each layer
(BatchEnsemble: Wen, Tran, Ba. ICLR 2020, arXiv:2002.06715). Each member is trained on its own loss; margins, not
probabilities, are averaged, so that a fitted ensemble is one plain network (`layers()`). Unlike in TabM the members
share the input of the first layer, which is then computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import block_diag
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

from posologist.learn.fit.network import Activation, Array, Dense, IntArray, Network, encoding

Loss = Literal["squared", "absolute", "huber", "pinball"]
BoolArray = npt.NDArray[np.bool_]

_HUBER_TURN = 1.0  # where the loss turns from square to linear, in standard deviations of the target
_FEWEST_HELD_OUT = 5  # rows held out for early stopping; with fewer the network runs all its epochs


@dataclass(frozen=True)
class Head:
    """One output of a network: a number, or one of `n_classes` classes numbered from 0.

    `loss` and `quantile` (of the pinball loss) hold for numbers; classes have the log loss. `weight` is the share of
    the output in the whole loss.
    """

    kind: Literal["number", "classes"] = "number"
    loss: Loss = "squared"
    quantile: float = 0.5
    n_classes: int = 2
    weight: float = 1.0

    @property
    def n_margins(self) -> int:
        """Margins of the output: one for a number or a yes/no, one for each class of more."""
        return 1 if self.kind == "number" or self.n_classes <= 2 else self.n_classes


@dataclass(frozen=True)
class _Rows:
    """Rows on their way into the training: encoded and centred, targets scaled, weights zero where not known."""

    encoded: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor

    def take(self, index: torch.Tensor) -> _Rows:
        return _Rows(self.encoded[index], self.target[index], self.weight[index])


class _Ensemble:
    """The weights while they are trained: members on the first axis, rows on the second."""

    def __init__(self, widths: Sequence[int], *, n_members: int, generator: torch.Generator) -> None:
        def uniform(*shape: int, fan_in: int) -> torch.Tensor:
            drawn = torch.rand(shape, generator=generator) * 2.0 - 1.0
            return (drawn / max(fan_in, 1) ** 0.5).requires_grad_()

        hidden, last = widths[:-1], widths[-1]
        pairs = list(pairwise(hidden))
        self.weight = [uniform(a, b, fan_in=a) for a, b in pairs]
        self.bias = [uniform(n_members, 1, b, fan_in=a) for a, b in pairs]
        self.before = [_signs((n_members, 1, a), generator) for a, _ in pairs[1:]]
        self.after = [torch.ones((n_members, 1, b), requires_grad=True) for _, b in pairs]
        self.after[0] = _signs((n_members, 1, pairs[0][1]), generator)
        self.head = uniform(n_members, hidden[-1], last, fan_in=hidden[-1])
        self.head_bias = torch.zeros((n_members, 1, last), requires_grad=True)

    def parameters(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Parameters that decay towards zero, and those that do not."""
        return [*self.weight, self.head], [*self.bias, *self.before, *self.after, self.head_bias]

    def margins(self, encoded: torch.Tensor, activation: Activation, drop: _Drop | None = None) -> torch.Tensor:
        """Margins of each member, shape (n_members, n_rows, n_margins)."""
        function = _TORCH_ACTIVATIONS[activation]
        value = (encoded @ self.weight[0]).unsqueeze(0) * self.after[0] + self.bias[0]
        value = function(value) if drop is None else drop(function(value))
        for i, before in enumerate(self.before, start=1):
            value = function(torch.matmul(value * before, self.weight[i]) * self.after[i] + self.bias[i])
            value = value if drop is None else drop(value)
        return torch.matmul(value, self.head) + self.head_bias


@dataclass(frozen=True)
class _Drop:
    rate: float
    generator: torch.Generator

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        if self.rate == 0.0:
            return value
        kept = torch.empty_like(value).bernoulli_(1.0 - self.rate, generator=self.generator)
        return value * kept / (1.0 - self.rate)


_TORCH_ACTIVATIONS = {"relu": torch.relu, "silu": torch.nn.functional.silu, "tanh": torch.tanh}


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return (torch.randint(0, 2, shape, generator=generator).float() * 2.0 - 1.0).requires_grad_()


def _number_loss(head: Head, error: torch.Tensor) -> torch.Tensor:
    """Loss of (target - margin)."""
    if head.loss == "squared":
        return error.square()
    if head.loss == "absolute":
        return error.abs()
    if head.loss == "huber":
        size = error.abs()
        return torch.where(size < _HUBER_TURN, 0.5 * size.square(), _HUBER_TURN * (size - 0.5 * _HUBER_TURN))
    return torch.maximum(head.quantile * error, (head.quantile - 1.0) * error)


def _loss(heads: Sequence[Head], margins: torch.Tensor, rows: _Rows) -> torch.Tensor:
    """Mean loss over members and rows, summed over the outputs."""
    total = margins.new_zeros(())
    at = 0
    for j, head in enumerate(heads):
        margin, target = margins[:, :, at : at + head.n_margins], rows.target[:, j]
        at += head.n_margins
        if head.kind == "number":
            loss = _number_loss(head, target - margin[:, :, 0])
        elif head.n_margins == 1:
            loss = torch.nn.functional.softplus(margin[:, :, 0]) - target * margin[:, :, 0]
        else:
            chosen = target.long().expand(margin.shape[0], -1).unsqueeze(-1)
            loss = margin.logsumexp(-1) - margin.gather(-1, chosen).squeeze(-1)
        total = total + head.weight * (loss * rows.weight[:, j]).mean()
    return total


def held_out(groups: IntArray, stratum: IntArray, *, fraction: float, rng: np.random.RandomState) -> BoolArray:
    """Rows held out of the fit: whole groups, about `fraction` of the groups of each stratum."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    chosen = np.zeros(first.size, dtype=bool)
    for value in np.unique(stratum[first]):
        members = rng.permutation(np.flatnonzero(stratum[first] == value))
        chosen[members[: round(fraction * members.size)]] = True
    return np.asarray(chosen[group])


class _NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """What the three network estimators share; parameters as in `MultitaskNetwork`."""

    def _train(self, rows: Array, target: Array, heads: tuple[Head, ...], weight: Array, groups: Any) -> None:
        """Fit on checked rows; target has a column for each head, nan where it is not known."""
        self._refuse_settings()
        rng = check_random_state(self.random_state)
        group = np.arange(len(rows)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        check_consistent_length(rows, group)
        out = held_out(group, _stratum(target[:, 0], heads[0]), fraction=self.validation_fraction, rng=rng)
        if out.sum() < _FEWEST_HELD_OUT or (~out).sum() < _FEWEST_HELD_OUT:
            out = np.zeros(len(rows), dtype=bool)
        used = ~out
        self.encoding_ = encoding(rows[used], n_bins=self.n_bins, masks=dict(self.masks or {}))
        shift, scale = _scales(target[used], weight[used], heads)
        known = np.isfinite(target)
        weights = weight[:, None] * known
        weights = weights / np.where((share := weights[used].mean(axis=0)) > 0.0, share, 1.0)
        prepared = _Rows(
            torch.from_numpy((self.encoding_(rows) - self.encoding_.centre).astype(np.float32)),
            torch.from_numpy(((np.where(known, target, shift) - shift) / scale).astype(np.float32)),
            torch.from_numpy(weights.astype(np.float32)),
        )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the order of sums, and so the result, must not hang on the machine
        try:
            ensemble = self._descend(prepared.take(torch.from_numpy(used)), prepared.take(torch.from_numpy(out)), heads)
        finally:
            torch.set_num_threads(threads)
        self.heads_ = heads
        self.network_ = _plain(ensemble, self.encoding_, shift, scale, heads, self.activation)

    def _refuse_settings(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden!r}: give the width of at least one hidden layer")
        if self.activation not in _TORCH_ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r}: choose one of {sorted(_TORCH_ACTIVATIONS)}")
        if not 0.0 <= self.validation_fraction < 1.0:
            raise ValueError(f"validation_fraction={self.validation_fraction!r}: must be in [0, 1)")

    def _descend(self, rows: _Rows, held: _Rows, heads: tuple[Head, ...]) -> _Ensemble:
        """Ensemble at the epoch whose mean margin has the least loss on the rows held out."""
        generator = torch.Generator().manual_seed(int(check_random_state(self.random_state).randint(2**31 - 1)))
        widths = (rows.encoded.shape[1], *self.hidden, sum(head.n_margins for head in heads))
        ensemble = _Ensemble(widths, n_members=self.n_members, generator=generator)
        decaying, free = ensemble.parameters()
        groups = [{"params": decaying, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)
        least, best, waited = np.inf, None, 0
        for epoch in range(1, self.max_epochs + 1):
            self._epoch(ensemble, rows, heads, optimizer, generator)
            self.n_epochs_ = epoch
            if not len(held.encoded):
                continue
            with torch.no_grad():
                mean = ensemble.margins(held.encoded, self.activation).mean(dim=0, keepdim=True)
                loss = float(_loss(heads, mean, held))
            if loss < least:
                least, waited, best = loss, 0, [p.detach().clone() for p in (*decaying, *free)]
            elif (waited := waited + 1) >= self.patience:
                break
        if best is not None:
            with torch.no_grad():
                for parameter, value in zip((*decaying, *free), best, strict=True):
                    parameter.copy_(value)
        self.held_out_loss_ = float(least)
        return ensemble

    def _epoch(
        self,
        ensemble: _Ensemble,
        rows: _Rows,
        heads: tuple[Head, ...],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        drop = _Drop(self.dropout, generator)
        columns, column = np.unique(self.encoding_.column, return_inverse=True)
        which = torch.from_numpy(column)
        for index in torch.randperm(len(rows.encoded), generator=generator).split(self.batch_size):
            batch = rows.take(index)
            encoded = batch.encoded
            if self.input_dropout:
                kept = torch.empty((len(index), columns.size)).bernoulli_(1.0 - self.input_dropout, generator=generator)
                encoded = encoded * kept[:, which]
            optimizer.zero_grad()
            _loss(heads, ensemble.margins(encoded, self.activation, drop), batch).backward()
            optimizer.step()

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
    """Class, or fifth of the known target values; -1 where the target is not known."""
    known = np.isfinite(target)
    if head.kind == "classes":
        return np.where(known, target, -1.0).astype(np.int64)
    edges = np.quantile(target[known], (0.2, 0.4, 0.6, 0.8)) if known.any() else np.zeros(0)
    return np.where(known, np.searchsorted(edges, np.where(known, target, 0.0)), -1)


def _scales(target: Array, weight: Array, heads: Sequence[Head]) -> tuple[Array, Array]:
    """Mean and standard deviation of each number; 0 and 1 for classes."""
    shift, scale = np.zeros(len(heads)), np.ones(len(heads))
    for j, head in enumerate(heads):
        known = np.isfinite(target[:, j]) & (weight > 0.0)
        if head.kind == "number" and known.any():
            shift[j] = np.average(target[known, j], weights=weight[known])
            spread = np.average((target[known, j] - shift[j]) ** 2, weights=weight[known]) ** 0.5
            scale[j] = spread if spread > 0.0 else 1.0
    return shift, scale


def _plain(
    ensemble: _Ensemble,
    encoded: Any,
    shift: Array,
    scale: Array,
    heads: Sequence[Head],
    activation: Activation,
) -> Network:
    """The members side by side as one network; hidden layers after the first are block diagonal."""
    arrays = {
        name: [value.detach().numpy().astype(np.float64) for value in getattr(ensemble, name)]
        for name in ("weight", "bias", "before", "after")
    }
    n_members = ensemble.head.shape[0]
    hidden = []
    for i, (weight, bias, after) in enumerate(zip(arrays["weight"], arrays["bias"], arrays["after"], strict=True)):
        if i == 0:
            joined = np.concatenate([weight * scale_out for scale_out in after], axis=1)
            hidden.append(Dense(joined, bias.reshape(-1) - encoded.centre @ joined))
        else:
            before = arrays["before"][i - 1]
            blocks = [before[m].T * weight * after[m] for m in range(n_members)]
            hidden.append(Dense(block_diag(*blocks), bias.reshape(-1)))
    counts = [head.n_margins for head in heads]
    margin_scale, margin_shift = np.repeat(scale, counts), np.repeat(shift, counts)
    head = ensemble.head.detach().numpy().astype(np.float64)
    head_bias = ensemble.head_bias.detach().numpy().astype(np.float64)[:, 0, :]
    output = Dense(
        head.reshape(-1, head.shape[2]) / n_members * margin_scale, head_bias.mean(axis=0) * margin_scale + margin_shift
    )
    return Network(encoding=encoded, hidden=tuple(hidden), output=output, activation=activation)


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


class NetworkRegressor(RegressorMixin, _NetworkEstimator):  # type: ignore[misc]
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


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):  # type: ignore[misc]
    """Network for classes; parameters as in `MultitaskNetwork`."""

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
