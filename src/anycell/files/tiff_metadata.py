"""Channel names and pixel size, from where each kind of TIFF keeps them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

__all__ = ["channel_words", "micrometres", "to_micrometres"]

_UNITS = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "micrometers": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4,
    "in": 25400.0, "inch": 25400.0,
}  # fmt: skip
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "µm"}  # of the tag ResolutionUnit
_PRINT = 20.0
"""Micrometres: a resolution tag coarser than this (1,270 dpi) is meant for a printer."""


def to_micrometres(sizes: Sequence[float], unit: str) -> float | None:
    """Give one pixel size from those of rows and columns.

    None when the unit is unknown or the two differ by more than 1 %.
    """
    factor = _UNITS.get(unit.strip().replace("\\u00B5", "µ").lower())
    if factor is None or not sizes or min(sizes) <= 0:
        return None
    if max(sizes) > 1.01 * min(sizes):
        return None
    return float(sum(sizes) / len(sizes) * factor)


def channel_words(file: TiffFile, series: TiffPageSeries, number: int) -> tuple[str, ...]:
    """Give the channel names of a series, one per channel or none at all."""
    if series.kind == "ome":
        pixels = _ome_pixels(file, number)
        found = [] if pixels is None else [v for v in pixels if _tag(v) == "Channel"]
        return tuple(v.get("Name", "") for v in found)
    if series.kind == "imagej":
        labels = (file.imagej_metadata or {}).get("Labels") or ()
        return tuple(str(label) for label in labels)
    return ()


def micrometres(file: TiffFile, series: TiffPageSeries, number: int) -> float | None:
    """Give the pixel size in micrometres, or None when the file does not say.

    OME-TIFF: PhysicalSize; SVS: MPP; ImageJ: unit and resolution; all others: the
    resolution tags, unless they are so coarse that they must be meant for printing.
    """
    if series.kind == "ome":
        return _ome_size(file, number)
    page = series.keyframe
    if series.kind == "svs":
        size = _svs_size(page.description)
        if size is not None:
            return size
    unit = _RESOLUTION_UNITS.get(int(page.resolutionunit), "")
    if series.kind == "imagej":
        unit = str((file.imagej_metadata or {}).get("unit", ""))
    per_unit = page.resolution
    if min(per_unit) <= 0 or 282 not in page.tags:
        return None
    size = to_micrometres([1 / v for v in per_unit], unit)
    return size if size is not None and size < _PRINT else None


def _ome_pixels(file: TiffFile, number: int) -> ET.Element | None:
    root = ET.fromstring(file.ome_metadata or "<OME/>")
    images = [v for v in root if _tag(v) == "Image"]
    if number >= len(images):
        return None
    return next((v for v in images[number] if _tag(v) == "Pixels"), None)


def _ome_size(file: TiffFile, number: int) -> float | None:
    pixels = _ome_pixels(file, number)
    if pixels is None:
        return None
    sizes = []
    for side in "YX":
        size, unit = pixels.get(f"PhysicalSize{side}"), pixels.get(f"PhysicalSize{side}Unit", "µm")
        one = to_micrometres([float(size)], unit) if size else None
        if one is None:
            return None
        sizes.append(one)
    return to_micrometres(sizes, "µm")


def _svs_size(description: str) -> float | None:
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    return to_micrometres([float(found[1])], "µm") if found else None


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
