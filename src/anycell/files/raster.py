"""PNG, JPEG, BMP and WebP: decoded once, kept while the image lives.

imagecodecs decodes all but BMP and CMYK: it keeps the 16 bits of a color PNG, which
Pillow cuts to 8, and needs a third of Pillow's memory for a large JPEG.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from anycell.errors import AxesError, FormatError
from anycell.files.damage import reading
from anycell.files.source import Pick, Source
from anycell.image import Pixels

__all__ = ["palette_numbers", "raster_source"]


def raster_source(path: Path, kind: str) -> Source:
    """Decode a file of ``kind`` png, jpeg, bmp or webp.

    Raises
    ------
    FormatError : damaged, cut off, or another kind.
    AxesError : an animation.
    """
    if kind not in ("png", "jpeg", "bmp", "webp"):
        raise FormatError(f"{path} is {kind}", expected="an image: PNG, JPEG, BMP or WebP")
    with reading(path):
        data = path.read_bytes()
    _refuse_animation(data, kind, path)
    with reading(path):
        pixels = _decode(data, kind)
    axes = "YX" if pixels.ndim == 2 else "YXS"

    def block(index: tuple[Pick, ...]) -> Pixels:
        return pixels[index]

    return Source(axes, (pixels.shape,), (block,), pixels.dtype)


def palette_numbers(data: bytes) -> Pixels | None:
    """Give the palette numbers of a PNG with a palette, rows x columns; else None."""
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(io.BytesIO(data)) as file:
        return np.array(file) if file.mode == "P" else None


def _decode(data: bytes, kind: str) -> Pixels:
    import imagecodecs

    if kind == "png":
        return imagecodecs.png_decode(data)
    if kind == "webp":
        return imagecodecs.webp_decode(data)
    if kind == "jpeg":
        return _decode_jpeg(data)
    from PIL.BmpImagePlugin import BmpImageFile

    # The class itself, not PIL.Image.open, whose limit of pixels protects web servers from
    # small files of huge images.  Here the user names the file, and slides are huge.
    with BmpImageFile(io.BytesIO(data)) as file:
        return np.array(file.convert("RGB") if file.mode not in ("1", "L") else file)


def _decode_jpeg(data: bytes) -> Pixels:
    import imagecodecs

    # The decoder fills what is missing with grey and says nothing.  After the start of
    # the last scan (FFDA) these two bytes can only mean the end.
    if data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0:
        raise ValueError("the end of its data is missing")
    pixels: Pixels = imagecodecs.jpeg_decode(data)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        from PIL.JpegImagePlugin import JpegImageFile

        # Pillow knows that Adobe stores inverted inks.
        with JpegImageFile(io.BytesIO(data)) as file:
            return np.array(file.convert("RGB"))
    return pixels


def _refuse_animation(data: bytes, kind: str, path: Path) -> None:
    moving_png = kind == "png" and b"acTL" in data[: data.find(b"IDAT")]
    moving_webp = kind == "webp" and data[12:16] == b"VP8X" and bool(data[20] & 2)
    if moving_png or moving_webp:
        raise AxesError(
            f"{path} is a stack: an animation of several pictures",
            expected="one picture",
            hint="save one picture as a file of its own",
        )
