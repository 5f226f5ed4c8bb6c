"""Unstained animal cells in transmitted light: DIC, phase contrast, brightfield, QPI."""

from __future__ import annotations

import numpy as np

from anycell.simulate.noise import Field, Shape, blur, choice, fractal, grain, log_uniform
from anycell.simulate.optics import defocus, fineness, relief
from anycell.simulate.scene import (
    Rendered,
    animal_cells,
    contacts,
    granules,
    grey,
    nuclei,
    scale_for,
    scaled,
    through_ring,
)
from anycell.simulate.shapes import Layout

__all__ = ["brightfield", "dic", "phase", "quantitative_phase"]


def dic(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Differential interference contrast: lit from one side, shadowed on the other."""
    layout = animal_cells(rng, shape, diameter)
    path = _optical_path(rng, layout, diameter)
    path = blur(path, log_uniform(rng, 0.6, 1.3) * fineness(diameter))
    angle, shear = float(rng.uniform(0, 2 * np.pi)), 1.0
    slope_y, slope_x = np.gradient(path)
    slope = np.sin(angle) * slope_y + np.cos(angle) * slope_x
    strength = log_uniform(rng, 0.35, 1.7)
    path = path * scale_for(slope, layout.inside, strength)
    rough = fractal(rng, shape, log_uniform(rng, 2, 12)) * log_uniform(rng, 0.01, 0.12)
    seen = relief(path + rough * np.float32(strength), angle, float(rng.uniform(1.1, 2.0)), shear)
    seen = blur(seen, float(rng.uniform(0.3, 0.9)))
    return grey(rng, seen, layout, diameter)


def phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Phase contrast: dark cells with bright halos, thick round ones bright."""
    layout = animal_cells(rng, shape, diameter)
    path = _optical_path(rng, layout, diameter)
    transmission = float(rng.uniform(0.35, 0.75))
    path = scaled(path, layout.inside, transmission * log_uniform(rng, 0.6, 1.8))
    # A few cells round up before they divide or die; their path exceeds half a wave.
    round_up = rng.random(layout.count) < choice(rng, 0.0, 0.05, 0.2)
    path = path + layout.per_cell(round_up * rng.uniform(1.0, 3.0, layout.count)) * layout.dome(0.6)
    path = path + 0.25 * granules(
        rng, ~layout.inside, 10 ** rng.uniform(-5, -3), 0.8 * fineness(diameter)
    )
    path = blur(path, log_uniform(rng, 0.5, 1.0) * fineness(diameter))
    ring = diameter * log_uniform(rng, 0.12, 0.7)
    seen = through_ring(rng, path, layout.inside, (ring, transmission), (0.3, 1.1))
    return grey(rng, 0.5 * seen, layout, diameter)


def brightfield(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Brightfield of unstained cells: only the defocus makes them visible."""
    layout = animal_cells(rng, shape, diameter)
    path = _optical_path(rng, layout, diameter)
    path = scaled(path, layout.inside, log_uniform(rng, 0.8, 3.0))
    path = blur(path, 0.6 * fineness(diameter))
    fine = fineness(diameter)
    distance = choice(rng, -1, 1) * diameter * fine * log_uniform(rng, 0.1, 0.8)
    lost = path * np.float32(rng.uniform(0.0, 0.06))
    seen = defocus(path, lost, distance, log_uniform(rng, 0.5, 1.3) * fine)
    seen = 1 + scaled(seen - 1, layout.inside, log_uniform(rng, 0.1, 0.7))
    return grey(rng, 0.5 * seen, layout, diameter)


def quantitative_phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Quantitative phase: the optical path itself, bright on black."""
    layout = animal_cells(rng, shape, diameter)
    path = _optical_path(rng, layout, diameter)
    path = scaled(path, layout.inside, log_uniform(rng, 0.25, 0.8))
    bright = np.where(rng.random(layout.count) < 0.07, rng.uniform(0.5, 1.5, layout.count), 0.0)
    path = path + layout.per_cell(bright * 0.5) * layout.dome(0.6)
    path = blur(path, log_uniform(rng, 0.6, 1.6) * fineness(diameter))
    drift = fractal(rng, shape, max(shape) / 3) * rng.uniform(0, 0.02)
    noise = grain(rng, shape, 1.0) * log_uniform(rng, 0.002, 0.02)
    seen = path + drift + noise + rng.uniform(0.02, 0.1)
    return Rendered(seen[None], ("phase",), layout.labels, 5000.0)


def _optical_path(rng: np.random.Generator, layout: Layout, diameter: float) -> Field:
    """Thickness times refraction of cells: body, nucleus, organelles; about 0..2."""
    body = layout.dome(log_uniform(rng, 0.35, 1.3))
    body = body * layout.per_cell(np.exp(rng.normal(0, 0.2, layout.count)))
    seam = contacts(layout, max(1.0, log_uniform(rng, 0.05, 0.2) * diameter))
    body = body * (1 - np.float32(rng.uniform(0.3, 0.9)) * seam)
    core = layout.draw(nuclei(rng, layout, float(rng.uniform(0.35, 0.6))))
    inside = layout.inside
    fine = fineness(diameter)
    texture = fractal(rng, layout.labels.shape, 0.12 * diameter + 1.0, 3) * inside
    spots = granules(rng, inside & (layout.rho < 0.85), 10 ** rng.uniform(-2.7, -1.5), 0.8 * fine)
    path = (
        body
        + rng.uniform(-0.1, 0.5) * np.sqrt(core)
        + rng.uniform(0.02, 0.12) * texture
        + choice(rng, -1, 1, 1) * rng.uniform(0.03, 0.25) * spots * inside
    )
    return np.asarray(path, dtype=np.float32)
