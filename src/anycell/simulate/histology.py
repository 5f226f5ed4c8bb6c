"""Sections stained with hematoxylin and eosin, or hematoxylin and DAB: nuclei in tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anycell.simulate.noise import Field, Shape, blur, choice, field, fractal, log_uniform
from anycell.simulate.places import Crowd, blobs, ripple, scatter
from anycell.simulate.scene import Rendered, contacts, granules
from anycell.simulate.shapes import Bodies, Layout, lay_out, warp_field
from anycell.simulate.stain import absorb, transmit

__all__ = ["glands", "histology"]


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


def glands(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """A section through glands: pale nuclei side by side in rows (labeled) around lumens.

    The nuclei of an epithelium stand in a palisade across its basement membrane, hardly darker
    than the cytoplasm above them; chromatin lies at their rim and in clumps.  Goblets, lumens
    and stroma are not labeled, the spindle-shaped nuclei of the stroma are.
    """
    depth, away = _depth(rng, shape, diameter)
    goblets = _goblets(rng, depth, diameter)
    aspect = float(rng.uniform(1.2, 2.8))
    top = float(rng.uniform(0.9, 2.6)) * aspect**0.5
    layout = _palisade(rng, np.where(goblets > 0.2, top + 1, depth), away, diameter, aspect, top)
    above = blur(((depth > 0) & (depth < max(2.4, top + 0.5))).astype(np.float32), 0.15 * diameter)
    stroma = blur((depth < -0.9).astype(np.float32), 0.1 * diameter)
    open_from = max(float(rng.uniform(2.4, 4.0)), top + 0.7)
    lumen = blur((depth > open_from).astype(np.float32), 0.06 * diameter)
    empty = np.maximum(lumen * np.float32(rng.uniform(0.5, 1.0)), goblets)
    pale = np.float32(log_uniform(rng, 0.3, 1.0))
    strength = np.exp(rng.normal(0, 0.2, layout.count))
    soft = max(0.5, 0.03 * diameter * log_uniform(rng, 0.6, 2.0))
    nucleus = blur(_vesicular(rng, layout, diameter, pale) * layout.per_cell(strength), soft)
    clouds = np.exp(np.float32(0.25) * fractal(rng, shape, diameter, 4))
    fibres = np.exp(np.float32(0.4) * _fibres(rng, shape, diameter))
    matter = (0.4 + 0.6 * stroma * fibres + above) * clouds * (1 - empty)
    matter = blur(matter * (1 - np.float32(0.5) * layout.inside), 0.5)
    violet = np.array([rng.uniform(0.55, 0.9), rng.uniform(0.6, 0.95), rng.uniform(0.15, 0.45)])
    pink = np.array([rng.uniform(0.05, 0.25), rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.35)])
    bluish = matter * (0.4 + above) * np.float32(rng.uniform(0.0, 0.4))
    density = absorb(
        [nucleus + bluish, matter],
        [violet * log_uniform(rng, 0.5, 1.3), pink * log_uniform(rng, 0.2, 0.7)],
    )
    return transmit(rng, density, layout, diameter)


def _depth(rng: np.random.Generator, shape: Shape, diameter: float) -> tuple[Field, Field]:
    """Distance above the nearest basement membrane, diameters, and the way up, radians.

    Membranes are lines along which a smooth field has one value.
    """
    size = diameter * log_uniform(rng, 2.5, 8.0)
    heights = field(rng, shape, size)
    up, right = np.gradient(blur(heights, 0.3 * diameter))
    steep = np.maximum(np.hypot(up, right), 0.15 / size)
    level = float(np.quantile(heights, rng.uniform(0.25, 0.65)))
    depth = (heights - np.float32(level)) / steep / np.float32(diameter)
    return depth.astype(np.float32), np.arctan2(up, right).astype(np.float32)


def _palisade(
    rng: np.random.Generator,
    depth: Field,
    away: Field,
    diameter: float,
    aspect: float,
    top: float,
) -> Layout:
    """Elongated nuclei across the membrane, up to a height in diameters, and spindles below it."""
    shape = depth.shape
    size = diameter * np.array([aspect**0.5, aspect**-0.5])
    y, x = np.nonzero((depth > -0.1) & (depth < top))
    chosen = rng.permutation(len(y))[: int(20 * len(y) / diameter**2) + 20]
    place = np.stack([y[chosen], x[chosen]], axis=1).astype(float)
    angle = away[y[chosen], x[chosen]].astype(float)
    kept = _spaced(place, angle, size * float(rng.uniform(0.65, 1.05)))
    spindles = scatter(rng, shape, 1.4 * diameter, Crowd.random(rng))
    at = np.clip(np.rint(spindles).astype(int), 0, np.array(shape) - 1)
    spindles = spindles[depth[at[:, 0], at[:, 1]] < -0.9]
    count, more = len(kept), len(spindles)
    swell = np.exp(np.clip(rng.normal(0, 0.15, count + more), -0.4, 0.4))[:, None]
    thin = np.sqrt(np.exp(rng.uniform(0.2, 1.4, more)))[:, None]
    radii = np.concatenate([np.tile(size, (count, 1)), diameter * np.hstack([thin, 1 / thin])])
    at = np.clip(np.rint(spindles).astype(int), 0, np.array(shape) - 1)
    turned = np.concatenate(
        [
            angle[kept] + rng.normal(0, 0.15, count),
            away[at[:, 0], at[:, 1]] + np.pi / 2 + rng.normal(0, 0.4, more),
        ]
    )
    bodies = Bodies.of(
        np.concatenate([place[kept], spindles]),
        radii * swell / 2,
        turned,
        bend=rng.normal(0, 0.15, count + more) / diameter,
        taper=rng.uniform(-0.4, 0.4, count + more),
        waves=ripple(rng, count + more, float(rng.uniform(0.01, 0.05)), fall=1.2),
    )
    warp = warp_field(rng, shape, float(rng.uniform(0.01, 0.04)) * diameter, 0.5 * diameter)
    return lay_out(bodies, shape, warp=warp)


def _spaced(
    place: NDArray[np.float64], angle: NDArray[np.float64], size: NDArray[np.float64]
) -> list[int]:
    """Which of some places keep an ellipse of their own free of those before them.

    Parameters
    ----------
    place, angle : (n, 2) and (n,), of candidates in the order of their turn.
    size : length and width of the ellipse.
    """
    from scipy.spatial import cKDTree

    near = cKDTree(place).query_ball_point(place, float(size.max())) if len(place) else []
    kept = np.zeros(len(place), dtype=np.bool_)
    for number, around in enumerate(near):
        others = [other for other in around if kept[other]]
        off = place[others] - place[number]
        sine, cosine = np.sin(angle[number]), np.cos(angle[number])
        along, across = off @ (sine, cosine) / size[0], off @ (cosine, -sine) / size[1]
        kept[number] = bool((np.hypot(along, across) >= 1.0).all())
    return [int(number) for number in np.flatnonzero(kept)]


def _vesicular(
    rng: np.random.Generator, layout: Layout, diameter: float, pale: np.float32
) -> Field:
    """Hematoxylin in pale nuclei: little inside, a line at the rim, coarse clumps, nucleoli."""
    shape = layout.labels.shape
    clumps = fractal(rng, shape, 0.15 * diameter + 1, 2) * np.float32(rng.uniform(0.3, 0.8))
    rim = np.float32(rng.uniform(0.2, 0.9)) * layout.rho ** np.float32(rng.uniform(4, 10))
    spot = max(0.7, 0.07 * diameter)
    nucleoli = granules(rng, layout.inside & (layout.rho < 0.6), 0.008 / spot**2, spot)
    body = pale * np.clip(1 + clumps, 0.2, 3.0) + rim + np.float32(0.5) * nucleoli
    out: Field = (layout.dome(0.08) * body).astype(np.float32)
    return out


def _goblets(rng: np.random.Generator, depth: Field, diameter: float) -> Field:
    """Where mucin has been washed out, 0..1: pale drops above the nuclei."""
    shape = depth.shape
    if rng.random() < 0.4:
        return np.zeros(shape, dtype=np.float32)
    size = diameter * log_uniform(rng, 0.9, 2.2)
    center = scatter(rng, shape, 1.2 * size, Crowd.random(rng))
    at = np.clip(np.rint(center).astype(int), 0, np.array(shape) - 1)
    center = center[depth[at[:, 0], at[:, 1]] > 1.5]
    if not len(center):
        return np.zeros(shape, dtype=np.float32)
    drops = lay_out(blobs(rng, center, size, spread=0.2, aspect=1.4, wavy=0.03), shape)
    mucin = 1 - np.float32(0.25) * np.abs(fractal(rng, shape, 0.4 * size, 3))
    out: Field = blur(drops.dome(0.3) * mucin, 0.03 * diameter + 0.4)
    return np.clip(out, 0, 1)


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
