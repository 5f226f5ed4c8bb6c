"""Fluorescence of animal cells and tissue: nuclei alone, and whole cells with nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anycell.simulate.noise import Field, Shape, blur, choice, field, fractal, log_uniform
from anycell.simulate.places import Crowd, blobs, scatter
from anycell.simulate.scene import Rendered, animal_cells, contacts, exposed, granules, nuclei
from anycell.simulate.shapes import Layout, lay_out, warp_field

__all__ = ["cells", "nuclei_only", "tissue"]


def nuclei_only(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Nuclei with a DNA stain, single or crowded, in focus or not."""
    crowd = Crowd.random(rng, tightest=0.93)
    center = scatter(rng, shape, diameter, crowd)
    bodies = blobs(
        rng,
        center,
        diameter,
        spread=float(rng.uniform(0.08, 0.3)),
        aspect=float(rng.uniform(1.1, 2.0)),
        wavy=log_uniform(rng, 0.01, 0.1),
        aligned=choice(rng, 0.0, 0.9),
    )
    layout = lay_out(bodies, shape, warp=warp_field(rng, shape, 0.03 * diameter, diameter / 2))
    stain = _chromatin(rng, layout, diameter)
    stain = stain * layout.per_cell(_expression(rng, layout.count, float(rng.uniform(0.1, 0.5))))
    light = _through_focus(rng, stain, layout, diameter)
    glow = _glow(rng, stain, shape, diameter)
    return exposed(rng, [light + glow], ("nuclei",), layout)


def cells(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Cultured cells: a marker of the cytoplasm, vesicles or membrane, mostly with nuclei."""
    layout = animal_cells(rng, shape, diameter)
    core = _nuclei_of(rng, layout)
    marker = _marker(rng, layout, core, diameter)
    return _two_or_more(rng, layout, marker, core, diameter)


def tissue(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Crowded tissue: membranes or cytoplasm of some cells, all nuclei, haze."""
    crowd = Crowd(0.9, float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.6, 1.0)), 0.9)
    center = scatter(rng, shape, diameter, crowd)
    bodies = blobs(rng, center, 1.35 * diameter, spread=0.2, aspect=1.5, wavy=0.05, aligned=0.5)
    warp = warp_field(rng, shape, 0.1 * diameter, diameter / 3)
    layout = lay_out(bodies, shape, warp=warp, smallest=0.12)
    core = _nuclei_of(rng, layout)
    marker = _marker(rng, layout, core, diameter)
    return _two_or_more(rng, layout, marker, core, diameter)


def _chromatin(rng: np.random.Generator, layout: Layout, diameter: float) -> Field:
    """DNA density inside nuclei: texture, dark nucleoli or bright chromocentres."""
    shape, inside = layout.labels.shape, layout.inside
    base = layout.dome(choice(rng, 0.15, 0.3, 0.5)) * 0.5 + 0.5
    texture = fractal(rng, shape, 0.2 * diameter + 1, 3) * rng.uniform(0.0, 0.2)
    spot = max(0.7, 0.05 * diameter)
    kind = choice(rng, -0.5, 0.0, 1.0)
    spots = granules(rng, inside & (layout.rho < 0.8), 0.02 / spot**2, spot) * kind
    base = base * (1 - np.float32(rng.uniform(0, 0.6)) * contacts(layout, max(1, 0.06 * diameter)))
    out: Field = np.clip(base * (1 + texture) + 0.5 * spots, 0.15, 2.5) * inside
    return out


def _expression(rng: np.random.Generator, count: int, spread: float) -> NDArray[np.float64]:
    """Brightness per cell (n,), log-normal, median 1, held above 0.25 so that it is seen."""
    out: NDArray[np.float64] = np.clip(np.exp(rng.normal(0, spread, count)), 0.25, 4.0)
    return out


def _through_focus(
    rng: np.random.Generator, stain: Field, layout: Layout, diameter: float
) -> Field:
    """Blur by the microscope, and more for the cells that lie out of focus."""
    sharp = blur(stain, max(0.5, 0.03 * diameter * log_uniform(rng, 0.5, 2.0)))
    share = choice(rng, 0.0, 0.0, 0.3)
    if not share:
        return sharp
    away = layout.per_cell((rng.random(layout.count) < share) * 1.0)
    soft = blur(stain * away, 0.08 * diameter)
    return blur(stain * (1 - away), max(0.5, 0.03 * diameter)) + soft


