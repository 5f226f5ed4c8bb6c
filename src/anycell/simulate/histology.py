"""Sections stained with hematoxylin and eosin, or hematoxylin and DAB: nuclei in tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anycell.simulate.noise import Field, Shape, blur, choice, field, fractal, log_uniform
from anycell.simulate.places import Crowd, blobs, scatter
from anycell.simulate.scene import Rendered, contacts, granules
from anycell.simulate.shapes import Layout, lay_out, warp_field
from anycell.simulate.stain import absorb, transmit

__all__ = ["histology"]


def histology(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """A section: nuclei (labeled) in fibrous, glandular or open tissue (not labeled)."""
    amount, open_space = _stroma(rng, shape, diameter)
    layout = _nuclei(rng, shape, diameter, open_space)
    inside = layout.inside
    sharp = max(0.5, 0.035 * diameter * log_uniform(rng, 0.6, 2.0))
    nucleus = _chromatin(rng, layout, diameter)
    dab = rng.random() < 0.2
    brown = layout.per_cell(rng.random(layout.count) < (0.4 if dab else 0.0))
    tissue = blur(amount * (1 - np.float32(0.6) * inside), 0.5)
    violet = np.array([rng.uniform(0.55, 0.9), rng.uniform(0.6, 0.95), rng.uniform(0.15, 0.45)])
    pink = np.array([rng.uniform(0.02, 0.15), rng.uniform(0.5, 0.95), rng.uniform(0.15, 0.4)])
    strength = log_uniform(rng, 0.7, 2.0)
    density = absorb(
        [
            blur(nucleus * (1 - brown), sharp) + np.float32(rng.uniform(0, 0.15)) * tissue,
            tissue,
            blur(nucleus * brown, sharp),
        ],
        [
            violet * strength,
            pink * log_uniform(rng, 0.15, 0.9) * (0.25 if dab else 1.0),
            np.array([0.35, 0.65, 0.95]) * strength,
        ],
    )
    return transmit(rng, density, layout, diameter)


def _nuclei(
    rng: np.random.Generator, shape: Shape, diameter: float, open_space: NDArray[np.bool_]
) -> Layout:
    """Nuclei of one or two sorts (round and spindle-shaped), none in open space."""
    center = scatter(rng, shape, diameter, Crowd.random(rng, tightest=0.95))
    at = np.clip(np.rint(center).astype(int), 0, np.array(shape) - 1)
    free = ~open_space[at[:, 0], at[:, 1]]
    bodies = blobs(
        rng,
        center[free] if free.any() else center,
        diameter,
        spread=float(rng.uniform(0.1, 0.3)),
        aspect=float(rng.uniform(1.15, 2.6)),
        wavy=float(rng.uniform(0.01, 0.06)),
        aligned=choice(rng, 0.0, 0.5, 0.95),
    )
    warp = warp_field(rng, shape, float(rng.uniform(0.01, 0.05)) * diameter, 0.5 * diameter)
    return lay_out(bodies, shape, warp=warp)


def _chromatin(rng: np.random.Generator, layout: Layout, diameter: float) -> Field:
    """Hematoxylin in nuclei: clumps, a darker membrane, nucleoli."""
    shape = layout.labels.shape
    clumps = fractal(rng, shape, 0.2 * diameter + 1, 3) * np.float32(rng.uniform(0.1, 0.4))
    rim = np.float32(rng.uniform(0, 0.5)) * layout.rho**4
    spot = max(0.7, 0.05 * diameter)
    nucleoli = granules(rng, layout.inside & (layout.rho < 0.7), 0.006 / spot**2, spot)
    strength = np.clip(np.exp(rng.normal(0, rng.uniform(0.1, 0.35), layout.count)), 0.5, 2.2)
    seam = 1 - np.float32(rng.uniform(0, 0.5)) * contacts(layout, max(0.8, 0.05 * diameter))
    amount = layout.dome(0.1) * layout.per_cell(strength) * seam
    out = amount * (np.clip(1 + clumps, 0.25, 2.5) + rim + 0.5 * nucleoli)
    return np.asarray(out, dtype=np.float32)


def _stroma(
    rng: np.random.Generator, shape: Shape, diameter: float
) -> tuple[Field, NDArray[np.bool_]]:
    """The amount of eosin, and where there is no tissue."""
    clouds = fractal(rng, shape, diameter * log_uniform(rng, 0.6, 3), 5)
    fibres = _fibres(rng, shape, diameter) * np.float32(rng.uniform(0, 0.6))
    fine = fractal(rng, shape, 0.3 * diameter + 1.5, 3) * np.float32(rng.uniform(0, 0.25))
    amount = np.exp(np.float32(rng.uniform(0.15, 0.45)) * clouds + fibres + fine)
    level = choice(rng, -9.0, -9.0, -1.2, -0.4)
    open_space = fractal(rng, shape, diameter * log_uniform(rng, 1.5, 5), 4) < level
    soft = blur(open_space.astype(np.float32), 0.05 * diameter)
    return amount * (1 - np.float32(rng.uniform(0.85, 1.0)) * soft), open_space


def _fibres(rng: np.random.Generator, shape: Shape, diameter: float) -> Field:
    """Noise drawn out along a direction that bends through the picture; variance about 1."""
    bend = 2.5 * diameter
    y, x = np.indices(shape, dtype=np.float32)
    y += field(rng, shape, 7 * diameter) * np.float32(bend)
    x += field(rng, shape, 7 * diameter) * np.float32(bend)
    turn = float(rng.uniform(0, np.pi))
    sine, cosine = np.float32(np.sin(turn)), np.float32(np.cos(turn))
    width = max(1.5, diameter * log_uniform(rng, 0.08, 0.3))
    across = (cosine * y - sine * x) / np.float32(width)
    along = (cosine * x + sine * y) / np.float32(width * 12)
    knots = rng.standard_normal((256, 64), dtype=np.float32)
    # Bilinear weights leave (2/3)^2 of the variance.
    place = [across, along]
    out: Field = ndimage.map_coordinates(knots, place, np.float32, order=1, mode="grid-wrap")
    return out * np.float32(1.5)
