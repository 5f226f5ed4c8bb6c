r"""Well spread cells: a thick body somewhere in a wide, flat lamella (phase, QPI, fluorescence).

    height   ____                    body      around the nucleus, anywhere in the cell
           _/    \_______________    lamella   a tenth to a half as high, to the outline
      ____/                      |   ruffles   the rim, thicker here and there

What is outlined is the whole cell, the flat part too.  Round cells lie among them, brighter
than all others; debris, and what floats out of focus, is no cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from anycell.labels import centroids
from anycell.simulate.noise import Field, Shape, blur, choice, fractal, grain, log_uniform
from anycell.simulate.optics import fineness
from anycell.simulate.places import Crowd, adherent, blobs, ripple, scatter
from anycell.simulate.scene import Rendered, exposed, granules, grey, through_ring
from anycell.simulate.shapes import Bodies, Layout, join, lay_out, stamp, warp_field

__all__ = ["spread_cells", "spread_phase", "spread_quantitative_phase"]


@dataclass(frozen=True)
class _Heights:
    """Heights, 0 where there is no cell: the lamella and the body are about 1 at their highest.

    Attributes
    ----------
    lamella, body : of flat cells.
    round : of the round ones, which have nothing else.
    nucleus : in the body.
    """

    lamella: Field
    body: Field
    round: Field
    nucleus: Field


def spread_phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Phase contrast: dark flat cells whose bodies are bright or dark, all with halos."""
    layout, rounded = _cells(rng, shape, diameter)
    heights = _heights(rng, layout, rounded, diameter)
    fine = fineness(diameter)
    transmission = float(rng.uniform(0.35, 0.75))
    flat = log_uniform(rng, 0.12, 0.8)
    path = (
        flat * heights.lamella
        + log_uniform(rng, 0.4, 4.0) * heights.body
        + rng.uniform(1.0, 4.0) * heights.round
        + rng.uniform(-0.2, 0.4) * heights.nucleus
    )
    inside = layout.inside
    spots = granules(rng, inside & (heights.body > 0.05), 10 ** rng.uniform(-2.5, -1.3), 0.8 * fine)
    path = path + choice(rng, -0.1, 0.2, 0.4) * spots * inside
    path = path + _debris(rng, layout, diameter) * rng.uniform(0.5, 4.0)
    path = blur(path, log_uniform(rng, 0.5, 1.0) * fine)
    ring = diameter * log_uniform(rng, 0.08, 0.4)
    seen = through_ring(rng, path, inside, (ring, transmission), (0.4, 1.3))
    seen = seen * _ghosts(rng, shape, choice(rng, 0.0, 2.0, 5.0), diameter)
    return grey(rng, 0.5 * seen, layout, diameter, uneven=(0.03, 0.1, 0.3))


