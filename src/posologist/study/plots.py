"""The curves of an evaluation as SVG, by matplotlib (extra `train`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posologist.core.evaluation import Curve, EvaluationDocument
from posologist.study.report import name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = ("convergence", "utility", "risk", "deviation", "levels", "gain", "agreement")
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "posologist", "svg.fonttype": "none", "font.size": 9.0}


def write_plots(document: EvaluationDocument, folder: Path) -> tuple[str, ...]:
    """One SVG for each kind of curve that the document has (panels share one); returns their names."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = []
    kinds = dict.fromkeys(curve.kind for curve in document.curves)
    panels = [kind for kind in kinds if kind in _PANELS]
    if panels:
        name = f"{name_of(document)}-subplots.svg"
        with matplotlib.rc_context(_SETTINGS):
            figure = Figure(figsize=(4.2 * len(panels), 3.8), layout="constrained")
            for axes, kind in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
                _panel(axes, [curve for curve in document.curves if curve.kind == kind])
            figure.suptitle(f"{document.title} ({document.test.n} patients, {document.label})", fontsize=9)
            FigureCanvasSVG(figure)
            figure.savefig(folder / name, format="svg", metadata={"Date": None})
        names.append(name)
    for kind in (kind for kind in kinds if kind not in _PANELS):
        lines = [curve for curve in document.curves if curve.kind == kind]
        name = f"{name_of(document)}-{kind}.svg"
        with matplotlib.rc_context(_SETTINGS):
            figure = Figure(figsize=(6.4, max(4.0, 0.3 * len(lines[0].labels) + 1.5)), layout="constrained")
            _drawn(figure.subplots(), lines)
            figure.suptitle(f"{document.title}: {kind} ({document.test.n} patients, {document.label})", fontsize=9)
            FigureCanvasSVG(figure)
            figure.savefig(folder / name, format="svg", metadata={"Date": None})
        names.append(name)
    return tuple(names)


def _panel(axes: Axes, lines: Sequence[Curve]) -> None:
    """Lines of a panel; where one has several values at an x, its values are points."""
    for line in lines:
        points = len(set(line.x)) < len(line.x)
        style = {"linestyle": "none", "marker": "o"} if points else {"linewidth": 1.3}
        axes.plot(line.x, line.y, markersize=4, label=line.method, **style)
    if lines[0].kind == "convergence":
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel(lines[0].x_text)
    axes.set_ylabel(lines[0].y_text)
    axes.legend(fontsize=7)


def _drawn(axes: Axes, lines: Sequence[Curve]) -> None:
    if lines[0].kind == "error":
        _bars(axes, lines)
    else:
        for line in lines:
            axes.plot(line.x, line.y, marker="o", markersize=3, linewidth=1.2, label=line.method)
            if line.low:
                axes.fill_between(line.x, line.low, line.high, alpha=0.15)
        if lines[0].kind == "calibration":
            ends = [min(min(line.x) for line in lines), max(max(line.x) for line in lines)]
            axes.plot(ends, ends, linestyle=":", color="grey", label="as predicted")
        else:
            axes.axhline(0.0, linestyle=":", color="grey", label="treat nobody")
            axes.set_ylim(bottom=-0.05)
        axes.set_xlabel(lines[0].x_text)
        axes.set_ylabel(lines[0].y_text)
    axes.legend(fontsize=8)


def _bars(axes: Axes, lines: Sequence[Curve]) -> None:
    labels = list(lines[0].labels)
    height = 0.8 / len(lines)
    for place, line in enumerate(lines):
        rows = [labels.index(label) + place * height for label in line.labels]
        beyond = [
            [v - low for v, low in zip(line.y, line.low, strict=True)],
            [high - v for v, high in zip(line.y, line.high, strict=True)],
        ]
        axes.errorbar(line.y, rows, xerr=beyond, fmt="o", markersize=4, capsize=2, label=line.method)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(lines[0].y_text)
