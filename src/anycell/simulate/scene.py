"""What the modalities share: animal cells in a dish, their parts, and the rendered result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, centroids
from anycell.simulate.noise import Field, Shape, blur, choice, log_uniform
from anycell.simulate.optics import dust, illumination, phase_contrast
from anycell.simulate.places import Crowd, adherent, blobs, ripple, scatter
from anycell.simulate.shapes import Bodies, Layout, lay_out, warp_field

__all__ = [
    "Rendered",
    "animal_cells",
    "contacts",
    "exposed",
    "granules",
    "grey",
    "nuclei",
    "scale_for",
    "scaled",
    "through_ring",
]


@dataclass(frozen=True)
class Rendered:
    """Light on the sensor before noise.

    Attributes
    ----------
    pixels : C x H x W float32 on the canvas, 1 is full scale.
    channels : one name per channel.
    labels : H x W on the canvas.
    electrons : at full scale; few make a noisy image.
    read_noise : of the camera, in electrons.
    """

    pixels: Field
    channels: tuple[str, ...]
    labels: Labels
    electrons: float
    read_noise: float = 3.0


def animal_cells(rng: np.random.Generator, shape: Shape, diameter: float) -> Layout:
    """Cells of a culture: rounded, spread with processes, or a confluent sheet."""
    kind = rng.choice(["rounded", "spread", "sheet"], p=[0.3, 0.45, 0.25])
    if kind == "rounded":
        crowd = Crowd.random(rng)
        center = scatter(rng, shape, diameter, crowd)
        aspect, wavy = float(rng.uniform(1.05, 1.5)), float(rng.uniform(0.01, 0.06))
        bodies = blobs(rng, center, diameter, spread=0.2, aspect=aspect, wavy=wavy)
        return lay_out(bodies, shape, warp=warp_field(rng, shape, 0.04 * diameter, diameter / 2))
    if kind == "sheet":
        crowd = Crowd(0.93, float(rng.uniform(0.2, 0.6)), choice(rng, 1.0, 0.6), 1.0)
        center = scatter(rng, shape, diameter, crowd)
        # Drawn 1.3 x too wide, so that the contact lines decide the size.
        bodies = blobs(rng, center, 1.3 * diameter, spread=0.15, aspect=1.5, wavy=0.05, aligned=0.5)
        warp = warp_field(rng, shape, 0.12 * diameter, diameter / 3)
        return lay_out(bodies, shape, warp=warp, smallest=0.1)
    crowd = Crowd.apart(rng)
    center = scatter(rng, shape, diameter, crowd)
    bodies = adherent(rng, center, diameter, choice(rng, 0.0, 0.7, 2.0))
    size = max(3.0, log_uniform(rng, 0.15, 0.8) * diameter)
    warp = warp_field(rng, shape, choice(rng, 0.05, 0.12, 0.22) * size, size)
    return lay_out(bodies, shape, warp=warp)


def nuclei(rng: np.random.Generator, layout: Layout, share: float, wander: float = 0.1) -> Bodies:
    """One nucleus per cell, of ``share`` of the cell's equivalent diameter."""
    count = layout.count
    size = layout.diameters
    center = centroids(layout.labels)[1:].reshape(count, 2)
    center = center + rng.normal(0, wander, (count, 2)) * size[:, None]
    stretch = np.exp(np.abs(rng.normal(0, 0.15, count)))
    radius = size * share / 2 * np.exp(rng.normal(0, 0.1, count))
    radii = np.stack([radius * stretch, radius / stretch], axis=1)
    return Bodies.of(
        center, radii, rng.uniform(0, np.pi, count), waves=ripple(rng, count, 0.04, fall=1.2)
    )


