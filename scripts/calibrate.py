"""Fit what a model's confidence means, judge it on groups left out, and write it down.

    python scripts/calibrate.py MODEL DATA [--figure docs/figures/reliability.png]

MODEL is a model's folder, DATA a folder with manifest.csv.  Its held-out images are
segmented by the default command but without a least confidence; each cell found is right
when it has an IoU of at least 0.5 with a true one.  For the report the map is fitted on all
groups but one and judged on that one, for each in turn; the map that goes into model.json,
under ``confidence``, is fitted on all of them.  Groups weigh the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anycell.confidence import RAW, ConfidenceMap, fit_logistic, reliability
from anycell.files import open_image, read_labels
from anycell.matching import Rules, match
from anycell.model import Model, load_model, read_about
from anycell.samples import find_samples
from anycell.segment import segment

RULES = Rules(iou=(0.5,))


@dataclass(frozen=True)
class Cells:
    """Raw confidences of a group's cells, and which of them were right."""

    raw: NDArray[np.float32]
    right: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: list[Cells]) -> Cells:
        return cls(np.concatenate([p.raw for p in parts]), np.concatenate([p.right for p in parts]))

    def above(self, limit: float) -> Cells:
        return Cells(self.raw[self.raw >= limit], self.right[self.raw >= limit])


def found_cells(model: Model, data: Path) -> dict[str, Cells]:
    """Segment the held-out images; cells at the frame, which no rule judges, are left out."""
    parts: dict[str, list[Cells]] = {}
    for sample in find_samples(data):
        if sample.use != "validate" or sample.labels is None or sample.partial:
            continue
        found = segment(open_image(sample.image), model, min_confidence=0.0)
        (judged,) = match(found.labels, read_labels(sample.labels), RULES)
        right = np.array([pair[0] for pair in judged.pairs], dtype=int)
        wrong = np.array(judged.extra, dtype=int)
        numbers = np.concatenate([right, wrong])
        parts.setdefault(sample.group, []).append(
            Cells(found.confidence[numbers - 1], np.arange(len(numbers)) < len(right))
        )
    return {group: Cells.joined(found) for group, found in parts.items()}


def fitted(groups: list[Cells], knots: NDArray[np.float64]) -> ConfidenceMap:
    groups = [cells for cells in groups if len(cells.raw)]
    together = Cells.joined(groups)
    weight = np.concatenate([np.full(len(c.raw), 1.0 / len(c.raw)) for c in groups])
    return fit_logistic(together.raw, together.right, weight, knots.tolist())


def plot(pools: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]], path: Path) -> None:
    """Share of right cells against what was said, and how many cells there are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", lw=1)
    for name, (said, was) in pools.items():
        error, rows = reliability(said, was)
        told, true, _ = zip(*rows, strict=True)
        left.plot(told, true, "o-", ms=3, lw=1, label=f"{name}, error {error:.3f}")
        right.hist(said, np.linspace(0, 1, 21), histtype="step", label=name)
    left.set(xlabel="confidence", ylabel="share of cells that are right", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="confidence", ylabel="cells", xlim=(0, 1))
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/reliability.png"))
    asked = parser.parse_args()
    loaded = load_model(asked.model)
    assert isinstance(loaded, Model)
    cells = found_cells(replace(loaded, confidence_map=RAW), asked.data)
    about = read_about(asked.model)
    limit = float(about.get("min_confidence", 0.0))
    knots = np.unique(np.append(np.linspace(0.025, 0.975, 39), limit if limit else 0.025))
    held_out: dict[str, dict[str, float | int]] = {}
    said: list[NDArray[np.float32]] = []
    kept = {group: v.above(limit) for group, v in cells.items() if len(v.above(limit).raw)}
    for group, own in kept.items():
        others = fitted([v for name, v in cells.items() if name != group], knots)
        said.append(others(own.raw))
        held_out[group] = {
            "cells": len(own.raw),
            "right": round(float(own.right.mean()), 4),
            "raw": round(float(own.raw.mean()), 4),
            "chance": round(float(said[-1].mean()), 4),
            "error_raw": round(reliability(own.raw, own.right)[0], 4),
            "error": round(reliability(said[-1], own.right)[0], 4),
        }
        print(group, held_out[group], flush=True)
    whole = fitted(list(cells.values()), knots)
    means = {
        key: round(float(np.mean([row[key] for row in held_out.values()])), 4)
        for key in ("error_raw", "error")
    }
    about["confidence"] = {
        "raw": whole.raw,
        "chance": whole.chance,
        "fitted_on": sorted(cells),
        "cells": sum(len(v.raw) for v in cells.values()),
        "held_out": held_out,
        "mean_over_groups": means,
    }
    text = json.dumps(about, indent=1) + "\n"
    (asked.model / "model.json").write_text(text, encoding="utf-8")
    together = Cells.joined(list(kept.values()))
    pools = {
        "raw": (together.raw, together.right),
        "chance, group left out": (np.concatenate(said), together.right),
    }
    plot(pools, asked.figure)
    print(means, f"limit {limit:g} becomes {whole.at(limit):.3f}")


if __name__ == "__main__":
    main()
