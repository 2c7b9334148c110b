"""Ordinary differential equations with error control, for all draws at once.

Dormand and Prince's explicit Runge-Kutta pair of orders 5 and 4. States have the shape (n_states, n_draws); the step
is the one that the worst draw needs, so every draw meets the tolerance. Between two stops the right-hand side must be
smooth; at a stop (a dose, the end of an infusion, a change of parameters) the solution is reached exactly and the
right-hand side is read anew. What cannot be solved within the step limit ends with a `NumericsError`, never silently.

References
----------
dormand-prince-1980 (J Comput Appl Math 6:19-26), table 2; the continuous extension is Shampine's (Math Comp 46:135-150)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError

Array = npt.NDArray[np.float64]
Rate = Callable[[float, Array], Array]
"""Time derivative: (time, states (n_states, n_draws)) -> (n_states, n_draws)."""

STEP_LIMIT = 20_000  # attempted steps of one solution; 10 to 300 are usual
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = tuple(
    np.array(row)
    for row in (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
)
_ERROR = np.array((71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40))  # order 5 minus 4
_DENSE = np.array(  # rows: stages; columns: powers 1..4 of the fraction of the step
    (
        (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
        (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
        (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    )
)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 8.0  # step control: safety factor, smallest and largest change of the step
_PIECE = 16_384  # columns that are added up at once
_START = 0.01  # the first step changes the state by about this part


class Step(NamedTuple):
    """One step: `states` at its end (order 5), the estimated `error`, and the `slopes` (7, n_states, n_draws)."""

    states: Array
    error: Array
    slopes: Array


class Leg(NamedTuple):
    """The way to a stop: `states` there, the `step` that the error would have allowed, attempted `steps`."""

    states: Array
    step: float
    steps: int
    samples: Array


class Solution(NamedTuple):
    """States at the times asked for, shape (n_times, n_states, n_draws), and the number of attempted steps."""

    states: Array
    steps: int


def one_step(rate: Rate, time: float, states: Array, length: float, slope: Array | None = None) -> Step:
    """One Dormand-Prince step of the given length; `slope` is the derivative at its start, where it is known."""
    slopes = np.empty((7, *states.shape))
    flat = slopes.reshape(7, -1)
    slopes[0] = rate(time, states) if slope is None else slope
    reached = states
    for stage in range(1, 7):
        reached = states + length * _weighted(_STAGES[stage], flat).reshape(states.shape)
        slopes[stage] = rate(time + _NODES[stage] * length, reached)
    return Step(states=reached, error=length * _weighted(_ERROR, flat).reshape(states.shape), slopes=slopes)


def advance(
    rate: Rate,
    span: tuple[float, float],
    states: Array,
    *,
    rtol: float,
    atol: Array | float,
    step: float | None = None,
    limit: int = STEP_LIMIT,
    sampled: Array | None = None,
) -> Leg:
    """States at the end of `span`, over which the right-hand side is smooth; and at the `sampled` times inside it.

    Parameters
    ----------
    rate
        Right-hand side; it may be called at the end of the span itself.
    span
        Start and end, start <= end.
    states
        At the start, shape (n_states, n_draws).
    rtol, atol
        The estimated error of a step stays below `atol + rtol * |state|` in the mean square over the states of
        every draw; `atol` may be an array that broadcasts to the states.
    step
        First step to try; chosen from the slope where it is not given.
    limit
        Steps that may be attempted.
    sampled
        Ascending times in (start, end] at which the states are wanted too, by the continuous extension.

    Raises
    ------
    NumericsError
        If the step limit is reached, the step shrinks below what the time can hold, or a state is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is seen as not finite, and tried again
        return _advance(rate, span, states, (rtol, atol), step, limit, np.empty(0) if sampled is None else sampled)


def _advance(
    rate: Rate,
    span: tuple[float, float],
    states: Array,
    tolerance: tuple[float, Array | float],
    step: float | None,
    limit: int,
    wanted: Array,
) -> Leg:
    time, end = span
    samples = np.empty((wanted.size, *states.shape))
    taken = steps = 0
    slope = _finite(rate(time, states), time)
    length = _first_step(states, slope, tolerance, end - time) if step is None else step
    while time < end:
        if steps >= limit:
            raise _too_many(time, end, limit)
        allowed, length = length, min(length, end - time)
        last = length >= end - time
        tried = one_step(rate, time, states, length, slope)
        steps += 1
        factor = _factor(states, tried, tolerance)
        if factor < _SAFETY:
            length *= factor
            if not length > 16 * np.spacing(max(abs(time), abs(end))):
                raise _stuck(time)
            continue
        reached = end if last else time + length
        if taken < wanted.size and wanted[taken] <= reached:
            some = slice(taken, int(np.searchsorted(wanted, reached, side="right")))
            samples[some] = _between(states, tried, (wanted[some] - time) / length, length)
            taken = some.stop
        time, states, slope = reached, tried.states, tried.slopes[6]
        length = max(length * factor, allowed if last else 0.0)
    return Leg(states=states, step=length, steps=steps, samples=samples)