def granules(
    rng: np.random.Generator, where: NDArray[np.bool_], per_pixel: float, sigma: float
) -> Field:
    """Random soft spots at random places inside a mask; a typical spot peaks at 1."""
    out = np.zeros(where.shape, dtype=np.float32)
    inside = np.flatnonzero(where)
    count = min(inside.size, int(rng.poisson(per_pixel * inside.size)))
    if not count:
        return out
    places = inside[rng.integers(0, inside.size, count)]
    strength = rng.exponential(1.0, count).astype(np.float32)
    out.ravel()[places] = strength * np.float32(max(1.0, 2 * np.pi * sigma**2))
    return blur(out, sigma)


def contacts(layout: Layout, width: float) -> Field:
    """A soft line of about ``width`` px along every outline and contact, peaking at 1."""
    labels = layout.labels
    line = np.zeros(labels.shape, dtype=np.float32)
    line[:-1] += labels[:-1] != labels[1:]
    line[:, :-1] += labels[:, :-1] != labels[:, 1:]
    sigma = width / 2
    # A line of one pixel, blurred, peaks at 1 / (sqrt(2 pi) sigma).
    gain = np.float32(max(1.0, np.sqrt(2 * np.pi) * sigma))
    return np.asarray(np.minimum(1, blur(np.minimum(line, 1), sigma) * gain), dtype=np.float32)


def scale_for(values: Field, where: NDArray[np.bool_], target: float) -> np.float32:
    """The factor that brings the 98th percentile of a magnitude inside a mask to target."""
    chosen = np.abs(values[where])
    top = float(np.quantile(chosen, 0.98)) if chosen.size else 0.0
    return np.float32(target / max(top, 1e-6))


def scaled(values: Field, where: NDArray[np.bool_], target: float) -> Field:
    """A field times :func:`scale_for`."""
    return values * scale_for(values, where, target)


def through_ring(
    rng: np.random.Generator,
    path: Field,
    inside: NDArray[np.bool_],
    ring: tuple[float, float],
    contrast: tuple[float, float],
) -> Field:
    """Phase contrast of an optical path, slightly blurred: 1 where there is nothing.

    Parameters
    ----------
    inside : where there are cells.
    ring : reach in pixels and transmission, as :func:`optics.phase_contrast` takes them.
    contrast : least and greatest departure from 1 that is brought about inside.
    """
    reach, transmission = ring
    seen = phase_contrast(path, reach, transmission, bool(rng.random() < 0.12))
    seen = blur(seen, float(rng.uniform(0.3, 0.8))) / np.float32(transmission**2) - 1
    return 1 + scaled(seen, inside, log_uniform(rng, *contrast))


def grey(
    rng: np.random.Generator,
    seen: Field,
    layout: Layout,
    diameter: float,
    uneven: tuple[float, ...] = (0.05, 0.15, 0.4),
) -> Rendered:
    """One grey channel under uneven light; ``seen`` is about 0.5 in the background."""
    shape = layout.labels.shape
    light = illumination(rng, shape, choice(rng, *uneven))
    light = light * dust(rng, shape, choice(rng, 0, 0, 2), 0.4 * diameter)
    level = float(rng.uniform(0.5, 1.25))
    pixels = seen * light * np.float32(level)
    return Rendered(pixels[None], ("grey",), layout.labels, log_uniform(rng, 1500, 40000))


def exposed(
    rng: np.random.Generator, planes: list[Field], names: tuple[str, ...], layout: Layout
) -> Rendered:
    """Fluorescence: uneven light, an exposure per channel from faint to a little saturated.

    ``planes`` hold emitted light in any unit; few photons make most images noisy.
    """
    out = []
    for plane in planes:
        lit = plane * illumination(rng, layout.labels.shape, choice(rng, 0.05, 0.3))
        inside = lit[layout.inside]
        top = float(np.quantile(inside, 0.95)) if inside.size else 1.0
        out.append(lit * np.float32(log_uniform(rng, 0.25, 1.1) / max(top, 1e-6)))
    pixels = np.stack(out) + np.float32(rng.uniform(0, 0.04))
    return Rendered(pixels, names, layout.labels, log_uniform(rng, 60, 6000), 4.0)
