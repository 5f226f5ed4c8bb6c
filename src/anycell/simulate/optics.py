"""Optics and sensor: from optical path, absorption and light to grey values.

Formulas and their sources are in docs/simulation.md; here each function names its own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from anycell.simulate.noise import Field, Shape, field, log_uniform

__all__ = [
    "defocus",
    "dust",
    "fineness",
    "illumination",
    "phase_contrast",
    "relief",
]


def fineness(diameter: float) -> float:
    """Scale of optical detail: small cells are imaged at the limit of resolution."""
    return float(min(max(diameter / 24, 0.7), 3.0) ** 0.6)


def relief(phase: Field, angle: float, bias: float, shear: float) -> Field:
    """DIC: two copies sheared against one another interfere.

    I = sin^2((bias + d) / 2), d = the phase difference over ``shear`` px along
    ``angle``; by Preza, Snyder and Conchello, J. Opt. Soc. Am. A 16 (1999) 2185.

    Parameters
    ----------
    phase : optical path in radians.
    angle : direction of the shear, radians.
    bias : constant phase difference, radians; pi / 2 is mid grey.
    shear : in pixels, small beside the cells.
    """
    along_y, along_x = np.gradient(phase)
    difference = shear * (np.float32(np.sin(angle)) * along_y + np.float32(np.cos(angle)) * along_x)
    out: Field = np.sin((np.float32(bias) + difference) / 2) ** 2
    return out


def phase_contrast(phase: Field, ring: float, transmission: float, negative: bool) -> Field:
    """Zernike phase contrast with halo and shade-off.

    The phase ring delays by a quarter wave and dims the light that passes it: the
    undiffracted light, and also light diffracted by less than the ring is wide.  That
    last part makes the halo (Yin, Kanade and Chen, Med. Image Anal. 16 (2012) 1047):
    I = |U - K*U + t exp(-+i pi/2) K*U|^2, U = exp(i phase), K a low pass.

    Parameters
    ----------
    phase : optical path in radians.
    ring : reach of the low pass in pixels; about the width of the halo.
    transmission : t, amplitude that the ring lets through, 0..1.
    negative : thick parts bright instead of dark.
    """
    wave = np.empty(phase.shape, dtype=np.complex64)
    wave.real, wave.imag = np.cos(phase), np.sin(phase)
    low = np.exp(-2 * (np.pi * ring) ** 2 * _squared_frequency(phase.shape)).astype(np.float32)
    sign = 1j if negative else -1j
    factor = 1 + (transmission * sign - 1) * low
    return _intensity(wave, factor.astype(np.complex64))


def defocus(phase: Field, absorption: Field | None, distance: float, coherence: float) -> Field:
    """Brightfield at a distance from focus, by Fresnel propagation.

    U(z) = F^-1[exp(-i pi lambda z f^2) E(f) F[U]], I = |U(z)|^2; for small z this is the
    transport of intensity, I = I0 - (lambda z / 2 pi) div(I0 grad phase) (Teague, J. Opt.
    Soc. Am. 73 (1983) 1434).  E is the damping by a source of finite size.

    Parameters
    ----------
    phase : optical path in radians.
    absorption : natural logarithm of the amplitude lost; None where nothing absorbs.
    distance : lambda z in square pixels; its sign turns bright rims dark.
    coherence : blur in pixels by the source; larger leaves fewer fringes.
    """
    amplitude = np.float32(1) if absorption is None else np.exp(-absorption)
    wave = np.empty(phase.shape, dtype=np.complex64)
    wave.real, wave.imag = amplitude * np.cos(phase), amplitude * np.sin(phase)
    square = _squared_frequency(phase.shape)
    damping = np.exp(-2 * (np.pi * coherence) ** 2 * square)
    return _intensity(
        wave, (np.exp(-1j * np.pi * distance * square) * damping).astype(np.complex64)
    )


def _intensity(wave: NDArray[np.complex64], factor: NDArray[np.complex64]) -> Field:
    seen = fft.ifft2(fft.fft2(wave) * factor)
    out: Field = np.square(seen.real) + np.square(seen.imag)
    return out


@lru_cache(maxsize=16)
def _squared_frequency(shape: Shape) -> Field:
    """The squared frequency in cycles per pixel on the grid of ``fft2``."""
    y, x = (fft.fftfreq(side) for side in shape)
    out: Field = np.add.outer(y * y, x * x).astype(np.float32)
    return out


def illumination(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Uneven light, mean about 1: a gradient, vignetting, and a very smooth field."""
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    tilt = rng.normal(0, 0.35, 2)
    middle = rng.normal(0, 0.3, 2)
    fall = rng.uniform(0, 0.5)
    away = (y[:, None] - middle[0]) ** 2 + (x[None, :] - middle[1]) ** 2
    light = tilt[0] * y[:, None] + tilt[1] * x[None, :] - fall * away / 2
    light = light + 0.25 * field(rng, shape, max(shape) / 2.5)
    light = light - light.mean()
    out: Field = np.exp(np.float32(strength) * light).astype(np.float32)
    return out


def dust(rng: np.random.Generator, shape: Shape, number: float, size: float) -> Field:
    """Out-of-focus dust on the optics: soft dark discs and rings, a factor near 1.

    ``number`` is the mean count of specks, ``size`` their typical radius in pixels.
    """
    out = np.ones(shape, dtype=np.float32)
    for _ in range(int(rng.poisson(number))):
        radius = size * log_uniform(rng, 0.5, 2.0)
        center = rng.uniform(0, 1, 2) * np.array(shape)
        reach = int(3 * radius) + 1
        box = [slice(max(0, int(c) - reach), max(0, int(c) + reach)) for c in center]
        y = np.arange(box[0].start, min(box[0].stop, shape[0])) - center[0]
        x = np.arange(box[1].start, min(box[1].stop, shape[1])) - center[1]
        away = (y[:, None] ** 2 + x[None, :] ** 2) / radius**2
        ring = away * np.exp(1 - away) if rng.random() < 0.5 else np.exp(-(away**2))
        out[tuple(box)] *= (1 - rng.uniform(0.02, 0.15) * ring).astype(np.float32)
    return out
