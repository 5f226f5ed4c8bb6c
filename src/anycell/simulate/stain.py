"""Light through stained specimens: Beer and Lambert in red, green and blue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anycell.simulate.noise import Field, blur, choice, log_uniform
from anycell.simulate.optics import dust, illumination
from anycell.simulate.scene import Rendered
from anycell.simulate.shapes import Layout

__all__ = ["absorb", "transmit"]

Floats = NDArray[np.float64]

# Tints of lamps and white balances: neutral, blue-green, yellow, pink, blue.
_TINTS = np.array(
    [[0, 0, 0], [-0.15, 0.0, -0.03], [0.02, 0.0, -0.15], [0.02, -0.07, -0.02], [-0.06, -0.03, 0.04]]
)


def absorb(amounts: list[Field], colors: list[Floats]) -> Field:
    """Optical density 3 x H x W of several stains: the sum of amount x extinction."""
    stacked = np.stack([a.ravel() for a in amounts])
    table = np.stack(colors, axis=1).astype(np.float32)
    out: Field = (table @ stacked).reshape(3, *amounts[0].shape)
    return out


def transmit(rng: np.random.Generator, density: Field, layout: Layout, diameter: float) -> Rendered:
    """What is left of a tinted lamp's light behind the stain: I = I0 exp(-density).

    Refraction at edges adds a thin bright or dark fringe along them.
    """
    shape = layout.labels.shape
    tint = rng.normal(0, 0.025, 3) + _TINTS[rng.integers(len(_TINTS))] * rng.uniform(0, 1.3)
    light = illumination(rng, shape, choice(rng, 0.03, 0.12))
    light = light * dust(rng, shape, choice(rng, 0, 0, 2), 0.3 * diameter)
    total = density[1]
    fringe = (blur(total, 0.05 * diameter + 0.5) - total) * np.float32(rng.uniform(-0.1, 0.4))
    lamp = ((1 + tint - tint.max()) * rng.uniform(0.65, 0.98)).astype(np.float32)
    seen = np.exp(-density) * ((1 + fringe) * light) * lamp[:, None, None]
    if rng.random() < 0.3:
        sigma = 0.02 * diameter + 0.4
        seen = np.stack([blur(plane, sigma) for plane in seen])
    return Rendered(seen, ("R", "G", "B"), layout.labels, log_uniform(rng, 3000, 50000))
