"""Exports opened by programs that know the standards: shapely and ome-zarr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import shape as geometry_of
from shapely.geometry.base import BaseGeometry

from anycell.exports import write_exports
from anycell.files.geojson import write_geojson
from anycell.files.label_store import LabelStore
from anycell.image import Region
from anycell.labels import Labels
from anycell.measure import measure
from cells import draw
from measured import labelings, speckled, with_image
from truth import disks


def geometries(path: Path) -> dict[int, BaseGeometry]:
    features = json.loads(path.read_text())["features"]
    return {int(one["properties"]["name"]): geometry_of(one["geometry"]) for one in features}


def check_geometries(found: dict[int, BaseGeometry], labels: Labels) -> None:
    """Each is valid and covers exactly the squares of its cell's pixels."""
    assert sorted(found) == np.unique(labels[labels > 0]).tolist()
    rows, columns = np.indices(labels.shape)
    for number, one in found.items():
        assert one.is_valid, shapely.is_valid_reason(one)
        y, x = np.nonzero(labels == number)
        squares = shapely.union_all(shapely.box(x, y, x + 1, y + 1))
        assert one.area == len(y)
        assert one.equals(squares)
        parts = one.geoms if one.geom_type == "MultiPolygon" else [one]
        assert all(part.exterior.is_ccw for part in parts)
        assert not any(hole.is_ccw for part in parts for hole in part.interiors)
        inside = shapely.contains_xy(one, columns + 0.5, rows + 0.5)
        np.testing.assert_array_equal(inside, labels == number)
    # A valid cover of all pixels, of the right area, leaves no room for two on one pixel.
    assert sum(one.area for one in found.values()) == np.count_nonzero(labels)


@labelings
def test_polygons_are_valid_and_hold_the_pixels_by_shapely(labels: Labels, tmp_path: Path) -> None:
    write_geojson(measure(labels), tmp_path / "a.geojson")
    check_geometries(geometries(tmp_path / "a.geojson"), labels)


NASTY = draw("""
    aab..ccccc.d.e
    a.b..c...c..d.
    .ab..c.f.c.d.d
    bbbb.c...c....
    gh.h.ccccc.iji
    hg.hh......jij
    g.h.........jk
""")
"""Holes, a cell in a hole, pieces and holes that meet at corners, single pixels, the border."""


def test_polygons_of_a_nasty_set_are_what_was_drawn(tmp_path: Path) -> None:
    write_geojson(measure(NASTY), tmp_path / "a.geojson")
    found = geometries(tmp_path / "a.geojson")
    check_geometries(found, NASTY)
    letters = {name: k for k, name in enumerate("abcdefghijk", 1)}
    assert len(found[letters["c"]].interiors) == 1
    assert found[letters["c"]].envelope.contains(found[letters["f"]])
    assert len(found[letters["d"]].geoms) == 4
    assert found[letters["i"]].touches(found[letters["j"]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.6, 0.8, 0.95]), st.integers(1, 4))
def test_polygons_of_any_labels_are_valid(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float, count: int
) -> None:
    labels = speckled(share, count, seed, (8, 10))
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    write_geojson(measure(labels), path)
    check_geometries(geometries(path), labels)


