"""Labels that stay on disk: exports are those of the same labels in memory, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from anycell.errors import FormatError, InputError
from anycell.exports import FORMATS, write_exports
from anycell.files import open_labels, read_labels, write_labels
from anycell.files.label_files import sampled_labels
from anycell.files.label_store import LabelStore
from anycell.files.ordering import in_order
from anycell.files.stored_labels import StoredLabels
from anycell.image import Image, Region
from anycell.labels import Labels, Plane, bands, boxes, neighbours
from anycell.measure import Cells, measure
from cells import CELLS
from measured import CASES, labelings
from truth import disks

SMALL = (5, 8)
"""Rows and columns of the blocks of these tests."""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything stays on disk and is read in crumbs."""
    monkeypatch.setattr("anycell.files.label_files.WHOLE", 0)
    monkeypatch.setattr("anycell.labels.READ", 60)
    monkeypatch.setattr("anycell.labels.BLOCK_ROWS", SMALL[0])
    monkeypatch.setattr("anycell.labels.BLOCK_COLUMNS", SMALL[1])
    monkeypatch.setattr("anycell.labels._BAND", 20)
    monkeypatch.setattr("anycell.measure.BAND", 30)
    monkeypatch.setattr("anycell.files.coco.BAND", 40)
    monkeypatch.setattr("anycell.files.coco.TOGETHER", 3)


def stored(labels: Labels, folder: Path, kind: str) -> Plane:
    """The same labels, in a file."""
    path = folder / f"in_label.{kind}"
    if kind == "zarr":
        store = LabelStore(folder / "draft", *labels.shape)
        store.write(Region(0, 0, *labels.shape), labels)
        store.to_ome_zarr(path, "in", None)
    else:
        tifffile.imwrite(path, labels.astype(np.uint32), tile=(16, 16), compression="zlib")
    found = open_labels(path)
    assert isinstance(found, StoredLabels)
    return found


def known(plane: Plane, labels: Labels, *, image: bool = True) -> tuple[Cells, Image | None]:
    """Measured with all that a run of segment knows; samples that do not add up exactly."""
    pixels = np.random.default_rng(3).normal(0, 1, (2, *labels.shape)).astype(np.float32)
    picture = Image.from_array(pixels, channels=("DAPI", "actin"), pixel_size=0.3)
    confidence = np.random.default_rng(4).random(int(labels.max(initial=0))).astype(np.float32)
    half = labels.shape[0] // 2
    cores = [Region(0, 0, half, labels.shape[1]), Region(half, 0, *labels.shape)]
    found = measure(
        plane, picture if image else None, confidence=confidence, cores=cores, name="cells.tif"
    )
    return found, picture if image else None


