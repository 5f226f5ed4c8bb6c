"""Shapes: bodies drawn into a label image, with the exact pixels of every cell.

A body is an ellipse or a capsule, which may be bent, tapered and have a wavy outline;
bodies with the same owner are one cell.  ``rho`` runs from 0 on a body's centre line to
1 on its outline::

       a      c       c      a
    |<--->|<-----+------>|<--->|     c      core: half length of the straight part
     .----------------------.   ^    a, b   radii of the caps along and across
    (------------+-----------)  | 2b  bend   curvature of the axis, 1/px
     `----------------------'   v    waves  log radius over the angle, by harmonics
                                            2, 3, ... (a Fourier outline)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, areas, relabel
from anycell.simulate.noise import Field, Shape, field

__all__ = ["Bodies", "Layout", "Stamps", "join", "lay_out", "stamp", "warp_field"]

Floats = NDArray[np.float64]
Warp = tuple[Field, Field]


@dataclass(frozen=True)
class Bodies:
    """n bodies in pixels of the canvas; lengths as drawn in the module's docstring.

    Attributes
    ----------
    owner : (n,) the cell, from 1, that each body belongs to.
    center : (n, 2) y, x.
    radii : (n, 2) half widths of the caps along and across the axis.
    core : (n,) half length of the straight part.
    angle : (n,) of the axis, radians, from x towards y.
    bend : (n,) curvature of the axis.
    taper : (n,) in -1..1, how much thinner the far end is than the near end.
    waves : (n, k) complex amplitudes of the harmonics 2 .. k + 1 of the log radius.
    """

    owner: NDArray[np.int32]
    center: Floats
    radii: Floats
    core: Floats
    angle: Floats
    bend: Floats
    taper: Floats
    waves: NDArray[np.complex64]

    @classmethod
    def of(
        cls,
        center: Floats,
        radii: Floats,
        angle: Floats,
        *,
        core: Floats | None = None,
        bend: Floats | None = None,
        taper: Floats | None = None,
        waves: NDArray[np.complex64] | None = None,
    ) -> Bodies:
        """One body per cell, numbered in order; what is not given is zero."""
        count = len(center)
        zeros = np.zeros(count)
        return cls(
            np.arange(1, count + 1, dtype=np.int32),
            center,
            np.broadcast_to(radii, (count, 2)),
            zeros if core is None else core,
            angle,
            zeros if bend is None else bend,
            zeros if taper is None else taper,
            np.zeros((count, 1), dtype=np.complex64) if waves is None else waves,
        )

    def pick(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Bodies:
        """The chosen bodies, with their owners unchanged."""
        return Bodies(
            self.owner[chosen],
            self.center[chosen],
            self.radii[chosen],
            self.core[chosen],
            self.angle[chosen],
            self.bend[chosen],
            self.taper[chosen],
            self.waves[chosen],
        )

    @property
    def outlines(self) -> Field:
        """Radius of the wavy outline over that of the smooth one, at 129 angles -pi..pi."""
        k = np.arange(2, self.waves.shape[1] + 2)[:, None]
        turns = np.exp(1j * k * np.linspace(-np.pi, np.pi, 129)).astype(np.complex64)
        out: Field = np.exp((self.waves @ turns).real)
        return out

    @property
    def reach(self) -> Floats:
        """The distance from the centre that no part of a body goes beyond, in pixels."""
        swell = self.outlines.max(axis=1) * (1 + np.abs(self.taper) * 0.5)
        length = self.radii.max(axis=1) * swell + self.core
        out: Floats = length + np.abs(self.bend) * length**2 / 2
        return out


@dataclass(frozen=True)
class Stamps:
    """All pixels of all bodies before they compete: flat index, owner and rho, (m,) each."""

    pixel: NDArray[np.int64]
    owner: NDArray[np.int32]
    rho: Field

    def add_up(self, values: Field, shape: Shape) -> Field:
        """Sum of ``values`` (m,) on each pixel of the canvas: light through a pile."""
        flat = np.bincount(self.pixel, weights=values, minlength=shape[0] * shape[1])
        return flat.reshape(shape).astype(np.float32)

    def pick(self, chosen: NDArray[np.bool_]) -> Stamps:
        """Only the chosen ones (m,)."""
        return Stamps(self.pixel[chosen], self.owner[chosen], self.rho[chosen])

    def within(self, labels: Labels) -> Stamps:
        """Only the pixels that lie inside the cell of the same number."""
        return self.pick(labels.ravel()[self.pixel] == self.owner)


@dataclass(frozen=True)
class Layout:
    """Cells on a canvas: labels 1..n, and rho (1 in the background)."""

    labels: Labels
    rho: Field
    stamps: Stamps

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.labels.max(initial=0))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where there is a cell."""
        return self.labels > 0

    @property
    def diameters(self) -> Floats:
        """Equivalent diameter of each cell (n,), pixels."""
        out: Floats = np.sqrt(4 / np.pi * areas(self.labels)[1:])
        return out

    def per_cell(self, values: NDArray[Any]) -> Field:
        """Spread one value per cell (n,) over its pixels; 0 in the background."""
        table = np.concatenate([[0.0], values]).astype(np.float32)
        return table[self.labels]

    def dome(self, power: float) -> Field:
        """A height per pixel: 1 at the centre, 0 at the outline; power 0.5 is a ball."""
        return np.maximum(0, 1 - self.rho**2) ** np.float32(power)

    def draw(self, bodies: Bodies) -> Field:
        """Draw parts (nuclei, vacuoles) inside their own cells: 1 - rho**2, else 0."""
        parts = stamp(bodies, self.labels.shape).within(self.labels)
        out = np.zeros(self.labels.size, dtype=np.float32)
        np.maximum.at(out, parts.pixel, 1 - parts.rho**2)
        return out.reshape(self.labels.shape)