def spread_quantitative_phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Quantitative phase: bright bodies in dim lamellae, round cells far brighter."""
    layout, rounded = _cells(rng, shape, diameter)
    heights = _heights(rng, layout, rounded, diameter)
    fine = fineness(diameter)
    body = log_uniform(rng, 0.2, 0.7)
    path = (
        body * log_uniform(rng, 0.08, 0.5) * heights.lamella
        + body * heights.body
        + body * rng.uniform(1.0, 4.0) * heights.round
        + body * rng.uniform(-0.1, 0.3) * heights.nucleus
        + 0.3 * body * _debris(rng, layout, diameter)
    )
    spots = granules(
        rng, layout.inside & (heights.body > 0.1), 10 ** rng.uniform(-2.7, -1.5), 0.8 * fine
    )
    path = path + body * rng.uniform(0.0, 0.2) * spots
    path = blur(path, log_uniform(rng, 0.6, 1.6) * fine)
    drift = fractal(rng, shape, max(shape) / 3) * rng.uniform(0, 0.02)
    noise = grain(rng, shape, 1.0) * log_uniform(rng, 0.001, 0.01)
    seen = path + drift + noise + rng.uniform(0.02, 0.1)
    return Rendered(seen[None], ("phase",), layout.labels, 5000.0)


def spread_cells(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Fluorescence of the cytoplasm: bright where the cell is thick, faint to the outline."""
    layout, rounded = _cells(rng, shape, diameter)
    heights = _heights(rng, layout, rounded, diameter)
    amount = (
        log_uniform(rng, 0.1, 0.7) * heights.lamella
        + heights.body
        + rng.uniform(0.8, 2.0) * heights.round
        - rng.uniform(-0.3, 0.7) * heights.nucleus
    )
    texture = fractal(rng, shape, 0.1 * diameter + 1.0, 3)
    amount = np.maximum(amount, 0.0) * np.exp(np.float32(rng.uniform(0.05, 0.3)) * texture)
    amount = amount * layout.per_cell(np.exp(rng.normal(0, rng.uniform(0.1, 0.4), layout.count)))
    vesicles = granules(rng, heights.body > 0.05, 10 ** rng.uniform(-3, -1.5), fineness(diameter))
    amount = amount + rng.uniform(0.0, 0.4) * vesicles
    amount = blur(np.asarray(amount, dtype=np.float32), log_uniform(rng, 0.6, 1.6))
    haze = blur(amount, 0.5 * diameter) * np.float32(choice(rng, 0.0, 0.05, 0.2))
    return exposed(rng, [amount + haze], ("marker",), layout)


def _cells(
    rng: np.random.Generator, shape: Shape, diameter: float
) -> tuple[Layout, NDArray[np.bool_]]:
    """Spread cells of many sizes, maybe with round ones among them, and which are round (n,)."""
    crowd = Crowd.apart(rng)
    center = scatter(rng, shape, diameter, crowd)
    flat = adherent(rng, center, 1.1 * diameter, choice(rng, 0.0, 0.5, 1.5))
    ball = blobs(
        rng, center, float(rng.uniform(0.4, 0.6)) * diameter, spread=0.12, aspect=1.1, wavy=0.02
    )
    some = rng.random(len(center)) < choice(rng, 0.0, 0.08, 0.25)
    bodies = join(flat.pick(~some[flat.owner - 1]), ball.pick(some))
    coarse = max(3.0, log_uniform(rng, 0.3, 0.9) * diameter)
    close = max(2.0, log_uniform(rng, 0.06, 0.2) * diameter)
    one = warp_field(rng, shape, choice(rng, 0.05, 0.12, 0.22) * coarse, coarse)
    two = warp_field(rng, shape, choice(rng, 0.0, 0.12, 0.25) * close, close)
    layout = lay_out(bodies, shape, warp=(one[0] + two[0], one[1] + two[1]), smallest=0.2)
    # Cells are numbered anew where some were dropped; the round ones are the small ones.
    return layout, layout.diameters < (0.72 * diameter if some.any() else 0.0)


