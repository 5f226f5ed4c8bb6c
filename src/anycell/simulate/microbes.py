"""Bacteria and yeast: phase contrast, brightfield and fluorescence."""

from __future__ import annotations

import numpy as np

from anycell.simulate.noise import Field, Shape, blur, choice, field, fractal, log_uniform
from anycell.simulate.optics import defocus, dust, illumination, phase_contrast
from anycell.simulate.places import Crowd, budding, chains, rods, scatter, worms
from anycell.simulate.scene import Rendered, exposed, granules, nuclei, scaled
from anycell.simulate.shapes import Layout, lay_out, warp_field

__all__ = ["bacteria_fluorescence", "bacteria_phase", "yeast_brightfield", "yeast_phase"]


def bacteria_phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Rods, filaments or cocci: dark on grey with bright halos."""
    layout = _bacteria(rng, shape, diameter)
    path = layout.dome(0.5) * layout.per_cell(np.exp(rng.normal(0, 0.12, layout.count)))
    path = path * (1 + rng.uniform(0, 0.15) * field(rng, shape, 0.15 * diameter + 1))
    transmission = float(rng.uniform(0.35, 0.8))
    # Darkest where the path equals the ring's transmission, brighter again beyond.
    path = path * np.float32(transmission * log_uniform(rng, 0.6, 1.4))
    path = blur(path, _sharpness(rng, diameter))
    ring = diameter * log_uniform(rng, 0.4, 2.0)
    seen = phase_contrast(path, ring, transmission, bool(rng.random() < 0.1))
    seen = seen / np.float32(transmission**2) - 1
    seen = 1 + scaled(seen, layout.inside, log_uniform(rng, 0.35, 1.0))
    return _grey(rng, seen, layout, diameter)


def bacteria_fluorescence(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Rods, filaments or cocci filled with label, or stained at the membrane."""
    layout = _bacteria(rng, shape, diameter)
    fill = layout.dome(choice(rng, 0.3, 0.5))
    if rng.random() < 0.3:
        fill = layout.rho**3 * layout.inside + 0.25 * fill
    fill = fill * (1 + np.clip(0.3 * rng.random() * fractal(rng, shape, 0.3 * diameter), -0.8, 2))
    bright = np.clip(np.exp(rng.normal(0, rng.uniform(0.1, 0.5), layout.count)), 0.3, 4)
    light = blur(fill * layout.per_cell(bright), _sharpness(rng, diameter))
    haze = blur(light, 0.4 * diameter) * rng.uniform(0, 0.5) + log_uniform(rng, 0.01, 0.15)
    return exposed(rng, [light + haze], ("cells",), layout)


def yeast_phase(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Budding yeast in phase contrast: bright outline, darker inside with a vacuole."""
    layout = _yeast(rng, shape, diameter)
    transmission = float(rng.uniform(0.25, 0.7))
    path = _yeast_path(rng, layout, diameter)
    path = path * np.float32(transmission * log_uniform(rng, 0.6, 3.0))
    path = blur(path, _sharpness(rng, diameter))
    ring = diameter * log_uniform(rng, 0.12, 0.6)
    seen = phase_contrast(path, ring, transmission, bool(rng.random() < 0.1))
    seen = seen / np.float32(transmission**2) - 1
    seen = 1 + scaled(seen, layout.inside, log_uniform(rng, 0.3, 1.3))
    # A dim background with bright outlines is as common as mid grey.
    return _grey(rng, seen * np.float32(choice(rng, 1.0, 0.45)), layout, diameter)


def yeast_brightfield(rng: np.random.Generator, shape: Shape, diameter: float) -> Rendered:
    """Budding yeast in brightfield, a little above or below focus."""
    layout = _yeast(rng, shape, diameter)
    path = _yeast_path(rng, layout, diameter) * np.float32(log_uniform(rng, 1.5, 4.0))
    path = blur(path, 0.7 * _sharpness(rng, diameter))
    distance = choice(rng, -1, 1) * diameter * log_uniform(rng, 0.1, 0.8)
    seen = defocus(path, path * np.float32(0.02), distance, max(0.6, 0.03 * diameter))
    seen = 1 + scaled(seen - 1, layout.inside, log_uniform(rng, 0.12, 0.8))
    return _grey(rng, seen, layout, diameter)


def _bacteria(rng: np.random.Generator, shape: Shape, diameter: float) -> Layout:
    kind = rng.choice(["rods", "worms", "cocci"], p=[0.6, 0.25, 0.15])
    crowd = Crowd.random(rng)
    if kind == "rods":
        return lay_out(rods(rng, shape, diameter, crowd), shape, smallest=0.5)
    if kind == "worms":
        return lay_out(worms(rng, shape, diameter, crowd), shape, smallest=0.5)
    return lay_out(chains(rng, shape, diameter, crowd), shape, smallest=0.4)


def _yeast(rng: np.random.Generator, shape: Shape, diameter: float) -> Layout:
    crowd = Crowd(
        1.0 + float(rng.exponential(0.08)),
        float(rng.uniform(0.05, 0.3)),
        choice(rng, rng.uniform(0.02, 0.15), rng.uniform(0.1, 0.9)),
        float(rng.uniform(0.3, 1.0)),
    )
    center = scatter(rng, shape, diameter, crowd)
    warp = warp_field(rng, shape, 0.02 * diameter, diameter)
    return lay_out(budding(rng, center, diameter), shape, warp=warp, smallest=0.35)


def _yeast_path(rng: np.random.Generator, layout: Layout, diameter: float) -> Field:
    """Optical path of a walled ball with a vacuole and granules."""
    body = layout.dome(0.5)
    wall = np.exp(-(((layout.rho - 0.93) / 0.07) ** 2)) * layout.inside
    vacuole = np.sqrt(layout.draw(nuclei(rng, layout, float(rng.uniform(0.3, 0.6)), wander=0.12)))
    has = layout.per_cell((rng.random(layout.count) < 0.7) * rng.uniform(0.1, 0.5, layout.count))
    spots = granules(
        rng,
        layout.inside & (layout.rho < 0.8),
        10 ** rng.uniform(-2.8, -2),
        max(0.8, 0.04 * diameter),
    )
    path = body + rng.uniform(0.05, 0.3) * wall - has * vacuole + rng.uniform(0, 0.3) * spots
    return np.asarray(path, dtype=np.float32)


def _sharpness(rng: np.random.Generator, diameter: float) -> float:
    """Sigma of the point spread function: bacteria lie near the limit of resolution."""
    return max(0.5, 0.03 * diameter * log_uniform(rng, 0.7, 1.8))


def _grey(rng: np.random.Generator, seen: Field, layout: Layout, diameter: float) -> Rendered:
    """One grey channel under uneven light; ``seen`` is 1 in the background."""
    shape = layout.labels.shape
    light = illumination(rng, shape, choice(rng, 0.05, 0.12, 0.3))
    light = light * dust(rng, shape, choice(rng, 0, 0, 1.5), 0.5 * diameter)
    pixels = seen * light * np.float32(rng.uniform(0.25, 0.6))
    return Rendered(pixels[None], ("grey",), layout.labels, log_uniform(rng, 1000, 40000))
