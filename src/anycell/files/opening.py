"""Opening an image: what kind of file it is, told by its first bytes, not by its name."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from anycell.errors import FormatError, InputError
from anycell.files.damage import reading
from anycell.files.source import Source, as_image
from anycell.image import Image, Region

__all__ = ["KINDS", "Opening", "file_kind", "open_image", "open_source"]

KINDS = "PNG, JPEG, BMP, WebP, TIFF, OME-TIFF, SVS, NDPI or OME-Zarr"

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x93NUMPY", "npy"),
)
_FOREIGN = (
    (b"ZISRAWFILE", "a Zeiss CZI file"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (b"\x70\0\0\0", "a Leica LIF file"),
    (b"\xd0\xcf\x11\xe0", "an OLE file, such as Zeiss ZVI or Olympus OIB"),
    (b"\x89HDF", "an HDF5 file, such as Imaris IMS"),
    (b"GIF8", "a GIF file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
)
_ZARR_PARTS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def open_image(
    path: str | os.PathLike[str],
    *,
    channels: str | None = None,
    axes: str | None = None,
    level: int = 0,
) -> Image:
    """Open an image of any kind; its pixels are read when asked for.

    PNG, JPEG, BMP and WebP cannot be read in parts, so they are decoded here and kept;
    TIFF and OME-Zarr are read by region.  Pixels stay as the file stores them: an
    orientation tag does not turn them.

    Parameters
    ----------
    channels : names or numbers (from 0), comma-separated; all by default.
    axes : what the axes are, such as ``"CYX"``, when the file does not say or is wrong.
    level : the pyramid level to use as full resolution.

    Raises
    ------
    InputError : no such file, or a folder that is not OME-Zarr.
    FormatError : a file that is damaged or of a kind that is not read.
    AxesError : a stack, or axes that the file does not explain.
    SettingError : a channel or a level that the file does not have.
    """
    place = Path(path)
    return as_image(open_source(place), place, channels, axes, level)


@dataclass(frozen=True)
class Opening:
    """How an image is opened, wherever that is done; see :func:`open_image`.

    Attributes
    ----------
    region : of the level, to be an image of its own; all of it if None.
    pixel_size : micrometres per pixel of the level, whatever the file says; None to
        believe the file.
    """

    path: Path
    channels: str | None = None
    axes: str | None = None
    level: int = 0
    region: Region | None = None
    pixel_size: float | None = None

    def open(self) -> Image:
        """Open it; the errors are those of ``open_image``, and of ``Image.crop``."""
        image = open_image(self.path, channels=self.channels, axes=self.axes, level=self.level)
        if self.pixel_size is not None:
            image = replace(image, pixel_size=self.pixel_size)
        return image if self.region is None else image.crop(self.region)


def open_source(path: Path, *, as_numbers: bool = False) -> Source:
    """Open a file of any kind before its axes and channels are settled.

    ``as_numbers`` leaves the samples of a TIFF as they are stored, as labels need it:
    no palette is looked up.
    """
    kind = file_kind(path)
    if kind == "zarr":
        from anycell.files.ome_zarr import zarr_source

        return zarr_source(path)
    if kind == "tiff":
        from anycell.files.tiff import tiff_source

        return tiff_source(path, as_numbers=as_numbers)
    from anycell.files.raster import raster_source

    return raster_source(path, kind)


def file_kind(path: Path) -> str:
    """Tell png, jpeg, bmp, webp, tiff, npy or zarr.

    Raises
    ------
    InputError, FormatError : as :func:`open_image`.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}", expected=KINDS, hint=_nearest(path))
    if path.is_dir():
        if any((path / part).is_file() for part in _ZARR_PARTS):
            return "zarr"
        raise InputError(
            f"{path} is a folder and not OME-Zarr",
            expected=f"one image: {KINDS}",
            hint="the path of an image inside it",
        )
    with reading(path), path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise FormatError(f"{path} is empty (0 bytes)", expected=KINDS)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "webp"
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    raise _unknown(path, start)


def _unknown(path: Path, start: bytes) -> FormatError:
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            return FormatError(
                f"{path} is {what}",
                expected=KINDS,
                hint="save it as OME-TIFF, from Fiji (Bio-Formats) or with bfconvert",
            )
    return FormatError(
        f"{path} is not an image: it starts with {start!r}",
        expected=KINDS,
        hint="save it anew from the program that wrote it",
    )


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [other.name for other in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1)
    return str(path.with_name(near[0])) if near else ""
