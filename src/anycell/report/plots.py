"""Figures of a report, as PNG: the same ones on the page and beside the Markdown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from anycell.compare import Standing
from anycell.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_figures"]

COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#7f3c8d", "#666666", "#a5aa00", "#11a579", "#e73f74", "#4b4b8f",
)  # fmt: skip
"""Told apart with most kinds of color vision, the first six by Okabe and Ito."""
MARKERS = "osD^vPX<>*hp"
WIDE = 7.2


def draw_figures(found: Findings) -> dict[str, tuple[str, bytes]]:
    """Draw what there is something to draw for.

    Returns
    -------
    file name without ending -> caption and PNG.
    """
    low = f"{found.iou[0]:g}"
    made = {
        "ranking": (
            f"F1 at IoU {low}, mean over groups, with 95 % intervals over images",
            _ranking(found),
        ),
        "iou": ("F1 against the IoU from which a cell counts, mean over groups", _iou(found)),
        "heatmap": (f"F1 at IoU {low} of each group and modality", _heatmap(found)),
    }
    if found.front:
        made["pareto"] = (
            f"F1 at IoU {low} against time; the line joins those that none beats in both",
            _pareto(found),
        )
    if found.learning:
        made["learning"] = (
            "F1 in validation against the crops seen, one line per seed",
            _learning(found),
        )
    if found.label_curves:
        made["labels"] = (
            f"F1 at IoU {low} against the share of the labels that were learned from",
            _labels(found),
        )
    return {name: (caption, _png(figure)) for name, (caption, figure) in made.items()}


def _style(found: Findings, name: str) -> dict[str, Any]:
    """The color and the marker of a contender, the same in every figure."""
    index = [one.name for one in found.ranked].index(name)
    return {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}


def _ranking(found: Findings) -> Figure:
    figure, axes = _axes(max(2.2, 0.9 + 0.34 * len(found.ranked)))
    for row, one in enumerate(reversed(found.ranked)):
        style = _style(found, one.name)
        axes.plot([one.f1.low, one.f1.high], [row, row], color=style["color"], linewidth=3)
        axes.plot(one.f1.value, row, markersize=8, **style)
    axes.set_yticks(range(len(found.ranked)), [one.name for one in reversed(found.ranked)])
    axes.set_ylim(-0.6, len(found.ranked) - 0.4)
    axes.set_xlabel(f"F1 at IoU {found.iou[0]:g}")
    return figure


def _iou(found: Findings) -> Figure:
    figure, axes = _axes(4.2)
    for one in found.ranked:
        axes.plot(found.iou, found.curve(one), label=one.name, **_style(found, one.name))
    axes.set(xlabel="IoU threshold", ylabel="F1", ylim=(0, 1))
    _legend(axes, len(found.ranked))
    return figure


def _heatmap(found: Findings) -> Figure:
    names = [*sorted(set(found.groups)), *sorted(set(found.modalities) - {""})]
    rows = [found.by_group(one) | found.by_modality(one) for one in found.ranked]
    values = np.array([[row[name] for name in names] for row in rows])
    figure, axes = _axes(1.9 + 0.36 * len(rows), 2.4 + 0.62 * len(names), grid=False)
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for y, x in np.ndindex(values.shape):
        color = "white" if values[y, x] < 0.6 else "black"
        axes.text(x, y, f"{values[y, x]:.2f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), [one.name for one in found.ranked])
    axes.axvline(len(set(found.groups)) - 0.5, color="white", linewidth=3)
    return figure


def _pareto(found: Findings) -> Figure:
    figure, axes = _axes(4.2)
    front = [(one.cost.seconds_per_mp or 0.0, one.f1.value) for one in found.front]
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=5, alpha=0.5, zorder=1)
    for one in found.ranked:
        if one.cost.seconds_per_mp is not None:
            error = _error(one)
            style = _style(found, one.name)
            axes.errorbar(
                one.cost.seconds_per_mp, one.f1.value, error, label=one.name, linestyle="", **style
            )
    axes.set(xlabel="seconds per megapixel", ylabel=f"F1 at IoU {found.iou[0]:g}", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    _legend(axes, len(found.ranked))
    return figure


def _error(one: Standing) -> list[list[float]]:
    """How far the interval goes down and up."""
    return [[max(0.0, one.f1.value - one.f1.low)], [max(0.0, one.f1.high - one.f1.value)]]


def _learning(found: Findings) -> Figure:
    figure, axes = _axes(4.2)
    for name, curves in found.learning.items():
        for index, curve in enumerate(curves):
            crops = [row["crops"] / 1000 for row in curve]
            style = _style(found, name)
            label = name if index == 0 else None
            axes.plot(crops, [row["f1"] for row in curve], label=label, markersize=4, **style)
    axes.set(xlabel="crops seen (thousands)", ylabel="validation F1 at IoU 0.5")
    axes.set_ylim(bottom=0)
    _legend(axes, len(found.learning))
    return figure


def _labels(found: Findings) -> Figure:
    figure, axes = _axes(4.2)
    for index, (name, curve) in enumerate(found.label_curves.items()):
        style: dict[str, Any] = {
            "color": COLORS[index % len(COLORS)],
            "marker": MARKERS[index % len(MARKERS)],
        }
        shares = [100 * share for share, _ in curve]
        axes.plot(shares, [f1 for _, f1 in curve], label=name, **style)
    axes.set(xlabel="per cent of the labels", ylabel=f"F1 at IoU {found.iou[0]:g}", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    _legend(axes, len(found.label_curves))
    return figure


def _axes(height: float, width: float = WIDE, *, grid: bool = True) -> tuple[Figure, Axes]:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes, count: int) -> None:
    axes.legend(
        fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False,
        ncols=min(4, max(1, count)),
    )  # fmt: skip


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return stream.getvalue()
