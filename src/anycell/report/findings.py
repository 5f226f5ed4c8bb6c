"""What a comparison shows, worked out once: what the page, the figures and the Markdown use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anycell.compare import Comparison, Standing, standings
from anycell.compare.curves import read_curve
from anycell.scores import METRICS

__all__ = ["Findings", "LabelCurve"]

LabelCurve = list[tuple[float, float]]
"""Pairs of a share of the labels and F1."""


@dataclass(frozen=True)
class Findings:
    """A comparison and its ranking.

    Attributes
    ----------
    comparison : what was compared.
    folder : that it was read from.
    ranked : contenders, best first.
    """

    comparison: Comparison
    folder: Path
    ranked: tuple[Standing, ...]

    @classmethod
    def of(cls, comparison: Comparison, folder: Path) -> Findings:
        """Rank the contenders."""
        return cls(comparison, folder, tuple(standings(comparison)))

    @property
    def iou(self) -> tuple[float, ...]:
        """The thresholds."""
        return self.comparison.rules.iou

    @cached_property
    def groups(self) -> list[str]:
        """The group of each image."""
        return [image.group for image in self.comparison.images]

    @cached_property
    def modalities(self) -> list[str]:
        """The modality of each image, empty when unknown."""
        return [image.modality for image in self.comparison.images]

    @cached_property
    def lonely(self) -> list[str]:
        """Groups of a single image."""
        return sorted({g for g in self.groups if self.groups.count(g) == 1})

    def mean(self, one: Standing, metric: str, level: int = 0) -> float:
        """A score at one threshold, mean over groups."""
        return float(one.over_groups(self.groups)[METRICS.index(metric), level])

    def by_group(self, one: Standing, level: int = 0) -> dict[str, float]:
        """F1 of each group."""
        return {k: float(v[0, level]) for k, v in one.by(self.groups).items()}

    def by_modality(self, one: Standing, level: int = 0) -> dict[str, float]:
        """F1 of each modality, mean over its images."""
        return {k: float(v[0, level]) for k, v in one.by(self.modalities).items()}

    def curve(self, one: Standing) -> NDArray[np.float64]:
        """F1 at each threshold, mean over groups."""
        found: NDArray[np.float64] = one.over_groups(self.groups)[0]
        return found

    @cached_property
    def front(self) -> list[Standing]:
        """Contenders that no other one beats in both F1 and time, fastest first."""
        timed = [v for v in self.ranked if v.cost.seconds_per_mp is not None]
        timed.sort(key=lambda v: (v.cost.seconds_per_mp or 0.0, -v.f1.value))
        found: list[Standing] = []
        for one in timed:
            if not found or one.f1.value > found[-1].f1.value:
                found.append(one)
        return found

    @cached_property
    def learning(self) -> dict[str, list[list[dict[str, float]]]]:
        """Learning curves of the contenders that were trained here, one per seed."""
        found = {}
        seen: set[str] = set()
        for one in self.ranked:
            # A model that was judged by several zoom schemes was trained only once.
            runs = [v.run for v in one.results if v.run and v.run not in seen]
            curves = [read_curve(self.folder / run) for run in runs]
            seen |= set(runs)
            if any(curves):
                found[one.name] = [curve for curve in curves if curve]
        return found

    @cached_property
    def label_curves(self) -> dict[str, LabelCurve]:
        """F1 against the share of labels, for what was trained with several shares."""
        found: dict[str, LabelCurve] = {}
        for one in self.ranked:
            entry = one.entry
            learning = f", {entry.learning}" if entry.learning not in ("", entry.method) else ""
            zoom = f", zoom {entry.zoom}" if entry.zoom not in ("", "plan") else ""
            if entry.kind != "predictions":
                found.setdefault(entry.name + learning + zoom, []).append(
                    (entry.share, one.f1.value)
                )
        return {k: sorted(v) for k, v in found.items() if len({share for share, _ in v}) > 1}
