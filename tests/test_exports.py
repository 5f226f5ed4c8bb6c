"""What is exported comes back the same, read by other programs' own libraries."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from skimage.draw import polygon as draw_polygon
from skimage.measure import regionprops

from anycell.errors import SettingError
from anycell.exports import FORMATS, export_paths, parse_formats, write_exports
from anycell.files import coco as coco_file
from anycell.files import open_image, read_labels
from anycell.image import Region
from anycell.labels import Labels
from anycell.measure import measure
from anycell.outlines import trace
from cells import CELLS
from measured import CASES, labelings, speckled, with_image
from truth import disks


def written(labels: Labels, folder: Path, form: str) -> Path:
    cells, image = with_image(labels)
    (path,) = write_exports(cells, image, folder, "a", [form])
    return path


def filled(shape: tuple[int, int], rings: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """The pixels whose centres lie in rings (y, x), by scikit-image, holes taken out."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        # Its polygons count centres as whole numbers and take in those on an edge; ours
        # run between centres, so that there are none.
        rows, columns = draw_polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, shape)
        inside[rows, columns] ^= True
    return inside


@labelings
@pytest.mark.parametrize("form", [k for k in FORMATS if k not in ("csv", "overlay")])
def test_what_is_written_is_read_back(labels: Labels, form: str, tmp_path: Path) -> None:
    path = written(labels, tmp_path, form)
    np.testing.assert_array_equal(read_labels(path, shape=labels.shape), labels)


@labelings
def test_outlines_are_simple_rings_around_the_pixels_of_the_cell(labels: Labels) -> None:
    seen = []
    for number, polygons in trace(labels):
        seen.append(number)
        cover = np.zeros(labels.shape, int)
        for outer, *holes in polygons:
            for ring in (outer, *holes):
                assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
                steps = np.diff(ring, axis=0, append=ring[:1])
                assert (np.count_nonzero(steps, axis=1) == 1).all(), "along the edges of pixels"
                turns = (steps != 0)[:, 0]
                assert (turns != np.roll(turns, 1)).all(), "only corners"
            signs = [signed_area(ring) for ring in (outer, *holes)]
            assert signs[0] > 0
            assert all(sign < 0 for sign in signs[1:])
            piece = filled(labels.shape, [outer, *holes])
            assert piece.sum() == sum(signs)
            cover += piece
        np.testing.assert_array_equal(cover, labels == number)
    assert seen == np.unique(labels[labels > 0]).tolist()


def signed_area(ring: NDArray[np.int64]) -> int:
    y, x = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.5, 0.7, 0.9]), st.integers(1, 4))
def test_outlines_of_any_labels_hold_their_pixels(seed: int, share: float, count: int) -> None:
    labels = speckled(share, count, seed, (9, 11))
    for number, polygons in trace(labels):
        inside = filled(labels.shape, [ring for polygon in polygons for ring in polygon])
        np.testing.assert_array_equal(inside, labels == number)