def join(*groups: Bodies) -> Bodies:
    """All bodies of several groups, with their owners unchanged."""
    most = max(group.waves.shape[1] for group in groups)
    padded = [np.pad(g.waves, ((0, 0), (0, most - g.waves.shape[1]))) for g in groups]
    return Bodies(
        np.concatenate([g.owner for g in groups]),
        np.concatenate([g.center for g in groups]),
        np.concatenate([g.radii for g in groups]),
        np.concatenate([g.core for g in groups]),
        np.concatenate([g.angle for g in groups]),
        np.concatenate([g.bend for g in groups]),
        np.concatenate([g.taper for g in groups]),
        np.concatenate(padded),
    )


def warp_field(rng: np.random.Generator, shape: Shape, amplitude: float, scale: float) -> Warp:
    """Smooth displacements (y, x) in pixels, to make outlines irregular.

    The amplitude is held below 0.3 scale, so that the plane is bent but never folded.
    """
    size = np.float32(min(amplitude, 0.3 * scale))
    return field(rng, shape, scale) * size, field(rng, shape, scale) * size


def stamp(bodies: Bodies, shape: Shape, warp: Warp | None = None) -> Stamps:
    """Find the pixels of every body, at pixel centres; bodies may reach off the canvas."""
    # Displacements beyond two standard deviations may end at a circle: not worth the search.
    slack = 0.0 if warp is None else 2 * max(float(w.std()) for w in warp)
    found = [_stamp_equal(group, shape, warp, slack) for group in _by_reach(bodies)]
    if not found:
        none = np.zeros(0)
        return Stamps(none.astype(np.int64), none.astype(np.int32), none.astype(np.float32))
    return Stamps(
        np.concatenate([s.pixel for s in found]),
        np.concatenate([s.owner for s in found]),
        np.concatenate([s.rho for s in found]),
    )


def lay_out(
    bodies: Bodies,
    shape: Shape,
    *,
    warp: Warp | None = None,
    order: Floats | None = None,
    smallest: float = 0.3,
) -> Layout:
    """Give every pixel to one cell.

    Parameters
    ----------
    bodies : owners must be 1..n.
    shape : rows and columns of the canvas.
    warp : displacements of the plane, from :func:`warp_field`.
    order : (n,) per cell, the lowest lies on top (overlapping cells); without it the
        cell with the lowest rho wins, which draws a contact line between neighbours
        (a weighted, anisotropic Voronoi tessellation cut at the outlines).
    smallest : cells that keep less than this share of their own pixels are dropped.

    Returns
    -------
    Layout in which each cell is one piece, connected along rows and columns.
    """
    stamps = stamp(bodies, shape, warp)
    least = smallest * _pixels_of_each(bodies, stamps, shape)
    labels, rho = _compete(stamps, order, shape)
    for _ in range(3):
        keep, lost = _pieces(labels, least)
        if not lost.any():
            break
        # What a cell loses goes to the next below it, or to the background.
        there = lost.ravel()[stamps.pixel] & (labels.ravel()[stamps.pixel] == stamps.owner)
        stamps = stamps.pick(keep[stamps.owner] & ~there)
        labels, rho = _compete(stamps, order, shape)
    _, lost = _pieces(labels, least)
    labels = np.where(lost, 0, labels)
    fresh = relabel(labels)
    names = np.zeros(least.size, dtype=np.int32)
    names[labels.ravel()] = fresh.ravel()
    seen = stamps.pick(names[stamps.owner] > 0)
    named = Stamps(seen.pixel, names[seen.owner], seen.rho)
    return Layout(fresh, np.where(fresh > 0, rho, np.float32(1)), named)


def _compete(stamps: Stamps, order: Floats | None, shape: Shape) -> tuple[Labels, Field]:
    """Labels and rho when each pixel goes to the owner that is lowest in order, or in rho."""
    key = stamps.rho if order is None else order.astype(np.float32)[stamps.owner - 1]
    best = np.full(shape[0] * shape[1], np.inf, dtype=np.float32)
    np.minimum.at(best, stamps.pixel, key)
    win = key <= best[stamps.pixel]
    labels = np.zeros(best.size, dtype=np.int32)
    rho = np.ones(best.size, dtype=np.float32)
    labels[stamps.pixel[win]] = stamps.owner[win]
    rho[stamps.pixel[win]] = stamps.rho[win]
    return labels.reshape(shape), rho.reshape(shape)


