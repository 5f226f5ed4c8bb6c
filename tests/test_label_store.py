"""Labels on disk in chunks: the same as an array, whatever is written where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tifffile import TiffFile

from anycell.errors import OutputError
from anycell.files import open_image, read_labels
from anycell.files.label_files import open_labels, sampled_labels
from anycell.files.label_store import CHUNK, LabelStore
from anycell.image import Region
from anycell.labels import Labels

SHAPE = (2 * CHUNK + 100, CHUNK + 7)
ONE_CHUNK = 4 * CHUNK * CHUNK


def filled(folder: Path, top: int = 70_000) -> tuple[LabelStore, Labels]:
    """A store written region by region over chunk borders, and the array it should equal."""
    rng = np.random.default_rng(3)
    store, wanted = LabelStore(folder, *SHAPE, ONE_CHUNK), np.zeros(SHAPE, np.int32)
    for y in range(0, SHAPE[0], 700):
        for x in range(0, SHAPE[1], 500):
            region = Region(y, x, y + 800, x + 600).clip(*SHAPE)
            block = rng.integers(0, top, region.shape).astype(np.int32)
            store.write(region, block)
            wanted[region.slices] = block
    wanted[-1, -1] = top
    store.write(Region(SHAPE[0] - 1, SHAPE[1] - 1, *SHAPE), np.array([[top]], np.int32))
    return store, wanted


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), chunks=st.integers(1, 4))
def test_reads_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunks: int
) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("store") / "labels"
    store, wanted = LabelStore(folder, *SHAPE, chunks * ONE_CHUNK), np.zeros(SHAPE, np.int32)
    for _ in range(8):
        (y0, y1), (x0, x1) = (np.sort(rng.choice(s + 1, 2, replace=False)) for s in SHAPE)
        region = Region(int(y0), int(x0), int(y1), int(x1))
        if rng.random() < 0.5:
            store.write(region, np.full(region.shape, 1 + rng.integers(9), np.int32))
            wanted[region.slices] = store.read(region)
        assert np.array_equal(store.read(region), wanted[region.slices])
    assert np.array_equal(store.read(Region(0, 0, *SHAPE)), wanted)


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels", 20, 20)
    store.read(Region(0, 0, 20, 20))[:] = 5
    assert not store.read(Region(0, 0, 20, 20)).any()


@pytest.mark.parametrize(("top", "dtype"), [(60_000, np.uint16), (70_000, np.uint32)])
def test_tiff_is_tiled_and_loses_nothing(tmp_path: Path, top: int, dtype: type) -> None:
    store, wanted = filled(tmp_path / "labels", top=top)
    store.to_tiff(tmp_path / "x_label.tiff", top)
    with TiffFile(tmp_path / "x_label.tiff") as file:
        page = file.pages.first
        assert file.is_bigtiff
        assert page.is_tiled
        assert page.dtype == dtype
        assert np.array_equal(page.asarray(), wanted)
    assert np.array_equal(read_labels(tmp_path / "x_label.tiff"), wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels", "x_label.tiff"]


def test_ome_zarr_opens_with_all_its_levels(tmp_path: Path) -> None:
    store, wanted = filled(tmp_path / "labels")
    (tmp_path / "x_label.zarr").mkdir()
    (tmp_path / "x_label.zarr" / "old").write_text("in the way")
    store.to_ome_zarr(tmp_path / "x_label.zarr", "x", 0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["x_label.zarr"]
    assert np.array_equal(read_labels(tmp_path / "x_label.zarr"), wanted)
    image = open_image(tmp_path / "x_label.zarr")
    assert image.pixel_size == 0.5
    sizes = [(level.height, level.width) for level in image.levels]
    assert sizes == [SHAPE, (CHUNK + 50, CHUNK // 2 + 4), (CHUNK // 2 + 25, CHUNK // 4 + 2)]
    half = image.levels[2].read(Region(0, 0, *sizes[2]))[0]
    assert np.array_equal(half, wanted[::4, ::4])
    group = zarr.open_group(str(tmp_path / "x_label.zarr"), mode="r")
    about = json.loads(json.dumps(dict(group.attrs)))["ome"]
    assert about["version"] == "0.5"
    assert "image-label" in about
    (scales,) = about["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["y", "x"]
    assert scales["datasets"][1]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 1.0]}
    ]
    array = group["0"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (CHUNK, CHUNK)


def test_pixel_size_may_be_unknown(tmp_path: Path) -> None:
    LabelStore(tmp_path / "labels", 9, 9).to_ome_zarr(tmp_path / "x.zarr", "x", None)
    assert open_image(tmp_path / "x.zarr").pixel_size is None


@pytest.mark.parametrize("ending", ["tiff", "zarr"])
def test_sampled_gives_evenly_spaced_pixels(tmp_path: Path, ending: str) -> None:
    store, wanted = filled(tmp_path / "labels")
    path = tmp_path / f"x_label.{ending}"
    store.to_tiff(path, 70_000) if ending == "tiff" else store.to_ome_zarr(path, "x", None)
    rows = ((np.arange(300) + 0.5) * SHAPE[0] / 300).astype(int)
    columns = ((np.arange(150) + 0.5) * SHAPE[1] / 150).astype(int)
    assert np.array_equal(
        sampled_labels(open_labels(path), (300, 150)), wanted[np.ix_(rows, columns)]
    )


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = filled(tmp_path / "labels")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(OutputError, match="No space left on device"):
        store.flush()


def test_a_store_is_not_written_over(tmp_path: Path) -> None:
    LabelStore(tmp_path / "labels", 9, 9)
    with pytest.raises(OutputError):
        LabelStore(tmp_path / "labels", 9, 9)
