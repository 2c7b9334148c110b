"""Inline SVG: interval bars on one common axis, parts of a sum, and a concentration curve with its band.

No script and no style attribute: the page's classes give the look, so a strict content policy can hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from posologist.core.evaluation import CheckBin
from posologist.core.values import Estimate, Series

_BAR_WIDTH, _BAR_HEIGHT, _BAR_MIDDLE = 210, 16, 8
PAIR_WIDTH = 150
_PART_WIDTH, _PART_HEIGHT = 90, 12
_CURVE_WIDTH, _CURVE_HEIGHT = 368, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 22
_NARROWEST = 3.0  # half the width of a time bin in which all levels have one time
_TICKS_WANTED = 4
_ROUNDING = 1e-9


def number(value: float) -> str:
    """A number as every page prints it: three significant digits, a true minus sign, no exponent for usual sizes.

    What is smaller than a billionth is the rounding of sums and prints as 0.
    """
    if abs(value) < _ROUNDING:
        return "0"
    text = f"{value:.3g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2e}"
    if "." not in text and abs(float(text)) < 100 and value != int(value):
        text = f"{value:.1f}"
    return text.replace("-", "−")


def interval(estimate: Estimate) -> str:
    """Value with its interval, e.g. `−8.1 (−20 to 3.4)`."""
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def common_axis(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Lowest and highest end of all intervals, zero included, with a little air."""
    low = min([0.0, *(e.low for e in estimates)])
    high = max([0.0, *(e.high for e in estimates)])
    air = 0.04 * ((high - low) or 1.0)
    return low - air, high + air


def _on_bar(value: float, axis: tuple[float, float], width: int = _BAR_WIDTH) -> float:
    low, high = axis
    return 4 + (width - 8) * (value - low) / (high - low)


def round_ticks(low: float, high: float) -> list[float]:
    """A few round values between low and high, zero among them when it lies between."""
    raw = (high - low) / _TICKS_WANTED
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * s for s in (1, 2, 5, 10) if size * s >= raw)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def axis_scale(axis: tuple[float, float], width: int = _BAR_WIDTH) -> str:
    """The scale that stands once above all interval bars."""
    places = [(value, f"{_on_bar(value, axis, width):.1f}") for value in round_ticks(*axis)]
    ticks = "".join(
        f'<line class="axis" x1="{x}" x2="{x}" y1="13" y2="17"/>'
        f'<text class="tick" x="{x}" y="10" text-anchor="middle">{number(value)}</text>'
        for value, x in places
    )
    box = f'width="{width}" height="17" viewBox="0 0 {width} 17"'
    return f'<svg class="bar" {box} aria-hidden="true">{ticks}</svg>'


def interval_bar(estimate: Estimate, axis: tuple[float, float]) -> str:
    """Bar of one interval on the common axis with its zero line."""
    label = escape(f"{interval(estimate)} {estimate.unit}, {number(100 * estimate.level)} % interval")
    zero, low, high, value = (_on_bar(v, axis) for v in (0.0, estimate.low, estimate.high, estimate.value))
    return (
        f'<svg class="bar" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" '
        f'role="img" aria-label="{label}">'
        f'<line class="axis" x1="4" x2="{_BAR_WIDTH - 4}" y1="{_BAR_MIDDLE}" y2="{_BAR_MIDDLE}"/>'
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{_BAR_HEIGHT}"/>'
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{_BAR_MIDDLE}" y2="{_BAR_MIDDLE}"/>'
        f'<circle class="dot" cx="{value:.1f}" cy="{_BAR_MIDDLE}" r="4.5"/></svg>'
    )


def part_bar(value: float, largest: float) -> str:
    """Bar of one part of a sum, to the right of the middle when it helps and to the left when it costs."""
    middle = _PART_WIDTH / 2
    length = (middle - 2) * abs(value) / (largest or 1.0)
    left = middle if value >= 0 else middle - length
    side = "gain" if value >= 0 else "cost"
    return (
        f'<svg class="part" width="{_PART_WIDTH}" height="{_PART_HEIGHT}" viewBox="0 0 {_PART_WIDTH} {_PART_HEIGHT}" '
        f'aria-hidden="true"><rect class="{side}" x="{left:.1f}" y="2" width="{length:.1f}" height="8"/>'
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="0" y2="{_PART_HEIGHT}"/></svg>'
    )


def pair_bar(benefit: Estimate, harm: Estimate, axis: tuple[float, float]) -> str:
    """Benefit over harm on one common axis with its zero line; told apart by shape, not only by colour."""
    rows = []
    for estimate, css, y in ((benefit, "gain", 9), (harm, "cost", 27)):
        low, high, value = (_on_bar(v, axis, PAIR_WIDTH) for v in (estimate.low, estimate.high, estimate.value))
        mark = (
            f'<circle class="dot" cx="{value:.1f}" cy="{y}" r="4.5"/>'
            if css == "gain"
            else f'<rect class="dot" x="{value - 4:.1f}" y="{y - 4}" width="8" height="8" '
            f'transform="rotate(45 {value:.1f} {y})"/>'
        )
        rows.append(f'<g class="{css}"><line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>{mark}</g>')
    label = escape(f"Benefit {interval(benefit)}; harm {interval(harm)}")
    zero = _on_bar(0.0, axis, PAIR_WIDTH)
    return (
        f'<svg class="pair" width="{PAIR_WIDTH}" height="36" viewBox="0 0 {PAIR_WIDTH} 36" role="img" '
        f'aria-label="{label}"><line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="36"/>{"".join(rows)}</svg>'
    )


