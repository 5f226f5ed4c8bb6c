"""Confidence as a chance: what a model's own confidence has meant on labeled images.

A representation's confidence orders cells; its values are no frequencies.  A model may
come with a map from its raw confidence to the share of cells of that confidence that were
right, that is, had an IoU of at least 0.5 with a true cell.  The map rises everywhere, so
it changes no order, and a limit may be carried through it without changing what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.chances import chance_of, logit_of
from anycell.errors import ModelError

__all__ = ["RAW", "ConfidenceMap", "fit_logistic", "reliability"]

PRIOR = 2.0
"""How strongly the fit is held to the identity; it only matters with few cells."""
RISE = 1e-3
"""Share of the identity in a fitted map."""
BINS = 10


@dataclass(frozen=True)
class ConfidenceMap:
    """A rising line through points, from raw confidence to chance.

    Attributes
    ----------
    raw, chance : the points, both rising from 0 to 1; none at all is the identity.
    """

    raw: tuple[float, ...] = ()
    chance: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what does not rise, or does not reach from 0 to 1."""
        if not self.raw and not self.chance:
            return
        raw, chance = np.asarray(self.raw, float), np.asarray(self.chance, float)
        if raw.shape != chance.shape or len(raw) < 2:
            raise ModelError(
                f"a confidence map of {len(raw)} and {len(chance)} values",
                expected="two lists of the same length, at least 2",
            )
        ends = (raw[0], raw[-1]) == (0.0, 1.0) and chance[0] >= 0.0 and chance[-1] <= 1.0
        if not (ends and (np.diff(raw) > 0).all() and (np.diff(chance) > 0).all()):
            raise ModelError(
                "a confidence map that does not rise",
                expected="raw from 0 to 1 and chances within 0 .. 1, each larger than the one"
                " before it",
            )

    @classmethod
    def of(cls, entry: dict[str, Any] | None) -> ConfidenceMap:
        """Read the entry ``confidence`` of a model.json; None is the identity."""
        return cls() if entry is None else cls(tuple(entry["raw"]), tuple(entry["chance"]))

    def __call__(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw confidences into chances."""
        if not self.raw:
            return raw
        return np.interp(raw, self.raw, self.chance).astype(np.float32)

    def at(self, raw: float) -> float:
        """Turn one raw confidence, such as a limit, into a chance."""
        return float(self(np.array([raw], dtype=np.float32))[0])


RAW = ConfidenceMap()
"""Leaves confidences as they are."""


def fit_logistic(
    raw: NDArray[Any], right: NDArray[Any], weight: NDArray[Any], knots: Sequence[float]
) -> ConfidenceMap:
    """Fit a logistic curve in the logit of the confidence, and tabulate it.

    chance = sigmoid(a logit(raw) + b) with a > 0 (Platt 1999; Guo et al. 2017), by Newton
    steps on the weighted cross-entropy, with a weak pull towards a = 1, b = 0.

    Parameters
    ----------
    raw : confidences, 0 .. 1.
    right : whether each cell was right.
    weight : of each cell; scaled to sum to the number of cells.
    knots : raw confidences between 0 and 1 at which the curve is tabulated.

    Raises
    ------
    ModelError : the fitted curve falls: the confidence says the contrary of what is so.
    """
    x = logit_of(np.asarray(raw, dtype=np.float64))
    y = np.asarray(right, dtype=np.float64)
    w = np.asarray(weight, dtype=np.float64)
    w = w * (len(w) / w.sum())
    columns = np.stack([x, np.ones_like(x)])
    start = found = np.array([1.0, 0.0])
    for _ in range(50):
        p = chance_of(found @ columns)
        slope = columns @ (w * (p - y)) + PRIOR * (found - start)
        curve = (columns * (w * p * (1.0 - p))) @ columns.T + PRIOR * np.eye(2)
        step = np.linalg.solve(curve, slope)
        found = found - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    if found[0] <= 0:
        raise ModelError(
            f"the chance to be right falls with the confidence (slope {found[0]:.2g})",
            expected="a confidence that is higher for cells that are right",
        )
    at = np.unique(np.round([0.0, *knots, 1.0], 4))
    chance = chance_of(found[0] * logit_of(at) + found[1])
    chance += RISE * (at - chance)  # a curve as good as flat still keeps the order of cells
    return ConfidenceMap(tuple(float(v) for v in at), tuple(round(float(v), 6) for v in chance))


def reliability(
    chance: NDArray[Any], right: NDArray[Any], bins: int = BINS
) -> tuple[float, list[tuple[float, float, int]]]:
    """Compare promised and true shares of right cells, in bins of equal width.

    Returns
    -------
    the expected calibration error (Naeini et al. 2015): the mean over cells of the
    difference between the mean chance and the share of right cells of their bin; and for
    each bin that holds cells the mean chance, the share that was right, and the cells.
    """
    chance, right = np.asarray(chance, dtype=np.float64), np.asarray(right, dtype=np.float64)
    bin_of = np.minimum((chance * bins).astype(int), bins - 1)
    rows = []
    for k in np.unique(bin_of).tolist():
        inside = bin_of == k
        rows.append((float(chance[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    error = sum(abs(told - true) * cells for told, true, cells in rows) / max(1, len(chance))
    return float(error), rows
