"""Places and populations: where cells lie, how they crowd, and what shapes they take.

Each population turns a diameter into :class:`~anycell.simulate.shapes.Bodies` whose
median cell has about that equivalent diameter (of the disc of the same area).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.simulate.noise import Shape, choice, waves
from anycell.simulate.shapes import Bodies, join

__all__ = ["Crowd", "adherent", "blobs", "budding", "chains", "ripple", "rods", "scatter", "worms"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crowd:
    """How cells fill the plane.

    Attributes
    ----------
    spacing : distance of neighbours in a full lattice, in cell diameters.
    jitter : random displacement, in spacings.
    coverage : share of the lattice that is taken.
    patchy : 0 takes places at random, 1 takes whole patches.
    """

    spacing: float
    jitter: float
    coverage: float
    patchy: float

    @classmethod
    def random(cls, rng: np.random.Generator, tightest: float = 0.95) -> Crowd:
        """From a few scattered cells to confluence."""
        coverage = choice(rng, rng.uniform(0.06, 0.3), rng.uniform(0.2, 0.8), 1.0)
        spacing = tightest + float(rng.exponential(0.2))
        return cls(spacing, float(rng.uniform(0.05, 0.45)), coverage, float(rng.uniform(0, 1)))

    @classmethod
    def apart(cls, rng: np.random.Generator) -> Crowd:
        """Spread cells: some way from one another, from a tenth of the places to nearly all."""
        return cls(
            1.0 + float(rng.exponential(0.3)),
            float(rng.uniform(0.2, 0.7)),
            float(rng.uniform(0.1, 0.95)),
            float(rng.uniform(0, 1)),
        )


def scatter(rng: np.random.Generator, shape: Shape, diameter: float, crowd: Crowd) -> Floats:
    """Centres (n, 2) on a jittered hexagonal lattice, a diameter beyond the canvas.

    At least one lies in the middle of the canvas, so that no image is empty.
    """
    step = max(diameter * crowd.spacing, 1.5)
    # A step beyond the canvas at least, so that there is always a place.
    points = _lattice(rng, shape, (step, step * np.sqrt(0.75)), max(diameter, step))
    points = points + rng.uniform(-1, 1, points.shape) * crowd.jitter * step * 0.6
    return points[_taken(rng, points, shape, crowd, 2 * step)]


def _sizes(rng: np.random.Generator, count: int, diameter: float, spread: float) -> Floats:
    """Diameters (n,) of median ``diameter``; log-normal, cut at two spreads."""
    draws = np.clip(rng.standard_normal(count), -2, 2)
    out: Floats = diameter * np.exp(spread * draws)
    return out


def ripple(
    rng: np.random.Generator, count: int, size: float, harmonics: int = 6, fall: float = 1.0
) -> NDArray[np.complex64]:
    """Random Fourier outlines (n, harmonics); amplitude of harmonic k falls as k**-fall."""
    k = np.arange(2, harmonics + 2)
    draws = rng.standard_normal((count, harmonics, 2)) * (size * (2.0 / k) ** fall)[None, :, None]
    out: NDArray[np.complex64] = (
        np.clip(draws, -0.4, 0.4).view(np.complex128)[..., 0].astype(np.complex64)
    )
    return out


def blobs(
    rng: np.random.Generator,
    center: Floats,
    diameter: float,
    *,
    spread: float = 0.15,
    aspect: float = 1.3,
    wavy: float = 0.05,
    aligned: float = 0.0,
) -> Bodies:
    """Rounded cells or nuclei: ellipses with wavy outlines.

    Parameters
    ----------
    center : (n, 2).
    diameter : median equivalent diameter.
    spread : of the log diameter.
    aspect : typical length / width.
    wavy : amplitude of the second harmonic; the higher ones fall off.
    aligned : 0 random directions, 1 neighbours lie parallel.
    """
    count = len(center)
    size = _sizes(rng, count, diameter, spread)
    stretch = np.exp(np.abs(rng.standard_normal(count)) * np.log(aspect) / 2)
    stretch = np.minimum(stretch, 2.2)
    radii = np.stack([size * stretch, size / stretch], axis=1) / 2
    common = waves(rng, center, 6 * diameter) + rng.uniform(0, np.pi)
    free = rng.uniform(0, np.pi, count)
    angle = np.where(rng.random(count) < aligned, common + 0.3 * (free - 1.57), free)
    return Bodies.of(center, radii, angle, waves=ripple(rng, count, wavy, fall=1.2))


def adherent(rng: np.random.Generator, center: Floats, diameter: float, arms: float) -> Bodies:
    """Spread cells on glass: a wavy body with tapering processes.

    ``arms`` is the mean number of processes per cell; the first lies along the body.
    """
    count = len(center)
    body = blobs(
        rng,
        center,
        diameter * (1.0 - 0.05 * min(arms, 3.0)),
        spread=float(rng.uniform(0.15, 0.35)),
        aspect=float(rng.uniform(1.3, 2.6)),
        wavy=choice(rng, 0.05, 0.1, 0.18),
        aligned=choice(rng, 0.0, 0.8),
    )
    number = rng.poisson(arms, count)
    which = np.repeat(np.arange(count), number)
    order = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
    straight = np.pi * order + rng.normal(0, 0.25, len(which))
    angle = body.angle[which] + np.where(order < 2, straight, rng.uniform(0, 2 * np.pi, len(which)))
    length = body.radii[which].mean(axis=1) * rng.uniform(1.2, 2.4, len(which))
    width = body.radii[which].min(axis=1) * rng.uniform(0.15, 0.5, len(which))
    towards = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    processes = Bodies(
        (which + 1).astype(np.int32),
        center[which] + towards * (length / 2)[:, None],
        np.stack([length / 2, width], axis=1),
        np.zeros(len(which)),
        angle,
        rng.normal(0, 0.6, len(which)) / np.maximum(length, 1.0),
        rng.uniform(0.4, 0.9, len(which)),
        np.zeros((len(which), 1), dtype=np.complex64),
    )
    return join(body, processes)


def budding(rng: np.random.Generator, center: Floats, diameter: float) -> Bodies:
    """Yeast: ovals, a third of them with a bud, which is a cell of its own."""
    mother = blobs(rng, center, diameter, spread=0.12, aspect=1.2, wavy=0.015)
    with_bud = np.flatnonzero(rng.random(len(center)) < rng.uniform(0.1, 0.5))
    share = rng.uniform(0.35, 0.8, len(with_bud))
    angle = mother.angle[with_bud] + rng.normal(0, 0.5, len(with_bud))
    radius = mother.radii[with_bud].mean(axis=1)
    away = radius * (1 + 0.92 * share)
    place = center[with_bud] + np.stack([np.sin(angle), np.cos(angle)], axis=1) * away[:, None]
    round_radii = (radius * share)[:, None] * np.array([1.08, 0.95])
    bud = Bodies.of(place, round_radii, angle)
    return Bodies.of(
        np.concatenate([mother.center, bud.center]),
        np.concatenate([mother.radii, bud.radii]),
        np.concatenate([mother.angle, bud.angle]),
    )


def rods(rng: np.random.Generator, shape: Shape, diameter: float, crowd: Crowd) -> Bodies:
    """Rod-shaped bacteria, in domains of parallel cells that meet at angles."""
    aspect = float(rng.uniform(1.8, 5.5))
    width = diameter * np.sqrt(np.pi / 4 / (aspect - 1 + np.pi / 4))
    length = aspect * width
    domains = int(rng.integers(1, 4 + int(max(shape) / (6 * length))))
    seed = rng.uniform(0, 1, (domains, 2)) * np.array(shape)
    turn = rng.uniform(0, np.pi, domains)
    loose = 1.0 - crowd.coverage
    parts = []
    for k in range(domains):
        step = (
            length * crowd.spacing * (1.05 + 0.5 * loose),
            width * crowd.spacing * (1.08 + 1.5 * loose),
        )
        points = _lattice(rng, shape, step, length, float(turn[k]))
        nearest = ((points[:, None] - seed[None]) ** 2).sum(axis=2).argmin(axis=1)
        points = points[nearest == k]
        shift = rng.uniform(-0.5, 0.5, points.shape) * np.array(step) * crowd.jitter
        sine, cosine = np.sin(turn[k]), np.cos(turn[k])
        points = points + shift @ np.array([[sine, cosine], [cosine, -sine]])
        parts.append((points, np.full(len(points), turn[k])))
    center = np.concatenate([p for p, _ in parts])
    angle = np.concatenate([a for _, a in parts])
    taken = _taken(rng, center, shape, crowd, 2 * length)
    center, angle = center[taken], angle[taken]
    count = len(center)
    half_length = length / 2 * np.exp(np.clip(rng.normal(0, 0.22, count), -0.5, 0.5))
    radius = width / 2 * np.exp(rng.normal(0, 0.05, count))
    angle = angle + rng.normal(0, 0.06 + 0.8 * loose**2, count)
    return Bodies.of(
        center,
        np.stack([radius, radius], axis=1),
        angle,
        core=np.maximum(0.1, half_length - radius),
        bend=rng.normal(0, choice(rng, 0.02, 0.15, 0.5), count) / length,
    )


def worms(rng: np.random.Generator, shape: Shape, diameter: float, crowd: Crowd) -> Bodies:
    """Filaments and worms: chains of discs along curves of random curvature."""
    aspect = float(rng.uniform(7, 18))
    width = diameter * np.sqrt(np.pi / 4 / (aspect - 1 + np.pi / 4))
    length = aspect * width
    beads = int(np.ceil(aspect / 0.3))
    wide = Crowd(crowd.spacing * 0.6, 0.45, max(0.15, crowd.coverage**0.7), crowd.patchy)
    center = scatter(rng, shape, length, wide)
    count = len(center)
    common = waves(rng, center, 3 * length) + rng.uniform(0, np.pi)
    start = common + rng.normal(0, float(rng.uniform(0.1, 1.5)), count)
    turning = rng.normal(0, 1.0, (count, 1)) + rng.normal(0, 1.6, (count, 3)) @ np.cos(
        np.pi * np.arange(1, 4)[:, None] * np.linspace(0, 1, beads)[None]
    )
    heading = start[:, None] + np.cumsum(turning, axis=1) / beads * float(rng.uniform(0.1, 1.2))
    step = (length - width) / beads * np.exp(rng.normal(0, 0.25, (count, 1)))
    path = np.stack([np.sin(heading), np.cos(heading)], axis=2) * step[:, :, None]
    path = np.cumsum(path, axis=1)
    path = path - path.mean(axis=1, keepdims=True) + center[:, None]
    thin = np.sin(np.pi * np.linspace(0.06, 0.94, beads)) ** choice(rng, 0.0, 0.5)
    radius = width / 2 * np.exp(rng.normal(0, 0.08, (count, 1))) * thin[None]
    radius = np.maximum(radius, 0.8)
    owner = np.repeat(np.arange(1, count + 1, dtype=np.int32), beads)
    zeros = np.zeros(count * beads)
    return Bodies(
        owner,
        path.reshape(-1, 2),
        np.stack([radius.ravel(), radius.ravel()], axis=1),
        zeros,
        zeros,
        zeros,
        zeros,
        np.zeros((count * beads, 1), dtype=np.complex64),
    )


def chains(rng: np.random.Generator, shape: Shape, diameter: float, crowd: Crowd) -> Bodies:
    """Cocci in short chains: each sphere a cell."""
    links = int(rng.integers(2, 9))
    apart = Crowd(crowd.spacing, crowd.jitter, crowd.coverage * 0.7, crowd.patchy)
    center = scatter(rng, shape, diameter * max(1.5, 0.8 * links), apart)
    count = len(center)
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(
        rng.normal(0, float(rng.uniform(0.1, 0.6)), (count, links)), axis=1
    )
    step = np.stack([np.sin(heading), np.cos(heading)], axis=2) * diameter * 0.97
    path = np.cumsum(step, axis=1)
    path = path - path.mean(axis=1, keepdims=True) + center[:, None]
    present = np.arange(links)[None] < rng.integers(1, links + 1, (count, 1))
    return blobs(rng, path[present], diameter, spread=0.08, aspect=1.12, wavy=0.01)


def _taken(
    rng: np.random.Generator, places: Floats, shape: Shape, crowd: Crowd, patch: float
) -> NDArray[np.bool_]:
    """Which places of a lattice are taken (n,); one in the middle of the canvas always is."""
    loose = rng.standard_normal(len(places))
    score = crowd.patchy * waves(rng, places, patch) + (1 - crowd.patchy) * loose
    taken: NDArray[np.bool_] = score >= np.quantile(score, 1 - crowd.coverage)
    middle = np.array(shape) * rng.uniform(0.4, 0.6, 2)
    taken[np.argmin(((places - middle) ** 2).sum(axis=1))] = True
    return taken


def _lattice(
    rng: np.random.Generator,
    shape: Shape,
    step: tuple[float, float],
    beyond: float,
    angle: float | None = None,
) -> Floats:
    """A lattice with every second row shifted by half, turned, cut to the canvas."""
    turn = rng.uniform(0, np.pi) if angle is None else angle
    half = np.hypot(*shape) / 2 + beyond
    rows = np.arange(-np.ceil(half / step[1]), np.ceil(half / step[1]) + 1)
    columns = np.arange(-np.ceil(half / step[0]) - 1, np.ceil(half / step[0]) + 1)
    v, u = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    u = (u + (v % 2) / 2 + rng.random()) * step[0]
    v = (v + rng.random()) * step[1]
    y = u * np.sin(turn) + v * np.cos(turn) + shape[0] / 2
    x = u * np.cos(turn) - v * np.sin(turn) + shape[1] / 2
    inside = (y > -beyond) & (y < shape[0] + beyond) & (x > -beyond) & (x < shape[1] + beyond)
    return np.stack([y[inside], x[inside]], axis=1)
