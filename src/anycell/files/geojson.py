"""GeoJSON as QuPath reads and writes it: one feature with an outline per cell.

    FeatureCollection
      features: Feature
        geometry    Polygon, or MultiPolygon of a cell in pieces; (x, y) in pixels, counted
                    from the upper left corner of the image along the edges of pixels
        properties  objectType "detection", name = the cell's number, measurements
      size          [rows, columns] of the image; our own, QuPath passes over it

Written cell by cell, so that a slide's cells are never text in memory.  RFC 7946 speaks of
places on earth; QuPath keeps its form and puts pixels where degrees stood.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.files.damage import replacing
from anycell.files.ordering import in_order
from anycell.files.painting import Overlaps, Painting, canvas_shape, cell_numbers
from anycell.labels import Labels
from anycell.measure import Cells
from anycell.outlines import inside_runs, to_xy, trace

__all__ = ["geojson_labels", "write_geojson"]

AREAS = ("Polygon", "MultiPolygon")


def write_geojson(cells: Cells, path: Path) -> None:
    """Write the cells as detections for QuPath.

    Raises
    ------
    OutputError : the folder is missing or closed, or the disk is full.
    """
    with replacing(path) as draft, draft.open("wb") as file:
        size = json.dumps(cells.labels.shape)
        file.write(f'{{"type":"FeatureCollection","size":{size},"features":['.encode())
        features = in_order(_features(cells), len(cells.number), path.parent)
        for index, text in enumerate(features):
            file.write(b",\n" if index else b"\n")
            file.write(text)
        file.write(b"\n]}\n")


def _features(cells: Cells) -> Iterator[tuple[int, bytes]]:
    """The index of each cell and the text of its feature."""
    measured = _measurements(cells)
    for number, polygons in trace(cells.labels, cells.number, cells.box):
        index = cells.index(number)
        rings = [[_closed(ring) for ring in polygon] for polygon in polygons]
        shape, places = ("MultiPolygon", rings) if len(rings) > 1 else ("Polygon", rings[0])
        values = ",".join(
            f'"{name}":{value:.10g}'
            for name, column in measured.items()
            if (value := column[index]) == value  # not-a-number has no place in JSON
        )
        text = (
            f'{{"type":"Feature","id":"{_identity(number)}","geometry":'
            f'{{"type":"{shape}","coordinates":{_compact(places)}}},"properties":'
            f'{{"objectType":"detection","name":"{number}","measurements":{{{values}}}}}}}'
        )
        yield index, text.encode()


def _compact(value: Any) -> str:
    return str(value).replace(" ", "")


def _closed(ring: NDArray[np.int64]) -> list[list[float]]:
    """The ring as GeoJSON wants it: against the clock where y goes up, closed."""
    places = to_xy(ring)
    return [*places, places[0]]


def _identity(number: int) -> str:
    """A UUID made of the number (version 8 of RFC 9562): QuPath wants one per object."""
    return f"616e7963-656c-8c00-8000-{number:012x}"


def _measurements(cells: Cells) -> dict[str, list[float]]:
    columns: dict[str, NDArray[Any]] = {
        "area_px": cells.area,
        "diameter_px": cells.diameter,
        "perimeter_px": cells.perimeter,
        "circularity": cells.circularity,
    }
    if cells.pixel_size is not None:
        columns["area_um2"] = cells.area * cells.pixel_size**2
        columns["diameter_um"] = cells.diameter * cells.pixel_size
    columns |= cells.facts()
    return {name: column.tolist() for name, column in columns.items()}


def geojson_labels(
    content: Any, path: Path, shape: tuple[int, int] | None = None, overlaps: Overlaps = "refuse"
) -> Labels:
    """Read the outlines of a GeoJSON file as labels.

    A pixel belongs to a cell when its centre lies inside.  Names that are whole numbers,
    each there once, are the cells' numbers; else they are numbered in their order.

    Parameters
    ----------
    content : of the file, as JSON gives it.
    path : of the file, for messages.
    shape : rows and columns of the image; needed when the file does not say.
    overlaps : what to do where cells share pixels, see ``anycell.files.painting``.

    Raises
    ------
    InputError : not GeoJSON, no size, cells outside the image or on top of each other.
    """
    features = content.get("features") if isinstance(content, Mapping) else content
    if not isinstance(features, list):
        raise InputError(
            f"{path} is JSON without features or annotations",
            expected="GeoJSON as QuPath exports it, or COCO",
        )
    told = content.get("size") if isinstance(content, Mapping) else None
    painting = Painting(path, canvas_shape(path, told, shape), overlaps)
    cells = [_rings(feature, path, index) for index, feature in enumerate(features, 1)]
    names = [(feature.get("properties") or {}).get("name") for feature in features]
    owner = np.repeat(np.arange(len(cells)), [len(rings) for rings in cells])
    runs = inside_runs([ring for rings in cells for ring in rings], owner)
    painting.add(runs, cell_numbers(names))
    return painting.labels


def _rings(feature: Any, path: Path, index: int) -> list[NDArray[np.float64]]:
    """All rings of a feature, (y, x)."""
    geometry = feature.get("geometry") if isinstance(feature, Mapping) else None
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if not isinstance(geometry, Mapping) or kind not in AREAS:
        raise InputError(
            f"{path}: feature {index} is {kind or 'without geometry'}",
            expected="Polygon or MultiPolygon",
            hint="export annotations or detections that have an area",
        )
    try:
        polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
        rings = [np.array(ring, dtype=np.float64) for polygon in polygons for ring in polygon]
        if any(ring.ndim != 2 or ring.shape[1] < 2 or len(ring) < 4 for ring in rings):
            raise ValueError("a ring of fewer than 4 places")
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("a place that is not a number")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the outline of feature {index} cannot be read: {error}",
            expected="rings of at least 4 places (x, y)",
        ) from error
    return [ring[:-1, 1::-1] for ring in rings]
