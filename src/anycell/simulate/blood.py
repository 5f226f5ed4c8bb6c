"""Stained blood smears: red cells, white cells, platelets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anycell.labels import centroids
from anycell.simulate.noise import Field, Shape, blur, choice, fractal, grain, log_uniform
from anycell.simulate.places import Crowd, blobs, ripple, scatter
from anycell.simulate.scene import Rendered
from anycell.simulate.shapes import Bodies, Layout, lay_out, stamp, warp_field
from anycell.simulate.stain import absorb, transmit

__all__ = ["blood"]

Floats = NDArray[np.float64]


def blood(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """A stained smear: red cells with central pallor and overlaps, some white cells.

    Red and white cells are labeled, platelets and stain deposits are not.
    """
    red = _red_cells(rng, shape, diameter)
    share = choice(rng, 0.0, 0.01, 0.04)
    white = rng.random(len(red.center)) < share
    bodies, scale = _with_white(rng, red, white, diameter)
    # A red cell on another: the one drawn last lies on top; white cells lie above all.
    order = rng.random(len(white)) - white
    warp = warp_field(rng, shape, 0.03 * diameter, 0.6 * diameter)
    layout = lay_out(bodies, shape, warp=warp, order=order, smallest=0.35)
    is_white = _white_after(layout, bodies, white)
    absorbed = _red_absorption(rng, layout, is_white, diameter)
    amount = [absorbed]
    stains = [_red_color(rng)]
    if is_white.any():
        cytoplasm, lobes = _white_parts(rng, layout, is_white, diameter * scale)
        amount += [cytoplasm, lobes]
        stains += [np.array([0.3, 0.45, 0.12]) * rng.uniform(0.5, 1.5), _nuclear_color(rng)]
    amount.append(_platelets(rng, shape, layout, diameter))
    stains.append(np.array([0.5, 0.9, 0.3]))
    return transmit(rng, absorb(amount, stains), layout, diameter)


def _red_cells(rng: np.random.Generator, shape: Shape, diameter: float) -> Bodies:
    """Discs of one patient: round, oval, crenated or teardrop in random shares."""
    crowd = Crowd(
        1.0 + float(rng.exponential(0.35)),
        float(rng.uniform(0.3, 0.9)),
        float(rng.uniform(0.2, 1.0)),
        float(rng.uniform(0, 0.8)),
    )
    center = scatter(rng, shape, diameter, crowd)
    count = len(center)
    bodies = blobs(
        rng,
        center,
        diameter,
        spread=float(rng.uniform(0.04, 0.18)),
        aspect=choice(rng, 1.08, 1.2, 1.8),
        wavy=choice(rng, 0.008, 0.03),
    )
    waves = np.pad(bodies.waves, ((0, 0), (0, 8)))
    crenated = rng.random(count) < choice(rng, 0.0, 0.0, 0.3, 0.9)
    lobes = rng.integers(6, 12, count)
    waves[np.flatnonzero(crenated), lobes[crenated]] = 0.06 * rng.uniform(0.5, 1.3)
    drop = (rng.random(count) < choice(rng, 0.0, 0.0, 0.25)) * rng.uniform(0.3, 0.7, count)
    bend = (rng.random(count) < choice(rng, 0.0, 0.1)) * rng.normal(0, 1.0, count) / diameter
    return Bodies(bodies.owner, center, bodies.radii, bodies.core, bodies.angle, bend, drop, waves)


def _with_white(
    rng: np.random.Generator, red: Bodies, white: NDArray[np.bool_], diameter: float
) -> tuple[Bodies, float]:
    """Make the chosen cells leukocytes: rounder and larger."""
    scale = float(rng.uniform(1.3, 2.2))
    radii = np.where(
        white[:, None], diameter * scale / 2 * rng.uniform(0.9, 1.1, red.radii.shape), red.radii
    )
    waves = np.where(white[:, None], 0.3 * red.waves, red.waves)
    keep = ~white
    return (
        Bodies(
            red.owner,
            red.center,
            radii,
            red.core,
            red.angle,
            red.bend * keep,
            red.taper * keep,
            waves,
        ),
        scale,
    )


def _white_after(layout: Layout, bodies: Bodies, white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the cells of a layout are white: by the pixel nearest each body's centre."""
    out = np.zeros(layout.count, dtype=bool)
    at = np.rint(bodies.center[white]).astype(int)
    inside = ((at >= 0) & (at < layout.labels.shape)).all(axis=1)
    found = layout.labels[tuple(at[inside].T)]
    out[found[found > 0] - 1] = True
    return out