@labelings
def test_geojson_has_what_qupath_reads(labels: Labels, tmp_path: Path) -> None:
    content = json.loads(written(labels, tmp_path, "geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert len({one["id"] for one in content["features"]}) == len(content["features"])
    for one in content["features"]:
        number = int(one["properties"]["name"])
        assert one["properties"]["objectType"] == "detection"
        values = one["properties"]["measurements"]
        assert values["area_px"] == (labels == number).sum()
        assert values["area_um2"] == values["area_px"] / 4
        assert values["confidence"] == pytest.approx(number / labels.max())
        assert {"touches_border", "out_of_range_size"} <= set(values)
        places = one["geometry"]["coordinates"]
        polygons = places if one["geometry"]["type"] == "MultiPolygon" else [places]
        rings = [np.array(ring) for polygon in polygons for ring in polygon]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        inside = filled(labels.shape, [ring[:-1, ::-1] for ring in rings])
        np.testing.assert_array_equal(inside, labels == number)


@labelings
def test_rois_hold_the_same_pixels_by_roifile(labels: Labels, tmp_path: Path) -> None:
    path = written(labels, tmp_path, "roi")
    with zipfile.ZipFile(path) as file:
        found = roifile.roiread(path) if file.namelist() else []
    assert isinstance(found, list)
    assert [int(roi.name) for roi in found] == np.unique(labels[labels > 0]).tolist()
    for roi in found:
        rings = [np.asarray(ring)[:, ::-1] for ring in roi.coordinates(multi=True)]
        np.testing.assert_array_equal(filled(labels.shape, rings), labels == int(roi.name))
        assert roi.properties["confidence"] == pytest.approx(int(roi.name) / labels.max(), abs=1e-5)
        assert {"touches_border", "out_of_range_size"} <= set(roi.properties)


def test_rois_far_from_the_corner_keep_their_places(tmp_path: Path) -> None:
    labels = np.zeros((3, 70_000), np.int32)
    labels[1:3, 40_000:40_009] = 1
    labels[0:2, 69_990:69_996] = 2
    path = written(labels, tmp_path, "roi")
    one, other = roifile.roiread(path)  # type: ignore[misc]
    assert one.coordinates()[:, 0].max() == 40_009
    assert other.coordinates()[:, 0].max() == 69_996
    np.testing.assert_array_equal(read_labels(path, shape=labels.shape), labels)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@labelings
def test_coco_is_the_same_to_pycocotools(
    labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(coco_file, "BAND", 60)  # runs go on from band to band
    monkeypatch.setattr(coco_file, "TOGETHER", 3)
    path = written(labels, tmp_path, "coco")
    data = COCO(str(path))
    capsys.readouterr()
    (image,) = data.loadImgs(data.getImgIds())
    assert (image["height"], image["width"]) == labels.shape
    assert image["file_name"] == "cells.tif"
    found = data.loadAnns(data.getAnnIds())
    assert [one["id"] for one in found] == np.unique(labels[labels > 0]).tolist()
    for one in found:
        mask = labels == one["id"]
        np.testing.assert_array_equal(data.annToMask(one), mask)
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert theirs["counts"].decode() == one["segmentation"]["counts"]
        assert one["area"] == mask.sum()
        assert one["bbox"] == coco_mask.toBbox(theirs).tolist()
        assert one["iscrowd"] == 0
        assert one["score"] == pytest.approx(one["id"] / labels.max(), abs=1e-5)
        assert set(one["attributes"]) == {"touches_border", "out_of_range_size"}


@given(st.lists(st.lists(st.integers(0, 2**31), min_size=1, max_size=9), min_size=1, max_size=9))
def test_counts_become_text_and_counts_again(many: list[list[int]]) -> None:
    flat = np.array([v for counts in many for v in counts], dtype=np.int64)
    texts = list(coco_file.counts_to_text(flat, np.array([len(counts) for counts in many])))
    assert [coco_file.counts_from_text(text).tolist() for text in texts] == many


def about_of(group: Any, *, old: bool) -> dict[str, Any]:
    """The metadata of a group, where its version has them."""
    attributes: dict[str, Any] = dict(group.attrs)
    if old:
        return attributes
    assert attributes["ome"]["version"] == "0.5"
    about: dict[str, Any] = attributes["ome"]
    return about


def check_scales(group: Any, letters: str, *, old: bool) -> None:
    """What https://ngff.openmicroscopy.org asks of multiscales, 0.4 and 0.5."""
    (scales,) = about_of(group, old=old)["multiscales"]
    assert (scales.get("version") == "0.4") == old
    assert "".join(axis["name"] for axis in scales["axes"]) == letters
    kinds = {axis["name"]: axis["type"] for axis in scales["axes"]}
    assert kinds == {k: "channel" if k == "c" else "space" for k in letters}
    assert all(axis["unit"] == "micrometer" for axis in scales["axes"] if axis["name"] != "c")
    for number, one in enumerate(scales["datasets"]):
        array = group[one["path"]]
        assert array.ndim == len(letters)
        assert array.metadata.zarr_format == (2 if old else 3)
        if old:
            assert array.metadata.dimension_separator == "/"
        else:
            assert "".join(array.metadata.dimension_names) == letters
        (change,) = one["coordinateTransformations"]
        assert change["type"] == "scale"
        sides = [1.0 if k == "c" else 0.5 * 2**number for k in letters]
        assert change["scale"] == sides


@labelings
@pytest.mark.parametrize("form", ["omezarr", "omezarr04"])
@pytest.mark.parametrize("image", [True, False], ids=["with image", "labels alone"])
def test_ome_zarr_follows_the_specification(
    labels: Labels, form: str, image: bool, tmp_path: Path
) -> None:
    cells, pixels = with_image(labels)
    (path,) = write_exports(cells, pixels if image else None, tmp_path, "a", [form])
    old = form == "omezarr04"
    group = zarr.open_group(str(path), mode="r")
    assert group.metadata.zarr_format == (2 if old else 3)
    inner = zarr.open_group(str(path / "labels" / "cells"), mode="r") if image else group
    check_scales(group, "cyx" if image else "yx", old=old)
    check_scales(inner, "yx", old=old)
    if image:
        assert about_of(zarr.open_group(str(path / "labels"), mode="r"), old=old)["labels"] == [
            "cells"
        ]
    np.testing.assert_array_equal(inner["0"][...], labels)  # type: ignore[index]
    about = about_of(inner, old=old)["image-label"]
    for one in about.get("properties", ()):
        number = one["label-value"]
        assert one["area_px"] == (labels == number).sum()
        assert one["confidence"] == pytest.approx(number / labels.max(), abs=1e-5)
        assert {"touches_border", "out_of_range_size"} <= set(one)
    assert len(about.get("properties", ())) == len(cells.number)
    if image:
        read = open_image(path)
        whole = Region(0, 0, *labels.shape)
        np.testing.assert_array_equal(read.read(whole), pixels.read(whole))
        assert read.channels == ("DAPI", "actin")
        assert read.pixel_size == pytest.approx(0.5)
        assert about["source"] == {"image": "../../"}


def test_large_ome_zarr_has_levels_without_new_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.files.ome_zarr_labels.CHUNK", 64)
    labels = disks((217, 150), 50, (4, 9), 2)
    path = written(labels, tmp_path, "omezarr")
    group = zarr.open_group(str(path / "labels" / "cells"), mode="r")
    levels = [np.asarray(group[str(k)]) for k in range(3)]
    for level, step in zip(levels, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(level, labels[::step, ::step])
    assert "3" not in group
    image = open_image(path)
    assert [level.height for level in image.levels] == [217, 109, 55]


def test_the_table_is_in_pixels_and_micrometres(tmp_path: Path) -> None:
    labels = CASES["disks"]
    path = written(labels, tmp_path, "csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    known = regionprops(labels)
    for row, one in zip(rows, known, strict=True):
        assert int(row["cell"]) == one.label
        assert int(row["area_px"]) == one.area
        assert float(row["area_um2"]) == pytest.approx(one.area / 4)
        assert float(row["center_y_um"]) == pytest.approx(one.centroid[0] / 2)
        assert float(row["perimeter_um"]) == pytest.approx(one.perimeter / 2)
        assert row["touches_border"] in ("0", "1")
        assert float(row["actin_max"]) <= 60_000
    cells, _ = with_image(labels, pixel_size=None)
    heads = write_exports(measure(labels), None, tmp_path, "b", ["csv"])[0].read_text()
    assert "um" not in heads.splitlines()[0]
    assert cells.pixel_size is None


def test_without_cells_every_file_is_whole(tmp_path: Path) -> None:
    cells, image = with_image(np.zeros((8, 9), np.int32))
    paths = write_exports(cells, image, tmp_path, "a", parse_formats("all"))
    assert all(path.exists() for path in paths)
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
    assert len((tmp_path / "a_cells.csv").read_text().splitlines()) == 1


def test_an_export_replaces_the_one_before(tmp_path: Path) -> None:
    for labels in (CELLS["touching"], CELLS["two"]):
        for form in ("omezarr", "geojson"):
            path = written(labels, tmp_path, form)
            np.testing.assert_array_equal(read_labels(path), labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "a.ome.zarr"]


def test_formats_are_checked() -> None:
    assert parse_formats("geojson, csv,geojson") == ("geojson", "csv")
    assert parse_formats("all") == tuple(FORMATS)
    assert "overlay" not in parse_formats("all", has_image=False)
    with pytest.raises(SettingError, match="unknown format 'geojsn'") as caught:
        parse_formats("geojsn")
    assert caught.value.hint == "geojson"
    with pytest.raises(SettingError, match="overlay without an image"):
        parse_formats("overlay", has_image=False)
    with pytest.raises(SettingError, match="formats ''"):
        parse_formats("")
    endings = export_paths(Path(), "a", tuple(FORMATS))
    assert len(set(endings)) == len(FORMATS)


def test_roifile_is_asked_for_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "roifile", None)
    write: Callable[..., Any] = write_exports
    with pytest.raises(SettingError, match="roifile") as caught:
        write(measure(CELLS["two"]), None, tmp_path, "a", ["roi"])
    assert "anycell[exports]" in caught.value.hint
