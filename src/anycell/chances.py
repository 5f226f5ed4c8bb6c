"""Chances: probabilities and their logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance_of", "logit_of"]

FURTHEST = 30.0
"""Logits beyond it are certain, and their exponential is not to overflow."""
EPSILON = 1e-4
"""Chances are kept this far from 0 and 1 before their logit is taken."""


def chance_of(logit: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-logit)), in the precision of what is given."""
    chance: NDArray[Any] = 1.0 / (1.0 + np.exp(-np.clip(logit, -FURTHEST, FURTHEST)))
    return chance


def logit_of(chance: NDArray[Any]) -> NDArray[Any]:
    """log(chance / (1 - chance)), finite at 0 and 1 as well."""
    inside = np.clip(chance, EPSILON, 1.0 - EPSILON)
    logit: NDArray[Any] = np.log(inside) - np.log1p(-inside)
    return logit
