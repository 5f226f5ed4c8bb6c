"""Plot training curves: loss and validation F1 against the crops seen."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["plot_curves"]


def plot_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Draw the rows of curves.csv into a PNG, each group a thin line, their mean a thick one."""
    from matplotlib.figure import Figure

    crops = [int(r["crops"]) / 1000 for r in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    mark = "o" if len(rows) == 1 else None  # a line of one point is nothing
    left.plot(crops, [float(r["loss"]) for r in rows], color="black", marker=mark)
    left.set(xlabel="crops (thousands)", ylabel="training loss")
    groups = [json.loads(r["groups"]) for r in rows]
    for name in groups[-1]:
        right.plot(crops, [g.get(name) for g in groups], linewidth=1, marker=mark, label=name)
    mean = [float(r["f1"]) for r in rows]
    right.plot(crops, mean, color="black", linewidth=2, marker=mark, label="mean")
    right.set(xlabel="crops (thousands)", ylabel="validation F1 at IoU 0.5", ylim=(0, 1))
    right.legend(fontsize=7)
    figure.savefig(path, dpi=110)
