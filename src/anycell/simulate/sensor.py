"""The camera: shot noise, read noise, eight bits, and sometimes JPEG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from anycell.simulate.noise import Field
from anycell.simulate.scene import Rendered

__all__ = ["sense"]


def sense(
    rng: np.random.Generator, rendered: Rendered, crop: tuple[slice, slice]
) -> NDArray[np.uint8]:
    """Turn light into 8-bit grey values, C x H x W, of one part of the canvas.

    One image in eight has been through JPEG, as many shared images have.
    """
    pixels = rendered.pixels[(slice(None), *crop)]
    grey = _noise(rng, pixels, rendered.electrons, rendered.read_noise)
    image = np.clip(np.rint(255 * grey), 0, 255).astype(np.uint8)
    if rng.random() < 0.125 and len(image) in (1, 3):
        return _jpeg(image, int(rng.integers(55, 95)))
    return image


def _noise(rng: np.random.Generator, pixels: Field, electrons: float, read_noise: float) -> Field:
    """Add noise; 1 is full scale, which is reached at ``electrons``.

    The variance of shot noise is the signal; it is drawn from a Gaussian, which a
    Poisson distribution equals above some 20 electrons.
    """
    signal = np.maximum(pixels, 0)
    variance = signal / np.float32(electrons) + np.float32((read_noise / electrons) ** 2)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    out: Field = signal + np.sqrt(variance) * noise
    return out


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What JPEG leaves of a grey image, or of three channels taken as color."""
    from PIL import Image

    buffer = BytesIO()
    plane = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    Image.fromarray(np.ascontiguousarray(plane)).save(buffer, "JPEG", quality=quality)
    back = np.atleast_3d(np.asarray(Image.open(buffer)))
    return np.ascontiguousarray(np.moveaxis(back, -1, 0))
