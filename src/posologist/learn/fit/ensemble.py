"""How the network is trained: members that share their weights, AdamW, early stopping. The only use of PyTorch.

The design is TabM (Gorishniy, Kotelnikov, Babenko. TabM: advancing tabular deep learning with parameter-efficient
ensembling. ICLR 2025, arXiv:2410.24210). Members share every weight matrix and differ by a scale of the inputs and
outputs of each layer (BatchEnsemble: Wen, Tran, Ba. ICLR 2020, arXiv:2002.06715). Each member is trained on its own
loss. Unlike in TabM the members share the input of the first layer, which is then computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from scipy.linalg import block_diag

from posologist.learn.fit.network import Activation, Array, Dense, Encoding, Network

Loss = Literal["squared", "absolute", "huber", "pinball"]

_HUBER_TURN = 1.0  # where the loss turns from square to linear, in standard deviations of the target
_ACTIVATIONS = {"relu": torch.relu, "silu": torch.nn.functional.silu, "tanh": torch.tanh}


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
class Course:
    """How a network is built and trained; meanings as in `MultitaskNetwork`."""

    hidden: Sequence[int]
    n_members: int
    activation: Activation
    dropout: float
    input_dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int


@dataclass(frozen=True)
class Rows:
    """Rows on their way into the training: encoded and centred, numbers scaled, weight zero where not known."""

    encoded: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor

    def take(self, index: torch.Tensor) -> Rows:
        return Rows(self.encoded[index], self.target[index], self.weight[index])


def rows_of(encoded: Array, target: Array, weight: Array) -> Rows:
    """Rows from arrays; target and weight have a column for each head."""
    return Rows(*(torch.from_numpy(part.astype(np.float32)) for part in (encoded, target, weight)))


@dataclass(frozen=True)
class _Drop:
    """Dropout of a share of the values, rounded to 1/256: a random byte costs a tenth of a Bernoulli draw."""

    rate: float
    generator: torch.Generator

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        lost = round(256 * self.rate)
        if lost == 0:
            return value
        words = torch.empty(-(-value.numel() // 8), dtype=torch.int64)
        drawn = words.random_(-(2**63), None, generator=self.generator).view(torch.uint8)
        kept = (drawn[: value.numel()].view(value.shape) >= lost).to(value.dtype)
        return value * kept.mul_(256.0 / (256 - lost))


class _Members:
    """The weights while they are trained: members on the first axis, rows on the second."""

    def __init__(self, widths: Sequence[int], *, n_members: int, generator: torch.Generator) -> None:
        def uniform(*shape: int, fan_in: int) -> torch.Tensor:
            drawn: torch.Tensor = torch.rand(shape, generator=generator) * 2.0 - 1.0
            return (drawn / max(fan_in, 1) ** 0.5).requires_grad_()

        def signs(width: int) -> torch.Tensor:
            drawn = torch.randint(0, 2, (n_members, 1, width), generator=generator)
            return (drawn.float() * 2.0 - 1.0).requires_grad_()

        pairs = list(pairwise(widths[:-1]))
        self.weight = [uniform(a, b, fan_in=a) for a, b in pairs]
        self.bias = [uniform(n_members, 1, b, fan_in=a) for a, b in pairs]
        self.before = [signs(a) for a, _ in pairs[1:]]
        self.after = [signs(pairs[0][1]), *(torch.ones((n_members, 1, b), requires_grad=True) for _, b in pairs[1:])]
        self.head = uniform(n_members, widths[-2], widths[-1], fan_in=widths[-2])
        self.head_bias = torch.zeros((n_members, 1, widths[-1]), requires_grad=True)

    def parameters(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Parameters that decay towards zero, and those that do not."""
        return [*self.weight, self.head], [*self.bias, *self.before, *self.after, self.head_bias]

    def margins(self, encoded: torch.Tensor, activation: Activation, drop: _Drop) -> torch.Tensor:
        """Margins of each member, shape (n_members, n_rows, n_margins)."""
        function = _ACTIVATIONS[activation]
        value = drop(function((encoded @ self.weight[0]).unsqueeze(0) * self.after[0] + self.bias[0]))
        for i, before in enumerate(self.before, start=1):
            own = before.transpose(1, 2) * self.weight[i] * self.after[i]
            value = drop(function(torch.baddbmm(self.bias[i], value, own)))
        return torch.baddbmm(self.head_bias, value, self.head)


def _number_loss(head: Head, error: torch.Tensor) -> torch.Tensor:
    """Loss of (target - margin)."""
    if head.loss == "squared":
        return error.square()
    if head.loss == "absolute":
        return error.abs()
    if head.loss == "huber":
        return torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=_HUBER_TURN)
    if head.loss == "pinball":
        return torch.maximum(head.quantile * error, (head.quantile - 1.0) * error)
    raise ValueError(f"loss={head.loss!r}: choose squared, absolute, huber or pinball")