def _heights(
    rng: np.random.Generator, layout: Layout, rounded: NDArray[np.bool_], diameter: float
) -> _Heights:
    """The height of each part of each cell."""
    shape, count = layout.labels.shape, layout.count
    size = layout.diameters
    flat = layout.per_cell(~rounded * 1.0)
    inward = _inward(layout)
    lamella = 1 - np.exp(-inward / np.float32(max(0.5, log_uniform(rng, 0.02, 0.12) * diameter)))
    lamella = lamella * np.exp(
        np.float32(rng.uniform(0.0, 0.35)) * fractal(rng, shape, 0.3 * diameter)
    )
    ruffle = np.exp(-inward / np.float32(max(0.7, 0.05 * diameter)))
    where = np.maximum(0, fractal(rng, shape, 0.35 * diameter, 2))
    lamella = lamella + np.float32(choice(rng, 0.0, 0.5, 1.5)) * ruffle * where
    lamella = lamella * layout.per_cell(np.exp(rng.normal(0, rng.uniform(0.05, 0.35), count)))

    center = centroids(layout.labels)[1:].reshape(count, 2)
    towards = rng.uniform(0, 2 * np.pi, count)
    away = size * np.abs(rng.normal(0, rng.uniform(0.04, 0.2), count))
    center = center + np.stack([np.sin(towards), np.cos(towards)], axis=1) * away[:, None]
    share = float(rng.uniform(0.35, 0.75)) * np.exp(np.clip(rng.normal(0, 0.15, count), -0.4, 0.4))
    body = _part(rng, center, size * share, aspect=float(rng.uniform(1.0, 2.0)))
    core = _part(rng, center, size * share * rng.uniform(0.4, 0.7), aspect=1.2)
    power = log_uniform(rng, 0.6, 1.6)
    bright = layout.per_cell(np.exp(rng.normal(0, rng.uniform(0.05, 0.4), count)))
    return _Heights(
        lamella * flat,
        layout.draw(body) ** np.float32(power) * bright * flat,
        layout.dome(0.6) * layout.per_cell(rounded * rng.uniform(0.6, 1.4, count)),
        np.sqrt(layout.draw(core)),
    )


def _part(
    rng: np.random.Generator, center: NDArray[np.float64], size: NDArray[np.float64], aspect: float
) -> Bodies:
    """One oval per cell, in any direction."""
    count = len(center)
    stretch = np.sqrt(aspect) * np.exp(rng.normal(0, 0.1, count))
    radii = np.stack([size * stretch, size / stretch], axis=1) / 2
    return Bodies.of(
        center, radii, rng.uniform(0, np.pi, count), waves=ripple(rng, count, 0.06, fall=1.2)
    )


def _inward(layout: Layout) -> Field:
    """Distance of each pixel of a cell from the nearest pixel that is not of it, about."""
    labels = layout.labels
    free = labels > 0
    free[:-1] &= labels[:-1] == labels[1:]
    free[:, :-1] &= labels[:, :-1] == labels[:, 1:]
    inward: Field = distance_transform_edt(free).astype(np.float32)
    return inward


def _debris(rng: np.random.Generator, layout: Layout, diameter: float) -> Field:
    """Crumbs between the cells, a tenth to a third of a cell wide; 1 at their highest."""
    shape = layout.labels.shape
    crumbs = rng.poisson(choice(rng, 0.0, 2.0, 6.0) * layout.labels.size / (12 * diameter) ** 2)
    center = rng.uniform(0, 1, (int(crumbs), 2)) * np.array(shape)
    size = diameter * np.exp(rng.uniform(np.log(0.08), np.log(0.33), len(center)))
    height = np.zeros(shape, dtype=np.float32)
    if len(center):
        parts = stamp(_part(rng, center, size, aspect=1.5), shape)
        np.maximum.at(height.reshape(-1), parts.pixel, np.sqrt(1 - parts.rho**2))
        height *= np.clip(1 + 0.7 * grain(rng, shape, 1.0), 0.2, 2.0)
    return height * ~layout.inside


def _ghosts(rng: np.random.Generator, shape: Shape, number: float, diameter: float) -> Field:
    """What floats far out of focus: rings around soft discs, a factor near 1."""
    out = np.ones(shape, dtype=np.float32)
    y, x = (np.arange(side, dtype=np.float32) for side in shape)
    for _ in range(int(rng.poisson(number))):
        radius = diameter * log_uniform(rng, 0.3, 1.5)
        middle = rng.uniform(0, 1, 2) * np.array(shape)
        away = ((y[:, None] - middle[0]) ** 2 + (x[None, :] - middle[1]) ** 2) / radius**2
        rings = np.cos(rng.uniform(2.0, 14.0) * away + rng.uniform(0, 2 * np.pi))
        out *= 1 + np.float32(rng.uniform(0.03, 0.25)) * rings * np.exp(-(away**2))
    return out