def content(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@labelings
@pytest.mark.parametrize("kind", ["tiff", "zarr"])
def test_exports_are_those_of_labels_in_memory(labels: Labels, kind: str, tmp_path: Path) -> None:
    plane = stored(labels, tmp_path, kind)
    forms = [form for form in FORMATS if form != "labels"]
    cells, image = known(labels, labels)
    whole = write_exports(cells, image, tmp_path, "whole", forms)
    cells, image = known(plane, labels)
    parts = write_exports(cells, image, tmp_path, "parts", forms)
    for one, other in zip(whole, parts, strict=True):
        assert content(one) == content(other), one.name
    (path,) = write_exports(cells, None, tmp_path, "parts", ["labels"])
    np.testing.assert_array_equal(read_labels(path), labels)


@pytest.mark.parametrize("form", ["geojson", "roi", "csv", "coco", "labels", "omezarr", "overlay"])
def test_no_more_than_a_part_is_read_at_once(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.files.ome_zarr_labels.CHUNK", 32)
    monkeypatch.setattr("anycell.files.label_store.TIFF_TILE", 16)
    monkeypatch.setattr("anycell.files.label_files._BLOCK", 16)
    labels = disks((210, 190), 60, (4, 12), 1)
    plane = stored(labels, tmp_path, "tiff")
    areas: list[int] = []
    read = StoredLabels.__getitem__

    def noted(self: StoredLabels, index: tuple[slice, slice]) -> Labels:
        part = read(self, index)
        areas.append(part.size)
        return part

    monkeypatch.setattr(StoredLabels, "__getitem__", noted)
    cells, image = known(plane, labels)
    (path,) = write_exports(cells, image, tmp_path, "a", [form])
    assert path.exists()
    assert areas
    assert max(areas) <= 20 * 190, "at most some rows of the plane"


@labelings
def test_bands_hold_every_row_once_and_their_margin(labels: Labels, tmp_path: Path) -> None:
    height = len(labels)
    for plane in (labels, stored(labels, tmp_path, "tiff")):
        for step, margin in ((1, 2), (3, 0), (4, 2), (1000, 1)):
            seen = []
            for rows, near in bands(plane, step, margin):
                top, bottom = max(0, rows.start - margin), min(height, rows.stop + margin)
                np.testing.assert_array_equal(near, labels[top:bottom])
                seen += range(rows.start, rows.stop)
            assert seen == [*range(height)]


@labelings
def test_neighbours_hold_every_cell_once_and_whole(labels: Labels, tmp_path: Path) -> None:
    box = boxes(labels)
    number = np.flatnonzero(box[:, 3])
    box = box[number]
    seen: list[int] = []
    for index, near, (y, x) in neighbours(stored(labels, tmp_path, "tiff"), box):
        assert (np.diff(index) > 0).all()
        seen += index.tolist()
        np.testing.assert_array_equal(near, labels[y : y + near.shape[0], x : x + near.shape[1]])
        for k in index.tolist():
            assert (near == number[k]).sum() == (labels == number[k]).sum()
        if len(index) > 1:
            assert near.shape[0] <= 2 * SMALL[0]
            assert near.shape[1] <= 2 * SMALL[1]
    assert sorted(seen) == [*range(len(number))]


def test_boxes_are_those_of_labels_in_memory(tmp_path: Path) -> None:
    for name in ("disks", "crumbs", "wide numbers"):
        labels = CASES[name]
        folder = tmp_path / name
        folder.mkdir()
        np.testing.assert_array_equal(boxes(stored(labels, folder, "tiff")), boxes(labels))


def test_what_comes_too_early_waits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [str(k).encode() * int(rng.integers(0, 5)) for k in range(200)]

    def shuffled() -> Iterator[tuple[int, bytes]]:
        for k in rng.permutation(200).tolist():
            yield k, items[k]

    assert list(in_order(shuffled(), 200, tmp_path)) == items
    assert list(in_order(enumerate(items), 200, tmp_path)) == items
    assert list(in_order([], 0, tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_evenly_spaced_pixels_of_any_plane(tmp_path: Path) -> None:
    labels = CASES["disks"]
    wanted = labels[np.ix_(*(((np.arange(n) + 0.5) * 10 / 3).astype(int) for n in (63, 57)))]
    for plane in (labels, stored(labels, tmp_path, "tiff")):
        np.testing.assert_array_equal(sampled_labels(plane, (63, 57)), wanted)


def test_what_cannot_be_labels_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match=r"a\.tif: labels of type float32"):
        open_labels(path)
    tifffile.imwrite(path, np.full((8, 8), -1, np.int16))
    plane = open_labels(path)
    with pytest.raises(InputError, match=r"a\.tif: label values -1 \.\. -1"):
        measure(plane)
    tifffile.imwrite(
        path, np.zeros((3, 8, 8), np.uint8), photometric="rgb", planarconfig="separate"
    )
    with pytest.raises(InputError, match="3 values per pixel"):
        open_labels(path)
    write_labels(CELLS["two"], path)
    with pytest.raises(InputError, match="its image 5 x 5"):
        open_labels(path, shape=(5, 5))
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(FormatError, match=r"a\.tif cannot be read"):
        measure(open_labels(path))


def test_kinds_that_have_no_regions_are_read_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CELLS["two"])
    assert isinstance(open_labels(tmp_path / "a.npy"), np.ndarray)
    cells, _ = known(CELLS["two"], CELLS["two"], image=False)
    (path,) = write_exports(cells, None, tmp_path, "a", ["geojson"])
    np.testing.assert_array_equal(open_labels(path)[0:99, 0:99], CELLS["two"])