def _loss(heads: Sequence[Head], margins: torch.Tensor, rows: Rows) -> torch.Tensor:
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


@dataclass(frozen=True)
class Trained:
    """A trained ensemble: its network (numbers still scaled), epochs run, least loss on the rows held out."""

    network: Network
    n_epochs: int
    held_out_loss: float


def train(
    course: Course, heads: Sequence[Head], rows: Rows, held: Rows, *, encoding: Encoding, scale: Array, seed: int
) -> Trained:
    """Network at the epoch whose mean margin has the least loss on the rows held out; of the last one if none are.

    Parameters
    ----------
    scale
        Shift and spread of each head's target, shape (2, n_heads), put back into the output layer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums, and so the result, must not hang on the machine
    try:
        members, n_epochs, least = _descend(course, heads, rows, held, _columns(encoding), seed)
    finally:
        torch.set_num_threads(threads)
    shift, spread = np.repeat(scale, [head.n_margins for head in heads], axis=1)
    return Trained(_plain(members, encoding, shift, spread, course.activation), n_epochs, least)


def _columns(encoding: Encoding) -> torch.Tensor:
    """For each encoded column the rank of the column it encodes."""
    return torch.from_numpy(np.unique(encoding.column, return_inverse=True)[1])


def _descend(
    course: Course, heads: Sequence[Head], rows: Rows, held: Rows, columns: torch.Tensor, seed: int
) -> tuple[_Members, int, float]:
    generator = torch.Generator().manual_seed(seed)
    widths = (rows.encoded.shape[1], *course.hidden, sum(head.n_margins for head in heads))
    members = _Members(widths, n_members=course.n_members, generator=generator)
    decaying, free = members.parameters()
    groups = [{"params": decaying, "weight_decay": course.weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=course.learning_rate, fused=True)
    everything = (*decaying, *free)
    least, best, waited, epoch = float("inf"), [p.detach().clone() for p in everything], 0, 0
    while epoch < course.max_epochs and waited < course.patience:
        epoch += 1
        _epoch(course, heads, members, rows, columns, optimizer, generator)
        loss = _held_out_loss(course, heads, members, held)
        if loss is None or loss < least:
            least, waited, best = least if loss is None else loss, 0, [p.detach().clone() for p in everything]
        else:
            waited += 1
    with torch.no_grad():
        for parameter, value in zip(everything, best, strict=True):
            parameter.copy_(value)
    return members, epoch, least


def _held_out_loss(course: Course, heads: Sequence[Head], members: _Members, held: Rows) -> float | None:
    if not len(held.encoded):
        return None
    nothing = _Drop(0.0, torch.Generator())
    with torch.no_grad():
        mean = members.margins(held.encoded, course.activation, nothing).mean(dim=0, keepdim=True)
        return float(_loss(heads, mean, held))


def _epoch(
    course: Course,
    heads: Sequence[Head],
    members: _Members,
    rows: Rows,
    columns: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    drop = _Drop(course.dropout, generator)
    n_columns = int(columns.max()) + 1 if len(columns) else 0
    for index in torch.randperm(len(rows.encoded), generator=generator).split(course.batch_size):
        batch = rows.take(index)
        encoded = batch.encoded
        if course.input_dropout:
            kept = torch.empty((len(index), n_columns)).bernoulli_(1.0 - course.input_dropout, generator=generator)
            encoded = encoded * kept[:, columns]
        optimizer.zero_grad()
        _loss(heads, members.margins(encoded, course.activation, drop), batch).backward()
        optimizer.step()


def _numpy(value: torch.Tensor) -> Array:
    return np.asarray(value.detach().numpy(), dtype=np.float64)


def _plain(members: _Members, encoding: Encoding, shift: Array, spread: Array, activation: Activation) -> Network:
    """The members side by side as one network; hidden layers after the first are block diagonal."""
    n_members = members.head.shape[0]
    hidden = []
    for i, (weight, bias, after) in enumerate(zip(members.weight, members.bias, members.after, strict=True)):
        if i == 0:
            joined = np.concatenate([_numpy(weight * after[m]) for m in range(n_members)], axis=1)
            hidden.append(Dense(joined, _numpy(bias).reshape(-1) - encoding.centre @ joined))
        else:
            before = members.before[i - 1]
            blocks = [_numpy(before[m].T * weight * after[m]) for m in range(n_members)]
            hidden.append(Dense(block_diag(*blocks), _numpy(bias).reshape(-1)))
    head = _numpy(members.head)
    output = Dense(
        head.reshape(-1, head.shape[2]) / n_members * spread,
        _numpy(members.head_bias).mean(axis=(0, 1)) * spread + shift,
    )
    return Network(encoding=encoding, hidden=tuple(hidden), output=output, activation=activation)
