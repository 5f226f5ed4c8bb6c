"""Confidence and flags of every cell, in every export of cells, as other programs read them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
from pycocotools.coco import COCO

from anycell.exports import FORMATS, write_exports
from anycell.image import Image, Region
from anycell.labels import Labels
from anycell.measure import Cells, measure
from test_interop import label_node, nodes_of

Facts = dict[int, dict[str, float]]
FLAGS = ("touches_border", "out_of_range_size", "crosses_tile_line")


def scene() -> Labels:
    """Each flag alone, two at once, and none; number 4 is not there."""
    labels = np.zeros((60, 60), np.int32)
    places = {1: (0, 4, 4), 2: (10, 4, 4), 3: (18, 30, 4), 5: (25, 45, 12), 6: (59, 20, 1),
              7: (40, 10, 4), 8: (10, 14, 4)}  # fmt: skip
    for number, (y, x, side) in places.items():
        labels[y : y + side, x : x + side] = number
    return labels


WANTED: dict[int, tuple[int, int, int]] = {
    1: (1, 0, 0), 2: (0, 0, 0), 3: (0, 0, 1), 5: (0, 1, 0), 6: (1, 1, 0), 7: (0, 0, 0),
    8: (0, 0, 0),
}  # fmt: skip
"""``FLAGS`` of each cell: half of them are 16 pixels, out of range is below 2 and above 128."""

CONFIDENCE = np.array([0.9, 0.25, 0.5, 0.1, np.nan, 0.0, 1.0, 1 / 3], np.float32)
"""Of the numbers 1 .. 8; that of number 5 is not known."""


def measured() -> tuple[Cells, Image]:
    image = Image.from_array(np.zeros((60, 60), np.uint8))
    cores = [Region(0, 0, 20, 60), Region(20, 0, 60, 60)]
    return measure(scene(), image, confidence=CONFIDENCE, cores=cores), image


def of_geojson(path: Path) -> Facts:
    features = json.loads(path.read_text())["features"]
    return {int(p["name"]): p["measurements"] for p in (one["properties"] for one in features)}


def of_rois(path: Path) -> Facts:
    found = roifile.roiread(path)
    assert isinstance(found, list)
    return {int(roi.name): {k: float(v) for k, v in roi.properties.items()} for roi in found}


def of_table(path: Path) -> Facts:
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {int(row["cell"]): {k: float(v) for k, v in row.items() if v} for row in rows}


def of_coco(path: Path) -> Facts:
    data = COCO(str(path))
    return {
        one["id"]: one["attributes"] | ({"confidence": one["score"]} if "score" in one else {})
        for one in data.loadAnns(data.getAnnIds())
    }


def of_ome_zarr(path: Path) -> Facts:
    facts: Facts = label_node(nodes_of(path)).metadata["properties"]
    return facts


READERS: dict[str, Callable[[Path], Facts]] = {
    "geojson": of_geojson,
    "roi": of_rois,
    "csv": of_table,
    "coco": of_coco,
    "omezarr": of_ome_zarr,
    "omezarr04": of_ome_zarr,
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("form", READERS)
def test_facts_of_every_cell_are_kept(form: str, tmp_path: Path) -> None:
    cells, image = measured()
    (path,) = write_exports(cells, image, tmp_path, "a", [form])
    found: Any = READERS[form](path)
    assert sorted(found) == sorted(WANTED)
    for number, flags in WANTED.items():
        assert tuple(int(found[number][name]) for name in FLAGS) == flags, number
        known = CONFIDENCE[number - 1]
        if np.isnan(known):
            assert "confidence" not in found[number]
        else:
            assert found[number]["confidence"] == pytest.approx(known, abs=1e-6)


def test_only_pictures_and_bare_numbers_carry_no_facts() -> None:
    assert set(FORMATS) - set(READERS) == {"labels", "overlay"}