@dataclass(frozen=True)
class Aim:
    """A band of concentrations that is aimed at; an open end is None. Its unit is that of the curve."""

    low: float | None
    high: float | None


def curve(series: Series, title: str, *, other: Series | None = None, aim: Aim | None = None) -> str:
    """Concentration against time with its band, round labelled axes and a text alternative.

    Parameters
    ----------
    other
        A second curve over the same times, drawn dashed.
    aim
        Drawn as a band behind the curve.
    """
    top = max([*(series.high or series.y), *(other.y if other else ()), (aim and aim.high) or 0.0]) or 1.0
    last = series.x[-1] or 1.0
    width, height = _CURVE_WIDTH - _LEFT - _RIGHT, _CURVE_HEIGHT - _TOP - _BOTTOM
    floor = _CURVE_HEIGHT - _BOTTOM

    def at(x: float, y: float) -> str:
        return f"{_LEFT + width * x / last:.1f} {floor - height * y / top:.1f}"

    def path(x: Sequence[float], y: Sequence[float], css: str) -> str:
        points = " L".join(at(*point) for point in zip(x, y, strict=True))
        return f'<path class="{css}" d="M{points}"/>'

    band = ""
    if series.low and series.high:
        edge_x, edge_y = (*series.x, *series.x[::-1]), (*series.high, *series.low[::-1])
        band = path(edge_x, edge_y, "band").replace('"/>', ' Z"/>')
    beside = path(other.x, other.y, "other") if other else ""
    hours = "".join(
        f'<text class="tick" x="{at(value, 0).split()[0]}" y="{floor + 14}" text-anchor="middle">{number(value)}</text>'
        for value in _hours(last)
    )
    rows = "".join(_level_line(v, at(0, v).split()[1]) for v in round_ticks(0.0, top))
    return (
        f'<svg class="curve" viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" width="100%" role="img" '
        f'aria-label="{escape(title)}">{rows}{_aim(aim, top, floor, height)}{band}{beside}'
        f"{path(series.x, series.y, 'line')}"
        f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_CURVE_WIDTH - _RIGHT}" y2="{floor}"/>{hours}</svg>'
    )


def _aim(aim: Aim | None, top: float, floor: float, height: float) -> str:
    if aim is None:
        return ""
    upper = floor - height * (top if aim.high is None else aim.high) / top
    lower = floor - height * (aim.low or 0.0) / top
    return (
        f'<rect class="aim" x="{_LEFT}" y="{upper:.1f}" width="{_CURVE_WIDTH - _LEFT - _RIGHT}" '
        f'height="{lower - upper:.1f}"/>'
    )


def _level_line(value: float, y: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_CURVE_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="tick" x="{_LEFT - 5}" y="{y}" text-anchor="end" dy="4">{number(value)}</text>'
    )


def _hours(last: float) -> list[float]:
    """Whole days where the curve spans some, else round hours."""
    if last >= 48:
        step = 24.0 * max(1, round(last / 24 / _TICKS_WANTED))
        return [step * n for n in range(int(last // step) + 1)]
    return round_ticks(0.0, last)


def predictive_check(bins: Sequence[CheckBin], unit: str) -> str:
    """Percentiles (5, 50, 95) of the levels in time bins over the bands that the model simulates; a file of its own."""
    top = max(max(*b.observed, *b.high) for b in bins) or 1.0
    last = max(b.end for b in bins) or 1.0
    right_edge, height, floor = 640 - 2 * _RIGHT, 320 - _TOP - _BOTTOM, 320 - _BOTTOM

    def x(hours: float) -> float:
        return _LEFT + (right_edge - _LEFT) * hours / last

    def y(value: float) -> float:
        return floor - height * max(value, 0.0) / top

    parts = [
        f'<line x1="{_LEFT}" x2="{right_edge}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>'
        f'<text x="{_LEFT - 5}" y="{y(v) + 4:.1f}" text-anchor="end">{number(v)}</text>'
        for v in round_ticks(0.0, top)
    ]
    parts += [f'<text x="{x(v):.1f}" y="{floor + 15}" text-anchor="middle">{number(v)} h</text>' for v in _hours(last)]
    parts.append(f'<text x="{right_edge}" y="{_TOP + 10}" text-anchor="end">{escape(unit)}</text>')
    for b in bins:
        middle, half = (x(b.start) + x(b.end)) / 2.0, max((x(b.end) - x(b.start)) / 2.0, _NARROWEST)
        left, right = middle - half, middle + half
        for low, high, seen in zip(b.low, b.high, b.observed, strict=True):
            parts.append(
                f'<rect x="{left:.1f}" y="{y(high):.1f}" width="{right - left:.1f}" '
                f'height="{max(y(low) - y(high), 0.5):.1f}" fill="#9bb8d3" fill-opacity="0.6"/>'
                f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y(seen):.1f}" y2="{y(seen):.1f}" '
                'stroke="#a02020" stroke-width="2"/>'
            )
    label = f"Prediction-corrected percentiles of the levels ({escape(unit)}): lines measured, bands simulated"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" font-family="sans-serif" font-size="11" '
        f'role="img" aria-label="{label}"><title>{label}</title>{"".join(parts)}</svg>\n'
    )