def solve(
    rate: Rate,
    initial: npt.ArrayLike,
    times: npt.ArrayLike,
    *,
    start: float = 0.0,
    stops: Sequence[float] = (),
    rtol: float = 1e-8,
    atol: Array | float = 1e-10,
    limit: int = STEP_LIMIT,
) -> Solution:
    """States at ascending `times`, from `initial` (n_states, n_draws) at `start`.

    Parameters
    ----------
    rate
        Right-hand side, (time, states) -> derivative; smooth between two stops.
    initial
        States at `start`, shape (n_states, n_draws).
    times
        Ascending, none before `start`; shape (n_times,), the unit of the right-hand side (h).
    start
        Where the solution begins.
    stops
        Times at which the right-hand side jumps; those outside (start, last time) change nothing.
    rtol, atol
        Relative and absolute tolerance of a step, see `advance`.
    limit
        Steps that may be attempted altogether.

    Raises
    ------
    NumericsError
        If times are not ascending from `start`, a tolerance is not positive, or the integration fails as in `advance`.
    """
    states = np.array(initial, dtype=np.float64)
    asked = np.asarray(times, dtype=np.float64)
    if states.ndim != 2 or asked.ndim != 1:
        raise NumericsError("states need the shape (states, draws) and times one dimension", hint="reshape them")
    _check(asked, start, rtol, atol)
    _finite(states, start)
    result = np.empty((asked.size, *states.shape))
    result[asked == start] = states
    if not asked.size or asked[-1] == start:
        return Solution(states=result, steps=0)
    ends = sorted({float(stop) for stop in stops if start < stop < asked[-1]} | {float(asked[-1])})
    used, begin = 0, start
    for end in ends:
        inside = (asked > begin) & (asked <= end)
        leg = advance(rate, (begin, end), states, rtol=rtol, atol=atol, limit=limit - used, sampled=asked[inside])
        result[inside] = leg.samples
        states, used, begin = leg.states, used + leg.steps, end
    return Solution(states=result, steps=used)


def _check(times: Array, start: float, rtol: float, atol: Array | float) -> None:
    if not np.all(np.isfinite(times)) or np.any(np.diff(times, prepend=start) < 0):
        raise NumericsError("times must be finite and ascend from the start", hint="sort them")
    if not rtol > 0 or not np.all(np.asarray(atol) > 0):
        raise NumericsError("tolerances must be positive", hint="give rtol and atol above zero")


def _weighted(weights: Array, slopes: Array) -> Array:
    """Weighted sum of the first slopes, in pieces: a product that is large enough to be shared by threads is slow."""
    count, size = weights.size, slopes.shape[1]
    if size <= _PIECE:
        return np.asarray(weights @ slopes[:count])
    total = np.empty(size)
    for begin in range(0, size, _PIECE):
        np.matmul(weights, slopes[:count, begin : begin + _PIECE], out=total[begin : begin + _PIECE])
    return total


def _between(states: Array, step: Step, parts: Array, length: float) -> Array:
    """States at parts of a step, (n_parts, n_states, n_draws)."""
    powers = _DENSE @ parts ** np.arange(1, 5)[:, None]
    flat = step.slopes.reshape(7, -1)
    change = np.array([_weighted(weights, flat) for weights in powers.T]).reshape(parts.size, *states.shape)
    return np.asarray(states + length * change)


def _size(values: Array, scale: Array) -> float:
    """Root mean square over the states, of the worst draw."""
    ratio = values / scale
    return math.sqrt(np.einsum("ij,ij->j", ratio, ratio).max(initial=0.0) / max(len(ratio), 1))


def _factor(before: Array, step: Step, tolerance: tuple[float, Array | float]) -> float:
    """By what the step may change; below the safety factor it must be tried again."""
    rtol, atol = tolerance
    error = _size(step.error, atol + rtol * np.maximum(np.abs(before), np.abs(step.states)))
    if not math.isfinite(error):
        return _SHRINK
    return _GROW if error == 0 else min(max(_SAFETY * error**-0.2, _SHRINK), _GROW)


def _first_step(states: Array, slope: Array, tolerance: tuple[float, Array | float], span: float) -> float:
    rtol, atol = tolerance
    scale = atol + rtol * np.abs(states)
    size, speed = _size(states, scale), _size(slope, scale)
    return span if speed == 0 else min(span, _START * max(size, 1.0) / speed)


def _finite(values: Array, time: float) -> Array:
    if not np.all(np.isfinite(values)):
        raise NumericsError(f"a state or its slope is not finite at time {time:g}", hint="check the parameters")
    return values


def _too_many(time: float, end: float, limit: int) -> NumericsError:
    return NumericsError(
        f"the step limit ({limit} steps) was reached at time {time:g} of {end:g}",
        hint="the system is stiff or diverges: check the rate constants, or loosen rtol and atol",
    )


def _stuck(time: float) -> NumericsError:
    return NumericsError(
        f"the step became too small at time {time:g}: the solution diverges or its slope is not finite",
        hint="check the parameters",
    )