def _pixels_of_each(bodies: Bodies, stamps: Stamps, shape: Shape) -> NDArray[np.int64]:
    """How many pixels of the canvas each owner covers, whoever gets them."""
    count = int(bodies.owner.max(initial=0)) + 1
    if count == len(bodies.owner) + 1:
        return np.bincount(stamps.owner, minlength=count)
    places = np.unique(stamps.owner * np.int64(shape[0] * shape[1]) + stamps.pixel)
    return np.bincount(places // (shape[0] * shape[1]), minlength=count)


def _by_reach(bodies: Bodies) -> Iterator[Bodies]:
    """Group bodies of about equal size, so that one square fits all of a group.

    Large bodies stand alone: their squares are mostly off the canvas, each elsewhere.
    """
    reach = bodies.reach
    size = np.ceil(np.log2(np.maximum(reach, 1.0)) * 2)
    size = np.where(reach > 50, 1000 + np.arange(reach.size), size)
    for value in np.unique(size):
        yield bodies.pick(size == value)


def _stamp_equal(bodies: Bodies, shape: Shape, warp: Warp | None, slack: float) -> Stamps:
    """Stamp bodies of similar size: all squares at once, then only the pixels in reach."""
    reach = bodies.reach + slack
    half = int(reach.max()) + 1
    corner = np.rint(bodies.center).astype(np.int64)
    off = (corner - bodies.center).astype(np.float32)
    steps, squares = [], []
    for axis in (0, 1):
        low = max(-half, -int(corner[:, axis].max()))
        high = min(half, shape[axis] - 1 - int(corner[:, axis].min()))
        steps.append(np.arange(low, high + 1))
        place = corner[:, axis, None] + steps[axis]
        away = (off[:, axis, None] + steps[axis].astype(np.float32)) ** 2
        away[(place < 0) | (place >= shape[axis])] = np.inf
        squares.append(away)
    limit = np.square(reach).astype(np.float32)[:, None, None]
    found = np.flatnonzero(squares[0][:, :, None] + squares[1][:, None, :] < limit)
    y, x = steps
    size = max(1, y.size * x.size)
    body = found // size
    at = found - body * size
    # Small tables, one row per body and one per pixel of the square, stay in the cache.
    pixel = (corner @ (shape[1], 1))[body] + np.add.outer(y * shape[1], x).ravel()[at]
    dy = off[:, 0][body] + np.repeat(y.astype(np.float32), x.size)[at]
    dx = off[:, 1][body] + np.tile(x.astype(np.float32), y.size)[at]
    if warp is not None:
        dy += warp[0].ravel()[pixel]
        dx += warp[1].ravel()[pixel]
    rho = _rho(bodies, body, dy, dx)
    keep = rho < 1
    return Stamps(pixel[keep], bodies.owner[body[keep]], rho[keep])


def _rho(bodies: Bodies, body: NDArray[np.int64], dy: Field, dx: Field) -> Field:
    """The normalized radius of points (m,) relative to their body's centre."""

    def of(values: Floats) -> Field:
        return values.astype(np.float32)[body]

    along, across = bodies.radii.T
    sine, cosine = np.sin(bodies.angle), np.cos(bodies.angle)
    u = of(cosine / along) * dx + of(sine / along) * dy
    v = of(cosine / across) * dy - of(sine / across) * dx
    if bodies.bend.any():
        v -= of(bodies.bend * along**2 / (2 * across)) * u * u
    if bodies.taper.any():
        v /= 1 - of(bodies.taper) * np.clip(u * of(along / (along + bodies.core)), -1, 1)
    if bodies.core.any():
        core = of(bodies.core / along)
        u -= np.clip(u, -core, core)
    rho: Field = np.sqrt(u * u + v * v)
    if not bodies.waves.any():
        return rho
    outlines = bodies.outlines
    step = (np.arctan2(v, u) + np.float32(np.pi)) * np.float32(128 / (2 * np.pi))
    first = np.minimum(step.astype(np.int64), 127)
    share = step - first.astype(np.float32)
    first += body * outlines.shape[1]
    flat = outlines.ravel()
    rho /= flat[first] * (1 - share) + flat[first + 1] * share
    return rho


def _pieces(labels: Labels, least: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which owners (by number) keep their largest piece, and which pixels are in no such piece.

    An owner whose largest piece has fewer than ``least`` pixels loses that, too.
    """
    from skimage.measure import label

    pieces = label(labels, connectivity=1)
    size = areas(pieces)
    size[0] = 0
    owner = np.zeros(size.size, dtype=np.int64)
    owner[pieces.ravel()] = labels.ravel()
    largest = np.zeros(least.size, dtype=np.int64)
    # Later pieces overwrite earlier ones, so the largest of each owner stays.
    rising = np.argsort(size, kind="stable")
    largest[owner[rising]] = rising
    keep = (size[largest] >= least) & (size[largest] > 0)
    keep[0] = False
    kept = np.zeros(size.size, dtype=bool)
    kept[largest[keep]] = True
    return keep, (labels > 0) & ~kept[pieces]
