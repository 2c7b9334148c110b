"""Inline SVG: interval bars on one common axis, and a concentration curve with its band. No script, no style attribute
beyond the page's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from posologist.core.values import Estimate, Series

_BAR_WIDTH, _BAR_HEIGHT = 220, 26
_CURVE_WIDTH, _CURVE_HEIGHT = 368, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 12, 26


def number(value: float) -> str:
    """A number as every page prints it: three significant digits, a true minus sign, no exponent for usual sizes."""
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2e}"
    if "." not in text and abs(value) < 100 and value != int(value):
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


def interval_bar(estimate: Estimate, axis: tuple[float, float]) -> str:
    """Bar of one interval on the common axis with its zero line."""
    low, high = axis

    def x(value: float) -> float:
        return 4 + (_BAR_WIDTH - 8) * (value - low) / (high - low)

    label = escape(f"{interval(estimate)} {estimate.unit}, {number(100 * estimate.level)} % interval")
    return (
        f'<svg class="bar" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" role="img" '
        f'aria-label="{label}"><line class="axis" x1="4" x2="{_BAR_WIDTH - 4}" y1="21" y2="21"/>'
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="3" y2="25"/>'
        f'<line class="span" x1="{x(estimate.low):.1f}" x2="{x(estimate.high):.1f}" y1="12" y2="12"/>'
        f'<circle class="dot" cx="{x(estimate.value):.1f}" cy="12" r="5"/></svg>'
    )


def curve(series: Series, title: str) -> str:
    """Concentration against time with its band, labelled axes and a text alternative."""
    tops = series.high or series.y
    top = max(tops) or 1.0
    last = series.x[-1] or 1.0

    def at(x: float, y: float) -> str:
        px = _LEFT + (_CURVE_WIDTH - _LEFT - _RIGHT) * x / last
        py = _CURVE_HEIGHT - _BOTTOM - (_CURVE_HEIGHT - _TOP - _BOTTOM) * y / top
        return f"{px:.1f} {py:.1f}"

    line = "M" + " L".join(at(x, y) for x, y in zip(series.x, series.y, strict=True))
    band = ""
    if series.low and series.high:
        upper = [at(x, y) for x, y in zip(series.x, series.high, strict=True)]
        lower = [at(x, y) for x, y in zip(series.x, series.low, strict=True)][::-1]
        band = f'<path class="band" d="M{" L".join([*upper, *lower])} Z"/>'
    floor = _CURVE_HEIGHT - _BOTTOM
    ticks = "".join(
        f'<text class="tick" x="{_LEFT + (_CURVE_WIDTH - _LEFT - _RIGHT) * share:.0f}" y="{floor + 15}" '
        f'text-anchor="middle">{number(last * share)}</text>'
        for share in (0.0, 1 / 3, 2 / 3, 1.0)
    )
    ends = "".join(
        f'<text class="tick" x="{_LEFT - 5}" y="{at(0, value).split()[1]}" text-anchor="end" dy="4">{number(value)}</text>'
        for value in (0.0, top / 2, top)
    )
    return (
        f'<svg class="curve" viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" width="100%" role="img" '
        f'aria-label="{escape(title)}">{band}<path class="line" d="{line}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_CURVE_WIDTH - _RIGHT}" y2="{floor}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{floor}"/>{ticks}{ends}</svg>'
    )