def nodes_of(path: Path) -> list[Any]:
    """What ome-zarr finds at a place: an image, its labels, or labels alone."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(str(path), mode="r")
    assert location is not None
    return list(Reader(location)())


def label_node(nodes: Sequence[Any]) -> Any:
    from ome_zarr.reader import Label

    (node,) = (one for one in nodes if one.first(Label) is not None)
    return node


def check_node(node: Any, axes: str, levels: Sequence[np.ndarray[Any, Any]], side: float) -> None:
    """Pixels of each level, axes with their units, and the scale of each level."""
    from ome_zarr.reader import Multiscales

    assert node.first(Multiscales) is not None
    assert "".join(axis["name"] for axis in node.metadata["axes"]) == axes
    for axis in node.metadata["axes"]:
        assert axis.get("unit") == ("micrometer" if axis["type"] == "space" else None)
    assert len(node.data) == len(levels)
    changes = node.metadata["coordinateTransformations"]
    for k, (data, wanted, change) in enumerate(zip(node.data, levels, changes, strict=True)):
        np.testing.assert_array_equal(np.asarray(data), wanted)
        scale = [1.0 if axis == "c" else side * 2**k for axis in axes]
        assert change == [{"type": "scale", "scale": scale}]


FORMS = pytest.mark.parametrize(
    ("form", "version"), [("omezarr", "0.5"), ("omezarr04", "0.4")], ids=["0.5", "0.4"]
)


@FORMS
@labelings
def test_ome_zarr_opens_image_and_labels(
    labels: Labels, form: str, version: str, tmp_path: Path
) -> None:
    cells, image = with_image(labels)
    (path,) = write_exports(cells, image, tmp_path, "a", [form])
    nodes = nodes_of(path)
    assert {node.zarr.version for node in nodes} == {version}
    pixels = image.read(Region(0, 0, *labels.shape))
    check_node(nodes[0], "cyx", [pixels], 0.5)
    assert nodes[0].metadata["channel_names"] == ["DAPI", "actin"]
    node = label_node(nodes)
    check_node(node, "yx", [labels], 0.5)
    facts = node.metadata.get("properties", {})
    assert sorted(facts) == cells.number.tolist()
    for number, one in facts.items():
        k = int(np.searchsorted(cells.number, number))
        assert one["area_px"] == (labels == number).sum()
        assert one["confidence"] == pytest.approx(cells.confidence[k], abs=1e-6)
        assert one["touches_border"] == cells.touches_border[k]
        assert one["out_of_range_size"] == cells.out_of_range_size[k]


@FORMS
def test_ome_zarr_opens_every_level(
    form: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.files.ome_zarr_labels.CHUNK", 64)
    labels = disks((217, 150), 50, (4, 9), 2)
    cells, image = with_image(labels, pixel_size=0.325)
    (path,) = write_exports(cells, image, tmp_path, "a", [form])
    levels = [labels[::step, ::step] for step in (1, 2, 4)]
    check_node(label_node(nodes_of(path)), "yx", levels, 0.325)
    (alone,) = write_exports(cells, None, tmp_path, "b", [form])
    (node,) = nodes_of(alone)
    assert node.zarr.version == version
    check_node(node, "yx", levels, 0.325)


def test_ome_zarr_opens_the_labels_of_a_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.files.label_store.SMALLEST_LEVEL", 64)
    labels = disks((217, 150), 50, (4, 9), 2)
    store = LabelStore(tmp_path / "draft", *labels.shape)
    store.write(Region(0, 0, *labels.shape), labels)
    store.to_ome_zarr(tmp_path / "a_label.zarr", "a", 0.25)
    (node,) = nodes_of(tmp_path / "a_label.zarr")
    assert node.zarr.version == "0.5"
    check_node(node, "yx", [labels[::step, ::step] for step in (1, 2, 4)], 0.25)


@pytest.mark.parametrize("pixel_size", [0.5, None])
def test_metadata_pass_the_models_of_the_specification(
    pixel_size: float | None, tmp_path: Path
) -> None:
    """ome-zarr-models, which ome-zarr brings along, are the specification as code."""
    from ome_zarr_models import v04, v05

    cells, image = with_image(NASTY, pixel_size)
    forms = ["omezarr04", "omezarr"]
    places = write_exports(cells, image, tmp_path, "a", forms)
    alone = write_exports(cells, None, tmp_path, "b", forms)
    for models, path, labels in zip((v04, v05), places, alone, strict=True):
        models.image.ImageAttrs.model_validate(_attributes(path))
        models.labels.LabelsAttrs.model_validate(_attributes(path / "labels"))
        for place in (path / "labels" / "cells", labels):
            found = models.image_label.ImageLabelAttrs.model_validate(_attributes(place))
            assert [one.label_value for one in found.image_label.properties] == [*range(1, 12)]


def _attributes(path: Path) -> dict[str, Any]:
    attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    return attributes.get("ome", attributes)  # type: ignore[return-value]