def _red_absorption(
    rng: np.random.Generator, layout: Layout, is_white: NDArray[np.bool_], diameter: float
) -> Field:
    """Thickness of the red cells, summed where they overlap; 1 at the rim of a typical one.

    The biconcave disc of Evans and Fung, Microvasc. Res. 4 (1972) 335:
    sqrt(1 - r^2) (0.207 + 2.003 r^2 - 1.123 r^4); the pallor is varied between a ball
    and a ring.
    """
    stamps = layout.stamps
    square = np.minimum(stamps.rho, 1) ** 2
    pallor = np.clip(rng.normal(rng.uniform(0.1, 1.0), 0.15, layout.count), 0, 1.15)
    deep = pallor.astype(np.float32)[stamps.owner - 1]
    disc = 0.207 + 2.003 * square - 1.123 * square**2
    thick = np.sqrt(1 - square) ** np.float32(rng.uniform(0.4, 1.0)) * (
        deep * disc + (1 - deep) * 0.9
    )
    strength = np.exp(rng.normal(0, 0.1, layout.count)) * ~is_white
    total = stamps.add_up(
        thick * strength.astype(np.float32)[stamps.owner - 1], layout.labels.shape
    )
    # Cells are pressed flat where they overlap, so the sum stays below twice.
    total = total - 0.35 * np.maximum(0, total - 0.9)
    inside = layout.inside.astype(np.float32)
    covered = np.isin(layout.labels, np.flatnonzero(is_white) + 1)
    return blur(total * inside * ~covered, max(0.5, 0.025 * diameter * log_uniform(rng, 0.7, 2.5)))


def _white_parts(
    rng: np.random.Generator, layout: Layout, is_white: NDArray[np.bool_], diameter: float
) -> tuple[Field, Field]:
    """Cytoplasm and lobed nuclei of the white cells, as amounts of stain."""
    shape = layout.labels.shape
    chosen = np.flatnonzero(is_white)
    body = layout.per_cell(is_white)
    center = centroids(layout.labels)[1:][chosen]
    lobes = rng.integers(1, 5, len(chosen))
    which = np.repeat(np.arange(len(chosen)), lobes)
    size = diameter * np.where(lobes == 1, 0.75, 0.42)[which] * rng.uniform(0.85, 1.15, len(which))
    turn = rng.uniform(0, 2 * np.pi, len(which))
    off = np.where(lobes == 1, 0.06, 0.2)[which] * diameter
    place = center[which] + np.stack([np.sin(turn), np.cos(turn)], axis=1) * off[:, None]
    radii = np.stack([size / 2 * rng.uniform(1, 1.4, len(which)), size / 2], axis=1)
    parts = Bodies.of(place, radii, turn + np.pi / 2, waves=ripple(rng, len(which), 0.08))
    owner = (chosen + 1).astype(np.int32)[which]
    parts = Bodies(
        owner, place, radii, parts.core, parts.angle, parts.bend, parts.taper, parts.waves
    )
    nucleus = np.minimum(1, 4 * layout.draw(parts))
    clumps = 1 + 0.25 * fractal(rng, shape, 0.15 * diameter + 1, 3)
    grains = 1 + 0.3 * grain(rng, shape, max(0.7, 0.03 * diameter))
    return blur(body * grains * (1 - nucleus), 0.7), blur(nucleus * clumps, 0.8)


def _platelets(rng: np.random.Generator, shape: Shape, layout: Layout, diameter: float) -> Field:
    """Small purple bodies and specks of stain between the cells: in no label."""
    crowd = Crowd(3.5, 0.9, float(rng.uniform(0, 0.3)), 0.0)
    center = scatter(rng, shape, diameter, crowd)
    count = len(center)
    size = diameter * rng.uniform(0.1, 0.28, (count, 2))
    bodies = Bodies.of(
        center, size / 2, rng.uniform(0, np.pi, count), waves=ripple(rng, count, 0.1)
    )
    stamps = stamp(bodies, shape)
    soft = stamps.add_up(1 - stamps.rho**2, shape)
    return blur(soft * ~layout.inside, max(0.6, 0.03 * diameter)) * np.float32(
        rng.uniform(0.5, 1.5)
    )


def _red_color(rng: np.random.Generator) -> Floats:
    """Extinction of stained red cells in R, G, B: salmon, red, purple or grey-blue."""
    hues = np.array([[0.08, 0.45, 0.35], [0.15, 0.6, 0.6], [0.3, 0.75, 0.4], [0.55, 0.65, 0.45]])
    mixed = rng.dirichlet([0.6] * 4) @ hues
    color: Floats = mixed * log_uniform(rng, 0.55, 1.8)
    return color


def _nuclear_color(rng: np.random.Generator) -> Floats:
    """Extinction of nuclei in R, G, B: blue to purple, dark."""
    base = np.array([rng.uniform(0.7, 1.4), rng.uniform(1.1, 1.9), rng.uniform(0.25, 0.7)])
    return base * rng.uniform(0.7, 1.3)
