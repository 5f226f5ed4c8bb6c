"""Labels as OME-Zarr, 0.5 on zarr 3 or 0.4 on zarr 2, with their image or by themselves.

    with an image                      by themselves
    NAME.ome.zarr                      NAME.ome.zarr      multiscales, image-label
      0, 1, ...    the image             0, 1, ...
      labels       ["cells"]
        cells      multiscales, image-label
          0, 1, ...

What is known of each cell stands in ``image-label``, under ``properties``.  The metadata
follow https://ngff.openmicroscopy.org; the image has the levels that its labels have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from anycell.errors import OutputError
from anycell.image import Image, Region
from anycell.measure import Cells

if TYPE_CHECKING:
    import zarr

__all__ = ["Version", "write_ome_zarr"]

Version = Literal["0.4", "0.5"]

CHUNK = 1024
"""Side of a chunk; levels are added until the longer side is no more than this, pixels."""


def write_ome_zarr(cells: Cells, image: Image | None, path: Path, version: Version = "0.5") -> None:
    """Write labels, and the image if there is one; the folder appears whole or not at all.

    Parameters
    ----------
    image : of the labels' size; its channels and pixels are kept as they are.

    Raises
    ------
    OutputError : the folder cannot be written, or something else stands there.
    """
    import zarr

    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file", expected="a folder of OME-Zarr, or nothing there")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        store = zarr.open_group(str(draft), mode="w-", zarr_format=3 if version == "0.5" else 2)
        holder = store
        if image is not None:
            _put(store, {"multiscales": _image(store, image), **_omero(image)}, version)
            labels = store.create_group("labels")
            _put(labels, {"labels": ["cells"]}, version)
            holder = labels.create_group("cells")
        about: dict[str, Any] = {"properties": _properties(cells)} if len(cells.number) else {}
        if image is not None:
            about["source"] = {"image": "../../"}
        if version == "0.4":
            about["version"] = version
        _put(holder, {"multiscales": _labels(holder, cells), "image-label": about}, version)
        if path.exists():
            shutil.rmtree(path)
        draft.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder that is there, open to you, with room on its disk",
            hint="another folder after -o",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(group: zarr.Group, about: dict[str, Any], version: Version) -> None:
    """Put metadata where a version has them: 0.4 at the top, 0.5 under ``ome``."""
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **about}
        return
    for scales in about.get("multiscales", ()):
        scales["version"] = version
    group.attrs.update(about)


def _labels(group: zarr.Group, cells: Cells) -> list[dict[str, Any]]:
    wide = int(cells.number.max(initial=0)) > np.iinfo(np.uint16).max
    dtype: np.dtype[Any] = np.dtype(np.uint32 if wide else np.uint16)

    def read(region: Region) -> NDArray[Any]:
        return cells.labels[region.slices][None].astype(dtype)

    height, width = cells.labels.shape
    shapes = _shapes((1, height, width))
    _write_levels(group, shapes, dtype, read, planes=False)
    return [_scales("cells", "yx", len(shapes), cells.pixel_size)]


def _image(group: zarr.Group, image: Image) -> list[dict[str, Any]]:
    shapes = _shapes(image.shape)
    _write_levels(group, shapes, image.dtype, image.read, planes=True)
    return [_scales(image.name, "cyx", len(shapes), image.pixel_size)]


def _shapes(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    shapes = [shape]
    while max(shapes[-1][1:]) > CHUNK:
        channels, height, width = shapes[-1]
        shapes.append((channels, -(-height // 2), -(-width // 2)))
    return shapes


def _write_levels(
    group: zarr.Group,
    shapes: list[tuple[int, int, int]],
    dtype: np.dtype[Any],
    read: Callable[[Region], NDArray[Any]],
    *,
    planes: bool,
) -> None:
    """Write all levels; each further one has every other row and column of the one before.

    ``read`` gives channels x rows x columns; ``planes`` says that channels are an axis.
    """
    above: zarr.Array[Any] | None = None
    for number, (channels, height, width) in enumerate(shapes):
        shape = (channels, height, width) if planes else (height, width)
        chunks = (1, CHUNK, CHUNK) if planes else (CHUNK, CHUNK)
        old = group.metadata.zarr_format == 2
        array = group.create_array(
            str(number),
            shape=shape,
            chunks=tuple(min(c, max(1, s)) for c, s in zip(chunks, shape, strict=True)),
            dtype=dtype,
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": "/"} if old else None,
            dimension_names=None if old else _names(planes),
        )
        for place in _chunks(height, width):
            if above is None:
                pixels = read(place)
            else:
                wide = Region(2 * place.y0, 2 * place.x0, 2 * place.y1, 2 * place.x1)
                rows, columns = wide.clip(*above.shape[-2:]).slices
                pixels = np.asarray(above[..., rows, columns])[..., ::2, ::2]
            array[(..., *place.slices)] = pixels.reshape(*shape[:-2], *place.shape)
        above = array


def _chunks(height: int, width: int) -> Iterator[Region]:
    for y in range(0, height, CHUNK):
        for x in range(0, width, CHUNK):
            yield Region(y, x, y + CHUNK, x + CHUNK).clip(height, width)


def _names(planes: bool) -> tuple[str, ...]:
    return ("c", "y", "x") if planes else ("y", "x")


def _scales(name: str, axes: str, levels: int, pixel_size: float | None) -> dict[str, Any]:
    """The metadata of a pyramid: axes, and the size of a pixel at each level."""
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    kinds: dict[str, dict[str, str]] = {
        "c": {"type": "channel"},
        "y": {"type": "space", **unit},
        "x": {"type": "space", **unit},
    }
    side = 1.0 if pixel_size is None else pixel_size
    datasets = []
    for level in range(levels):
        # Pixel k of a level is pixel 2 k of the one before, so nothing is moved.
        scale = [1.0 if axis == "c" else side * 2**level for axis in axes]
        changes = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": changes})
    named = [{"name": axis, **kinds[axis]} for axis in axes]
    return {"name": name, "axes": named, "datasets": datasets, "type": "nearest"}


def _omero(image: Image) -> dict[str, Any]:
    """The names of the channels, and how a viewer may show them."""
    top = float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else 1.0
    colors = ("FF0000", "00FF00", "0000FF") if image.is_color else ("FFFFFF",)
    channels = [
        {
            "label": name,
            "color": colors[index % len(colors)],
            "active": True,
            "window": {"min": 0.0, "max": top, "start": 0.0, "end": top},
        }
        for index, name in enumerate(image.channels)
    ]
    return {"omero": {"channels": channels}}


def _properties(cells: Cells) -> list[dict[str, Any]]:
    facts = cells.facts()
    known = facts.pop("confidence").tolist()
    flags = {name: column.astype(bool).tolist() for name, column in facts.items()}
    found: list[dict[str, Any]] = []
    for index, number in enumerate(cells.number.tolist()):
        one: dict[str, Any] = {"label-value": number, "area_px": int(cells.area[index])}
        if known[index] == known[index]:  # not-a-number: not known
            one["confidence"] = round(known[index], 6)
        found.append(one | {name: column[index] for name, column in flags.items()})
    return found
