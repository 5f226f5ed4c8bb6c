"""Random fields and random numbers that the other files draw from.

Everything takes a ``numpy.random.Generator``, so a seed fixes the whole image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Field", "Shape", "blur", "choice", "field", "fractal", "grain", "log_uniform", "waves"]

Field = NDArray[np.float32]
Shape = tuple[int, int]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number whose logarithm is uniform between those of ``low`` and ``high``."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def choice(rng: np.random.Generator, *values: float) -> float:
    """One of the values, each as likely as the others."""
    return float(values[int(rng.integers(len(values)))])


def blur(image: Field, sigma: float) -> Field:
    """Gaussian blur of one plane, cut off at three sigma; sigma 0 changes nothing."""
    if sigma < 0.2:
        return image
    out: Field = ndimage.gaussian_filter(image, sigma, truncate=3.0)
    return out


def field(rng: np.random.Generator, shape: Shape, scale: float) -> Field:
    """A smooth random field of mean 0 and variance about 1.

    A cubic B-spline over random knots ``scale`` px apart: smooth up to its second
    derivative, so that gradients of it (DIC) and curvatures (defocus) show no knots.
    """
    if scale < 4.0:
        # Blurred noise costs less here; a cubic B-spline's own sigma is scale / sqrt(3).
        return grain(rng, shape, scale / np.sqrt(3.0))
    rows, columns = (_spline(side, scale) for side in shape)
    knots = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    # A cubic B-spline's squared weights sum to 0.4792 on average along each axis.
    out: Field = rows @ (knots / np.float32(0.4792)) @ columns.T
    return out


def fractal(rng: np.random.Generator, shape: Shape, scale: float, octaves: int = 4) -> Field:
    """Sum of fields at scale, scale/2, ..., each half as strong; variance about 1."""
    total = np.zeros(shape, dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        size = scale / 2**octave
        if octave and size < 1.0:
            break
        total += field(rng, shape, size) * np.float32(0.5**octave)
        power += 0.25**octave
    return total / np.float32(np.sqrt(power))


def grain(rng: np.random.Generator, shape: Shape, sigma: float) -> Field:
    """White noise blurred by ``sigma`` px, scaled to variance about 1."""
    noise = blur(rng.standard_normal(shape, dtype=np.float32), sigma)
    # The squared weights of a Gaussian filter sum to 1 / (4 pi sigma^2).
    return noise * np.float32(max(1.0, 2 * np.sqrt(np.pi) * sigma))


def waves(
    rng: np.random.Generator, points: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """A smooth random function at scattered points (n, 2): a sum of eight plane waves.

    Wavelengths lie between ``scale`` and four times that; variance 1.
    """
    length = np.exp(rng.uniform(np.log(scale), np.log(4 * scale), 8))
    angle = rng.uniform(0, 2 * np.pi, (2, 8))
    turns = points @ (np.stack([np.sin(angle[0]), np.cos(angle[0])]) / length) * 2 * np.pi
    out: NDArray[np.float64] = np.cos(turns + angle[1]).sum(axis=1) / 2.0
    return out


def _spline(size: int, scale: float) -> Field:
    """Weights of cubic B-spline knots ``scale`` px apart for ``size`` pixels."""
    position = np.arange(size) / scale
    first = position.astype(np.int64)
    away = np.abs(position[:, None] - first[:, None] - np.arange(-1, 3)[None])
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.maximum(0.0, 2.0 - away) ** 3 / 6
    out = np.zeros((size, int(first[-1]) + 4), dtype=np.float32)
    out[np.arange(size)[:, None], first[:, None] + np.arange(4)[None]] = np.where(
        away < 1, near, far
    )
    return out