def _glow(rng: np.random.Generator, stain: Field, shape: Shape, diameter: float) -> Field:
    """Light from above and below the focus, and of the medium."""
    haze = blur(stain[::2, ::2], 0.5 * diameter).repeat(2, axis=0).repeat(2, axis=1)
    haze = haze[: shape[0], : shape[1]] * choice(rng, 0.0, 0.1, 0.35)
    medium = np.exp(0.4 * field(rng, shape, max(shape) / 3)) * log_uniform(rng, 0.005, 0.15)
    out: Field = (haze + medium).astype(np.float32)
    return out


def _nuclei_of(rng: np.random.Generator, layout: Layout) -> Field:
    """Nuclei inside the cells as a soft-edged mask, 0..1, centre higher than rim."""
    share = float(rng.uniform(0.4, 0.75))
    soft = layout.draw(nuclei(rng, layout, share, wander=0.06))
    return np.asarray(np.minimum(1, 2.5 * soft), dtype=np.float32)


def _marker(rng: np.random.Generator, layout: Layout, core: Field, diameter: float) -> Field:
    """The density of a marker of whole cells: cytoplasm, membrane, vesicles, or a mixture."""
    shape = layout.labels.shape
    body = layout.dome(log_uniform(rng, 0.15, 0.8)) * (1 - rng.uniform(0, 0.8) * core)
    width = max(0.8, 0.05 * diameter * log_uniform(rng, 0.6, 1.6))
    rim = contacts(layout, width)
    body = body * (1 - np.float32(rng.uniform(0.15, 0.8)) * rim)
    mix = rng.dirichlet([0.6, 0.6, 0.3])
    texture = 1 + np.clip(
        fractal(rng, shape, 0.25 * diameter + 1, 4) * rng.uniform(0, 0.5), -0.9, 2
    )
    vesicles = np.abs(field(rng, shape, 2.0 + 0.03 * diameter)) ** 2 * layout.dome(0.4)
    density = mix[0] * body * texture + 1.2 * mix[1] * rim + 0.5 * mix[2] * vesicles
    density = density + 0.12 * layout.dome(0.3)
    out: Field = (density * layout.inside).astype(np.float32)
    return out


def _two_or_more(
    rng: np.random.Generator, layout: Layout, marker: Field, core: Field, diameter: float
) -> Rendered:
    """Image the marker, the nuclei and maybe a third, unspecific channel."""
    shape = layout.labels.shape
    spread = float(rng.uniform(0.15, 0.7))
    bright = _expression(rng, layout.count, spread)
    psf = max(0.5, 0.025 * diameter * log_uniform(rng, 0.6, 2.0))
    stained = blur(marker * layout.per_cell(bright), psf)
    stained = stained + _glow(rng, marker, shape, diameter)
    grain = 1 + np.clip(
        fractal(rng, shape, 0.12 * diameter + 1, 3) * rng.uniform(0.05, 0.3), -0.8, 2
    )
    dna = core * grain * layout.per_cell(_expression(rng, layout.count, 0.3))
    dna = blur(np.asarray(dna, dtype=np.float32), psf) + _glow(rng, core, shape, diameter)
    kind = rng.choice(["one", "two", "three"], p=[0.25, 0.45, 0.3])
    if kind == "one":
        return exposed(rng, [stained], ("cells",), layout)
    if kind == "two":
        return exposed(rng, [stained, dna], ("cells", "nuclei"), layout)
    few = (rng.random(layout.count) < 0.2) * np.exp(rng.normal(0, 0.5, layout.count))
    other = blur(layout.dome(0.4) * layout.per_cell(few), psf)
    strands = np.maximum(0, fractal(rng, shape, diameter) - 1.2) * rng.uniform(0, 0.8)
    other = other + strands + _glow(rng, marker, shape, diameter)
    return exposed(rng, [other, stained, dna], ("other", "cells", "nuclei"), layout)
